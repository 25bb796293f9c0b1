//! Mirrors Endpoints that someone wrote by hand into EndpointSlices, for readers that know only those.

use super::endpoint::family_of;
use super::{SERVICE_NAME, TRIGGER_TIME, repack};
use crate::context::Context;
use crate::pods;
use crate::remove::remove;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort as OldPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rk_client::{
    BoxError, Change, Informer, ObjectKey, Outcome, Queue, controller_of, controller_ref, is_namespace_terminating,
};
use rk_lenient::Lenient;
use std::collections::BTreeMap;
use std::sync::Arc;

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Addresses mirrored per subset.
const MAX_ADDRESSES: usize = 1000;

struct Controller {
    endpoints: Informer<Endpoints>,
    services: Informer<Lenient<Service>>,
    slices: Informer<EndpointSlice>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        endpoints: ctx.informers.of(),
        services: ctx.informers.of(),
        slices: ctx.informers.of(),
    });
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.endpoints.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let q = queue.clone();
    controller.services.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let q = queue.clone();
    controller.slices.on_change(move |change| {
        // What somebody else deleted is made again.
        if matches!(change, Change::Deleted(_)) {
            mirrored(change.object()).into_iter().for_each(|key| q.add(key));
        }
    });
    ctx.work("endpoint_slice_mirroring", queue, 1, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let skipped = meta.labels.as_ref().and_then(|l| l.get(SKIP)).is_some_and(|v| v == "true");
    !skipped && !meta.annotations.as_ref().is_some_and(|a| a.contains_key(LEADER))
}

/// Whether somebody else keeps the Endpoints of a Service: it has no selector. One that has, and is but a name now, has those of before,
/// with slices of their own.
fn is_kept_by_hand(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.selector.as_ref().is_none_or(BTreeMap::is_empty))
}

/// The slices that stand for the subsets: one per address family and set of ports that stand on the same addresses.
fn wanted(subsets: &[EndpointSubset]) -> Vec<(&'static str, Vec<EndpointPort>, Vec<Endpoint>)> {
    let mut slices = Vec::new();
    for subset in repack(subsets) {
        let mut by_family: BTreeMap<&'static str, Vec<Endpoint>> = BTreeMap::new();
        let ready = subset.addresses.iter().flatten().map(|a| (a, true));
        let waiting = subset.not_ready_addresses.iter().flatten().map(|a| (a, false));
        for (address, is_ready) in ready.chain(waiting).take(MAX_ADDRESSES) {
            if let Some(family) = family_of(&address.ip) {
                by_family.entry(family).or_default().push(endpoint(address, is_ready));
            }
        }
        let ports: Vec<EndpointPort> = subset.ports.iter().flatten().map(port).collect();
        slices.extend(by_family.into_iter().map(|(family, endpoints)| (family, ports.clone(), endpoints)));
    }
    slices
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn port(port: &OldPort) -> EndpointPort {
    EndpointPort {
        // As the server stores it: a port without a name has an empty one.
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    }
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let existing: Vec<EndpointSlice> = self
            .slices
            .in_namespace(&key.namespace)
            .iter()
            .filter(|s| is_ours(s, &key.name))
            .map(|s| EndpointSlice::clone(s))
            .collect();
        let endpoints = self.endpoints.get(key).filter(|e| is_mirrored(e));
        let service = self.services.get(key).filter(|s| is_kept_by_hand(s));
        let new = match (&endpoints, &service) {
            (Some(endpoints), Some(_)) => slices(endpoints),
            _ => Vec::new(),
        };
        let (pairs, surplus) = pair(new, existing);
        for (known, new) in pairs {
            let written = match known {
                Some(slice) if is_as(&slice, &new) => Ok(slice),
                Some(slice) => self.slices.replace(&renewed(slice, new)).await,
                None => self.slices.create(&new).await,
            };
            if let Err(error) = written {
                return if is_namespace_terminating(&error) { Ok(Outcome::AwaitChange) } else { Err(error.into()) };
            }
        }
        for slice in surplus {
            remove(&self.slices, &slice).await?;
        }
        Ok(Outcome::AwaitChange)
    }
}

/// The slices that are to stand for Endpoints.
fn slices(endpoints: &Endpoints) -> Vec<EndpointSlice> {
    wanted(endpoints.subsets.as_deref().unwrap_or_default())
        .into_iter()
        .map(|(family, ports, list)| build(endpoints, family, Some(ports).filter(|p| !p.is_empty()), list))
        .collect()
}

/// A slice that is there, and what is to stand in it; `None` where one is to be made.
type Pair = (Option<EndpointSlice>, EndpointSlice);

/// Which slice each new one takes the place of: that of its ports, else one of the same Endpoints that nobody needs any more, so that
/// readers never see both. Also those that are left.
fn pair(new: Vec<EndpointSlice>, mut existing: Vec<EndpointSlice>) -> (Vec<Pair>, Vec<EndpointSlice>) {
    let mut take =
        |found: &dyn Fn(&EndpointSlice) -> bool| existing.iter().position(found).map(|at| existing.swap_remove(at));
    let mut pairs: Vec<Pair> = Vec::with_capacity(new.len());
    for new in new {
        let known = take(&|known| known.address_type == new.address_type && known.ports == new.ports);
        pairs.push((known, new));
    }
    let owner = |slice: &EndpointSlice| controller_of(&slice.metadata).map(|owner| owner.uid.clone());
    for (known, new) in pairs.iter_mut().filter(|(known, _)| known.is_none()) {
        let new: &EndpointSlice = new;
        *known = take(&|spare| spare.address_type == new.address_type && owner(spare) == owner(new));
    }
    (pairs, existing)
}

fn is_ours(slice: &EndpointSlice, service: &str) -> bool {
    let label = |name: &str| slice.metadata.labels.as_ref().and_then(|l| l.get(name)).map(String::as_str);
    label(MANAGED_BY) == Some(MANAGER) && label(SERVICE_NAME) == Some(service)
}

/// The key of the Endpoints that a slice of ours mirrors.
fn mirrored(slice: &EndpointSlice) -> Option<ObjectKey> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    is_ours(slice, service).then(|| ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), service))
}

/// Whether a slice tells what the new one would: also ports, as it may be one that had others, and labels, annotations and owner, since the
/// slice of Endpoints that were deleted goes with them, though others have their name by then.
fn is_as(known: &EndpointSlice, new: &EndpointSlice) -> bool {
    let (known_meta, new_meta) = (&known.metadata, &new.metadata);
    // None is what the server stores of what is empty.
    let annotations = |meta: &ObjectMeta| meta.annotations.clone().unwrap_or_default();
    known.endpoints.as_deref().unwrap_or_default() == new.endpoints.as_deref().unwrap_or_default()
        && known.ports == new.ports
        && known_meta.labels == new_meta.labels
        && known_meta.owner_references == new_meta.owner_references
        && annotations(known_meta) == annotations(new_meta)
}

/// The known slice with what the new one tells.
fn renewed(known: EndpointSlice, new: EndpointSlice) -> EndpointSlice {
    let ObjectMeta { labels, annotations, owner_references, .. } = new.metadata;
    let metadata = ObjectMeta { labels, annotations, owner_references, ..known.metadata };
    EndpointSlice { metadata, ..new }
}

fn build(endpoints: &Endpoints, family: &str, ports: Option<Vec<EndpointPort>>, list: Vec<Endpoint>) -> EndpointSlice {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    // What is told of the Endpoints themselves is not true of the slice.
    annotations.retain(|name, _| name != TRIGGER_TIME && name != LAST_APPLIED);
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(pods::name_prefix(&name)),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        ports,
        endpoints: Some(list),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn each_subset_becomes_a_slice_per_family() {
        let subsets: Vec<EndpointSubset> = serde_json::from_value(json!([
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "a", "port": 80, "protocol": "TCP"}]}]))
        .expect("valid");
        let slices = wanted(&subsets);
        assert_eq!(
            slices.iter().map(|(family, _, list)| (*family, list.len())).collect::<Vec<_>>(),
            [("IPv4", 2), ("IPv6", 1)]
        );
        let ready: Vec<Option<bool>> =
            slices.iter().flat_map(|s| &s.2).map(|e| e.conditions.as_ref().and_then(|c| c.ready)).collect();
        assert_eq!(ready, [Some(true), Some(false), Some(true)]);
    }

    #[test]
    fn endpoints_of_services_with_a_selector_are_not_mirrored() {
        for (spec, by_hand) in [
            (json!({}), true),
            (json!({"selector": {}}), true),
            (json!({"type": "ExternalName", "externalName": "a.example"}), true),
            (json!({"selector": {"app": "a"}}), false),
            (json!({"type": "ExternalName", "externalName": "a.example", "selector": {"app": "a"}}), false),
        ] {
            let service: Service =
                serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).expect("valid");
            assert_eq!(is_kept_by_hand(&service), by_hand, "{spec}");
        }
    }

    #[test]
    fn a_slice_with_ports_of_before_becomes_the_one_with_those_of_now() {
        let endpoints = |uid: &str| -> Endpoints {
            serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "ns", "uid": uid}})).expect("valid")
        };
        let slice = |name: &str, uid: &str, family: &str, number: i32| {
            let port: OldPort = serde_json::from_value(json!({"port": number, "protocol": "TCP"})).expect("valid");
            let mut slice = build(&endpoints(uid), family, Some(vec![super::port(&port)]), Vec::new());
            slice.metadata.name = Some(name.to_owned());
            slice
        };
        let name = |slice: &EndpointSlice| slice.metadata.name.clone().unwrap_or_default();
        let of = |existing: Vec<EndpointSlice>| {
            let (pairs, left) = pair(vec![slice("x", "now", "IPv4", 1), slice("y", "now", "IPv4", 2)], existing);
            let known: Vec<_> = pairs.iter().map(|(known, _)| known.as_ref().map(name).unwrap_or_default()).collect();
            (known.join(" "), left.iter().map(name).collect::<Vec<_>>().join(" "))
        };
        let texts = |known: &str, left: &str| (known.to_owned(), left.to_owned());
        assert_eq!(of(vec![]), texts(" ", ""));
        assert_eq!(of(vec![slice("a", "now", "IPv4", 2)]), texts(" a", ""), "each keeps its own");
        assert_eq!(of(vec![slice("a", "now", "IPv4", 3), slice("b", "now", "IPv4", 2)]), texts("a b", ""));
        let (spare, new) = (slice("a", "now", "IPv4", 3), slice("x", "now", "IPv4", 1));
        assert!(!is_as(&spare, &new), "its ports are those of before, though all else is the same");
        assert!(is_as(&renewed(spare, new.clone()), &new));
        let others = vec![slice("a", "before", "IPv4", 3), slice("b", "now", "IPv6", 3)];
        assert_eq!(of(others), texts(" ", "a b"), "of others nothing is taken");
    }

    #[test]
    fn a_slice_follows_labels_and_annotations_of_its_endpoints_but_not_what_tells_of_them_alone() {
        let endpoints = |labels: Value, annotations: Value| -> Endpoints {
            let meta =
                json!({"name": "db", "namespace": "ns", "uid": "u", "labels": labels, "annotations": annotations});
            serde_json::from_value(json!({"metadata": meta})).expect("valid")
        };
        let slice = |labels, annotations| build(&endpoints(labels, annotations), "IPv4", None, Vec::new());
        let mut known = slice(json!({"a": "1", "b": "2"}), json!({"team": "x"}));
        known.metadata.name = Some("db-7".to_owned());
        let table = [
            ("nothing", json!({"a": "1", "b": "2"}), json!({"team": "x"}), true),
            ("a label has another value", json!({"a": "2", "b": "2"}), json!({"team": "x"}), false),
            ("a label is gone", json!({"a": "1"}), json!({"team": "x"}), false),
            ("an annotation came", json!({"a": "1", "b": "2"}), json!({"team": "x", "new": "y"}), false),
            ("an annotation is gone", json!({"a": "1", "b": "2"}), Value::Null, false),
            ("a claim to the slice", json!({"a": "1", "b": "2", MANAGED_BY: "me"}), json!({"team": "x"}), true),
            (
                "what tells of the Endpoints alone",
                json!({"a": "1", "b": "2"}),
                json!({"team": "x", LAST_APPLIED: "{}", TRIGGER_TIME: "2026-01-01T00:00:00Z"}),
                true,
            ),
        ];
        for (change, labels, annotations, same) in table {
            let new = slice(labels, annotations);
            assert_eq!(is_as(&known, &new), same, "{change}");
            let after = renewed(known.clone(), new.clone());
            assert_eq!(after.metadata.name.as_deref(), Some("db-7"), "{change}");
            assert!(is_as(&after, &new), "{change}");
        }
        let mut anew = endpoints(json!({"a": "1", "b": "2"}), json!({"team": "x"}));
        anew.metadata.uid = Some("later".to_owned());
        let new = build(&anew, "IPv4", None, Vec::new());
        assert!(!is_as(&known, &new), "the Endpoints were made anew");
        assert!(is_as(&renewed(known.clone(), new.clone()), &new));
        assert_eq!(mirrored(&known), Some(ObjectKey::new("ns", "db")));
        let bare = slice(Value::Null, Value::Null);
        let mut stored = bare.clone();
        stored.metadata.annotations = None;
        assert!(is_as(&stored, &bare), "no annotations are none");
    }
}
