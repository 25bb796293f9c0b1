//! From wanted endpoints and existing slices to the fewest writes.

use super::ports::ResolvedPort;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use std::collections::{BTreeMap, HashMap};

/// Endpoints per slice.
pub(super) const MAX_ENDPOINTS: usize = 100;

/// What distinguishes slices of one Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) family: &'static str,
    pub(super) ports: Vec<ResolvedPort>,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<(Group, Vec<Endpoint>)>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<EndpointSlice>,
    /// What is as it shall be.
    pub(super) keep: Vec<EndpointSlice>,
}

fn group_of(slice: &EndpointSlice) -> Option<Group> {
    let family = match slice.address_type.as_str() {
        "IPv4" => "IPv4",
        "IPv6" => "IPv6",
        _ => return None,
    };
    let mut ports: Vec<ResolvedPort> = slice
        .ports
        .iter()
        .flatten()
        .map(|p| ResolvedPort {
            name: p.name.clone().unwrap_or_default(),
            port: p.port.unwrap_or(0),
            protocol: p.protocol.clone().unwrap_or_default(),
            app_protocol: p.app_protocol.clone(),
        })
        .collect();
    ports.sort();
    Some(Group { family, ports })
}

pub(super) fn slice_ports(group: &Group) -> Option<Vec<EndpointPort>> {
    let port = |p: &ResolvedPort| EndpointPort {
        name: Some(p.name.clone()),
        port: Some(p.port),
        protocol: Some(p.protocol.clone()),
        app_protocol: p.app_protocol.clone(),
    };
    Some(group.ports.iter().map(port).collect::<Vec<_>>()).filter(|ports| !ports.is_empty())
}

/// What an endpoint is known by from one plan to the next: its first address, and the UID of its pod.
pub(super) fn identity(endpoint: &Endpoint) -> (String, Option<String>) {
    let uid = endpoint.target_ref.as_ref().and_then(|t| t.uid.clone());
    (endpoint.addresses.first().cloned().unwrap_or_default(), uid)
}

/// Whether a slice belongs to the Service of this UID. Those of a former one of its name are on their way out: what they hold would go with
/// them.
fn is_owned(slice: &EndpointSlice, service: &str) -> bool {
    slice.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "Service" && owner.uid == service)
}

impl Plan {
    /// Lets slices that would go become those that would come, so that readers never see both: of the same family, and the Service's own.
    fn reuse(&mut self, service: &str) {
        for mut slice in std::mem::take(&mut self.delete) {
            let is_own = is_owned(&slice, service);
            let at = self.create.iter().rposition(|(group, _)| is_own && group.family == slice.address_type);
            let Some((group, endpoints)) = at.map(|at| self.create.remove(at)) else {
                self.delete.push(slice);
                continue;
            };
            slice.ports = slice_ports(&group);
            slice.endpoints = Some(endpoints);
            self.update.push(slice);
        }
    }

    /// Has slices written that have other labels than these.
    pub(super) fn relabel(&mut self, labels: &BTreeMap<String, String>) {
        let is_stale = |slice: &mut EndpointSlice| slice.metadata.labels.as_ref() != Some(labels);
        self.update.extend(self.keep.extract_if(.., is_stale));
    }

    /// The endpoints of a family in slices that are written.
    pub(super) fn written(&mut self, family: &str) -> Vec<&mut Endpoint> {
        let new = self.create.iter_mut().filter(|(group, _)| group.family == family);
        let changed = self.update.iter_mut().filter(|slice| slice.address_type == family);
        let changed = changed.flat_map(|slice| slice.endpoints.iter_mut().flatten());
        new.flat_map(|(_, endpoints)| endpoints).chain(changed).collect()
    }
}

/// Endpoints stay in the slice that holds them; new ones fill up slices that change anyway, then others with room, then
/// new slices. `wanted` must name every group that shall exist, also with no endpoints; `service` is the UID of the Service.
pub(super) fn plan(wanted: BTreeMap<Group, Vec<Endpoint>>, existing: Vec<EndpointSlice>, service: &str) -> Plan {
    let mut plan = Plan::default();
    let mut by_group: BTreeMap<Group, Vec<EndpointSlice>> = BTreeMap::new();
    for slice in existing {
        match group_of(&slice).filter(|group| wanted.contains_key(group) && is_owned(&slice, service)) {
            Some(group) => by_group.entry(group).or_default().push(slice),
            None => plan.delete.push(slice),
        }
    }
    for (group, endpoints) in wanted {
        let slices = by_group.remove(&group).unwrap_or_default();
        plan_group(group, endpoints, slices, &mut plan);
    }
    plan.reuse(service);
    plan
}

fn plan_group(group: Group, endpoints: Vec<Endpoint>, slices: Vec<EndpointSlice>, plan: &mut Plan) {
    let mut missing: HashMap<_, Endpoint> = endpoints.into_iter().map(|e| (identity(&e), e)).collect();
    let mut kept: Vec<(EndpointSlice, bool)> = Vec::with_capacity(slices.len());
    for mut slice in slices {
        let before = slice.endpoints.take().unwrap_or_default();
        let after: Vec<Endpoint> = before.iter().filter_map(|e| missing.remove(&identity(e))).collect();
        let changed = before != after;
        slice.endpoints = Some(after);
        kept.push((slice, changed));
    }
    let mut missing: Vec<Endpoint> = missing.into_values().collect();
    missing.sort_by_key(identity);
    missing.reverse();
    // Slices that are written anyway come first.
    kept.sort_by_key(|(_, changed)| !changed);
    for (slice, changed) in &mut kept {
        let held = slice.endpoints.get_or_insert_default();
        while held.len() < MAX_ENDPOINTS {
            let Some(endpoint) = missing.pop() else { break };
            held.push(endpoint);
            *changed = true;
        }
    }
    missing.reverse();
    let total =
        kept.iter().map(|(slice, _)| slice.endpoints.as_ref().map_or(0, Vec::len)).sum::<usize>() + missing.len();
    let mut placeholder = total == 0;
    if placeholder && kept.is_empty() {
        plan.create.push((group, Vec::new()));
        return;
    }
    for (slice, changed) in kept {
        let empty = slice.endpoints.as_ref().is_none_or(Vec::is_empty);
        if empty && !std::mem::take(&mut placeholder) {
            plan.delete.push(slice);
        } else if changed {
            plan.update.push(slice);
        } else {
            plan.keep.push(slice);
        }
    }
    for chunk in missing.chunks(MAX_ENDPOINTS) {
        plan.create.push((group.clone(), chunk.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(n: usize) -> Endpoint {
        Endpoint { addresses: vec![format!("10.0.{}.{}", n / 250, n % 250)], ..Endpoint::default() }
    }

    fn group() -> Group {
        Group { family: "IPv4", ports: vec![] }
    }

    fn slice(name: &str, endpoints: std::ops::Range<usize>) -> EndpointSlice {
        let owners = serde_json::json!([{"apiVersion": "v1", "kind": "Service", "name": "s", "uid": "service", "controller": true}]);
        let mut slice = EndpointSlice {
            address_type: "IPv4".to_owned(),
            endpoints: Some(endpoints.map(endpoint).collect()),
            ..EndpointSlice::default()
        };
        slice.metadata.name = Some(name.to_owned());
        slice.metadata.owner_references = serde_json::from_value(owners).expect("valid");
        slice
    }

    fn wanted(endpoints: std::ops::Range<usize>) -> BTreeMap<Group, Vec<Endpoint>> {
        BTreeMap::from([(group(), endpoints.map(endpoint).collect())])
    }

    fn planned(wanted: BTreeMap<Group, Vec<Endpoint>>, existing: Vec<EndpointSlice>) -> Plan {
        plan(wanted, existing, "service")
    }

    #[test]
    fn a_slice_whose_ports_are_wanted_no_more_becomes_one_with_those_that_are() {
        let owned = |name: &str, uid: &str, family: &str| {
            let mut slice = slice(name, 0..0);
            slice.address_type = family.to_owned();
            slice.metadata.owner_references.iter_mut().flatten().for_each(|owner| owner.uid = uid.to_owned());
            slice
        };
        let port = |port| ResolvedPort { name: String::new(), port, protocol: "TCP".to_owned(), app_protocol: None };
        let served = |number| Group { family: "IPv4", ports: vec![port(number)] };
        let both = || BTreeMap::from([(served(1), vec![endpoint(1)]), (served(2), vec![endpoint(2)])]);
        let counts = |plan: &Plan| (plan.create.len(), plan.update.len(), plan.delete.len());
        let first = planned(both(), vec![owned("a", "service", "IPv4")]);
        assert_eq!(counts(&first), (1, 1, 0));
        let became = first.update.first().expect("one");
        assert_eq!((became.metadata.name.as_deref(), became.ports.as_ref().map(Vec::len)), (Some("a"), Some(1)));
        assert_eq!(became.endpoints.as_ref().map(Vec::len), Some(1));
        let mut unowned = slice("a", 0..0);
        unowned.metadata.owner_references = None;
        for other in [owned("a", "former", "IPv4"), owned("a", "service", "IPv6"), unowned] {
            assert_eq!(counts(&planned(both(), vec![other.clone()])), (2, 0, 1), "{other:?}");
        }
        let spare = vec![owned("a", "service", "IPv4"), owned("b", "service", "IPv4"), owned("c", "service", "IPv4")];
        assert_eq!(counts(&planned(both(), spare)), (0, 2, 1));
    }

    #[test]
    fn what_a_slice_of_a_former_service_of_the_name_holds_goes_into_a_new_one() {
        let plan = plan(wanted(0..3), vec![slice("a", 0..3)], "later");
        assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (1, 0, 1));
        assert_eq!(plan.create.first().map(|(_, endpoints)| endpoints.len()), Some(3));
    }

    #[test]
    fn one_changed_endpoint_is_one_write() {
        let plan = planned(wanted(0..151), vec![slice("a", 0..100), slice("b", 100..150)]);
        assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
        assert_eq!(plan.update.first().and_then(|s| s.endpoints.as_ref()).map(Vec::len), Some(51));
    }

    #[test]
    fn nothing_is_written_when_nothing_changed() {
        let plan = planned(wanted(0..150), vec![slice("a", 0..100), slice("b", 100..150)]);
        assert!(plan.create.is_empty() && plan.update.is_empty() && plan.delete.is_empty());
        assert_eq!(plan.keep.len(), 2);
    }

    #[test]
    fn a_slice_with_labels_of_before_is_written_though_its_endpoints_stay() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let mut labelled = slice("a", 0..100);
        labelled.metadata.labels = Some(labels.clone());
        let mut plan = planned(wanted(0..150), vec![labelled, slice("b", 100..150)]);
        plan.relabel(&labels);
        let names =
            |slices: &[EndpointSlice]| slices.iter().filter_map(|s| s.metadata.name.clone()).collect::<String>();
        assert_eq!((names(&plan.update).as_str(), names(&plan.keep).as_str()), ("b", "a"));
    }

    #[test]
    fn slices_fill_split_and_go() {
        let full = planned(wanted(0..250), vec![]);
        assert_eq!(full.create.iter().map(|(_, e)| e.len()).collect::<Vec<_>>(), [100, 100, 50]);
        let fewer = planned(wanted(0..10), vec![slice("a", 0..100), slice("b", 100..150)]);
        assert_eq!((fewer.update.len(), fewer.delete.len()), (1, 1));
        let none = planned(wanted(0..0), vec![slice("a", 0..3)]);
        assert_eq!((none.update.len(), none.delete.len()), (1, 0), "an empty slice stays as placeholder");
        let again = planned(wanted(0..0), vec![slice("a", 0..0)]);
        assert_eq!((again.create.len(), again.update.len(), again.delete.len()), (0, 0, 0));
        assert_eq!(planned(wanted(0..0), vec![]).create.len(), 1);
        assert_eq!(planned(BTreeMap::new(), vec![slice("a", 0..3)]).delete.len(), 1);
    }
}
