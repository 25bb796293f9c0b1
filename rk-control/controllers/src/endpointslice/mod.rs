//! EndpointSlices of Services with a selector.

mod endpoint;
mod mirror;
mod plan;
mod ports;
mod repack;
mod topology;

pub(crate) use endpoint::{address, family_of, hostname, target};
pub(crate) use mirror::register as register_mirror;
pub(crate) use ports::resolve;
pub(crate) use repack::{port_of, repack};

use crate::context::Context;
use crate::pods;
use crate::remove::remove;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use plan::Group;
use rk_client::{
    BoxError, Informer, LabelMatcher, ObjectKey, Outcome, Queue, Recorder, controller_ref, is_namespace_terminating,
};
use rk_lenient::Lenient;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Annotation: when that changed of which an object tells.
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const HEADLESS: &str = "service.kubernetes.io/headless";
const BY_SERVICE: &str = "service";
const BY_MODE: &str = "mode";
/// What Services that ask for zones by shares are found by.
const AUTO: &str = "auto";

/// Names of pods, each with that of its node.
type Lost = BTreeSet<(String, String)>;

struct Controller {
    services: Informer<Lenient<Service>>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    recorder: Recorder,
    /// Services whose endpoints have zones by shares.
    zoned: Mutex<BTreeSet<ObjectKey>>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        services: ctx.informers.of(),
        pods: ctx.informers.of(),
        nodes: ctx.informers.of(),
        slices: ctx.informers.of(),
        recorder: ctx.recorders.of("endpoint-slice-controller"),
        zoned: Mutex::default(),
    });
    let queue: Queue<ObjectKey> = Queue::default();
    controller.slices.index(BY_SERVICE, |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect());
    controller.services.index(BY_MODE, |service| {
        topology::is_wanted(service.metadata.annotations.as_ref()).then(|| AUTO.to_owned()).into_iter().collect()
    });
    let q = queue.clone();
    controller.services.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let q = queue.clone();
    controller.slices.on_change(move |change| {
        change.previous().into_iter().chain([change.object()]).filter_map(|s| service_of(s)).for_each(|key| q.add(key))
    });
    enqueue_services_of_pods(&controller.services, &controller.pods, &queue);
    pods::index_by_node(&controller.pods);
    let (q, services, placed) = (queue.clone(), controller.services.clone(), controller.pods.clone());
    controller.nodes.on_change(move |change| {
        let node = change.object();
        if change.previous().is_none_or(|old| topology::facts(old) != topology::facts(node)) {
            services.by_index(BY_MODE, AUTO).iter().for_each(|service| q.add(ObjectKey::of(service.as_ref())));
        }
        if change.previous().is_none() {
            let here = placed.by_index(pods::BY_NODE, node.metadata.name.as_deref().unwrap_or_default());
            here.iter().for_each(|pod| enqueue_services_of(&services, pod, None, &q));
        }
    });
    ctx.work("endpoint_slice", queue, 4, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

/// Adds the keys of Services whose endpoints may change with a pod.
pub(crate) fn enqueue_services_of_pods(
    services: &Informer<Lenient<Service>>,
    pods: &Informer<Pod>,
    queue: &Queue<ObjectKey>,
) {
    let (services, queue) = (services.clone(), queue.clone());
    pods.on_change(move |change| {
        if change.previous().is_some_and(|old| !matters(old, change.object())) {
            return;
        }
        enqueue_services_of(&services, change.object(), change.previous().map(|old| old.as_ref()), &queue);
    });
}

/// Adds the keys of Services that choose a pod, or chose it as it was `before`.
fn enqueue_services_of(
    services: &Informer<Lenient<Service>>,
    pod: &Pod,
    before: Option<&Pod>,
    queue: &Queue<ObjectKey>,
) {
    for service in services.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default()) {
        let Some(selector) = selector_of(&service) else { continue };
        let chooses = |pod: &Pod| selector.matches(pod.metadata.labels.as_ref());
        if chooses(pod) || before.is_some_and(chooses) {
            queue.add(ObjectKey::of(service.as_ref()));
        }
    }
}

/// Whether a change of a pod can change endpoints.
fn matters(old: &Pod, new: &Pod) -> bool {
    let ips = |pod: &Pod| pod.status.as_ref().map(|s| (s.pod_ip.clone(), s.pod_ips.clone()));
    old.metadata.labels != new.metadata.labels
        || pods::node_name(old) != pods::node_name(new)
        || pods::is_ready(old) != pods::is_ready(new)
        || pods::is_finished(old) != pods::is_finished(new)
        || pods::is_terminating(old) != pods::is_terminating(new)
        || ips(old) != ips(new)
}

/// The Service's selector; `None` when its endpoints are someone else's business.
pub(crate) fn selector_of(service: &Service) -> Option<LabelMatcher> {
    let spec = service.spec.as_ref()?;
    let selector = spec.selector.as_ref().filter(|s| !s.is_empty())?;
    (spec.type_.as_deref() != Some("ExternalName")).then(|| LabelMatcher::of_map(Some(selector)))
}

pub(crate) fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = slice.metadata.labels.as_ref()?;
    (labels.get(MANAGED_BY)? == MANAGER).then_some(())?;
    Some(ObjectKey::new(slice.metadata.namespace.clone()?, labels.get(SERVICE_NAME)?.clone()))
}

fn families(spec: &ServiceSpec) -> Vec<&'static str> {
    let listed: Vec<&'static str> = spec
        .ip_families
        .iter()
        .flatten()
        .filter_map(|family| ["IPv4", "IPv6"].into_iter().find(|known| known == family))
        .collect();
    if !listed.is_empty() {
        return listed;
    }
    vec![spec.cluster_ip.as_deref().and_then(family_of).unwrap_or("IPv4")]
}

fn labels_of(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if service.spec.as_ref().is_some_and(is_headless) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// What is told of pods without their nodes, in the words that upstream's users know.
fn of_lost(service: &ObjectKey, lost: &Lost) -> String {
    let one =
        |(pod, node): &(String, String)| format!("skipping Pod {pod} for Service {service}: Node {node} Not Found");
    let all = lost.iter().map(one).collect::<Vec<_>>().join(", ");
    if lost.len() > 1 { format!("[{all}]") } else { all }
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        // Slices of a Service that is gone are removed by garbage collection.
        let Some(service) = self.services.get(key) else {
            self.zoned().remove(key);
            return Ok(Outcome::AwaitChange);
        };
        let Some(selector) = selector_of(&service) else { return Ok(Outcome::AwaitChange) };
        if service.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::AwaitChange);
        }
        let existing: Vec<EndpointSlice> = self
            .slices
            .by_index(BY_SERVICE, &key.to_string())
            .iter()
            // What a finalizer keeps will go all the same, with all that it holds.
            .filter(|s| s.metadata.deletion_timestamp.is_none())
            .map(|s| EndpointSlice::clone(s))
            .collect();
        let labels = labels_of(&service);
        let uid = service.metadata.uid.as_deref().unwrap_or_default();
        let (mut wanted, lost) = self.wanted(&service, &selector);
        if !lost.is_empty() {
            // A node that comes wakes this Service.
            self.warn(key, &service, &of_lost(key, &lost));
        }
        if topology::is_wanted(service.metadata.annotations.as_ref()) {
            topology::inherit(wanted.values_mut().flatten(), &existing);
        }
        let mut plan = plan::plan(wanted, existing, uid);
        self.give_zones(key, &service, &mut plan);
        plan.relabel(&labels);
        if let Err(error) = self.write(&service, labels, plan).await {
            if is_namespace_terminating(&error) {
                return Ok(Outcome::AwaitChange);
            }
            if !rk_client::is_conflict(&error) {
                self.warn(key, &service, &rk_client::message(&error));
            }
            return Err(error.into());
        }
        Ok(Outcome::AwaitChange)
    }

    fn warn(&self, key: &ObjectKey, service: &Service, why: &str) {
        let text = format!("Error updating Endpoint Slices for Service {key}: {why}");
        self.recorder.warning(service, "FailedToUpdateEndpointSlices", text);
    }

    /// The endpoints by what distinguishes their slices, and pods that are none because their node is not there, with its name: nobody
    /// would tell of their end. Who wants pods in any state gets these, too.
    fn wanted(&self, service: &Service, selector: &LabelMatcher) -> (BTreeMap<Group, Vec<Endpoint>>, Lost) {
        let (mut wanted, mut lost) = (BTreeMap::<Group, Vec<Endpoint>>::new(), Lost::new());
        let Some(spec) = &service.spec else { return (wanted, lost) };
        let matching: Vec<Arc<Pod>> = self
            .pods
            .in_namespace(service.metadata.namespace.as_deref().unwrap_or_default())
            .into_iter()
            .filter(|pod| selector.matches(pod.metadata.labels.as_ref()))
            .collect();
        for family in families(spec) {
            let mut any = false;
            for pod in &matching {
                let node = pods::node_name(pod).and_then(|name| self.nodes.get(&ObjectKey::cluster(name)));
                let Some(endpoint) = endpoint::build(service, pod, node.as_deref(), family) else { continue };
                if node.is_none() && spec.publish_not_ready_addresses != Some(true) {
                    let name = pod.metadata.name.clone().unwrap_or_default();
                    lost.insert((name, endpoint.node_name.unwrap_or_default()));
                    continue;
                }
                let group = Group { family, ports: resolve(spec, pod) };
                any = true;
                wanted.entry(group).or_default().push(endpoint);
            }
            if !any {
                wanted.insert(Group { family, ports: Vec::new() }, Vec::new());
            }
        }
        (wanted, lost)
    }

    fn zoned(&self) -> MutexGuard<'_, BTreeSet<ObjectKey>> {
        self.zoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives endpoints zones by shares where the Service asks for that, and tells when that begins, when it ends and why it cannot be.
    fn give_zones(&self, key: &ObjectKey, service: &Service, plan: &mut plan::Plan) {
        let families = service.spec.as_ref().map(families).unwrap_or_default();
        let off = |family: &str, why: &str| {
            self.recorder.warning(service, "TopologyAwareHintsDisabled", format!("{why}, addressType: {family}"));
        };
        if !topology::is_wanted(service.metadata.annotations.as_ref()) {
            if let (true, Some(family)) = (self.zoned().remove(key), families.first()) {
                off(family, "Topology Aware Hints has been disabled");
            }
            return;
        }
        let shares = topology::shares(&self.nodes.list());
        for family in families {
            if let Err(why) = topology::assign(plan, family, shares.as_ref()) {
                self.zoned().remove(key);
                off(family, &why);
            } else if self.zoned().insert(key.clone()) {
                let text = format!("Topology Aware Hints has been enabled, addressType: {family}");
                self.recorder.normal(service, "TopologyAwareHintsEnabled", text);
            }
        }
    }

    async fn write(&self, service: &Service, labels: BTreeMap<String, String>, plan: plan::Plan) -> kube::Result<()> {
        for (group, endpoints) in plan.create {
            let slice = EndpointSlice {
                metadata: ObjectMeta {
                    generate_name: Some(pods::name_prefix(service.metadata.name.as_deref().unwrap_or_default())),
                    namespace: service.metadata.namespace.clone(),
                    labels: Some(labels.clone()),
                    annotations: Some(trigger_time()),
                    owner_references: Some(vec![controller_ref(service)]),
                    ..ObjectMeta::default()
                },
                address_type: group.family.to_owned(),
                ports: plan::slice_ports(&group),
                endpoints: Some(endpoints),
            };
            self.slices.create(&slice).await?;
        }
        for mut slice in plan.update {
            slice.metadata.labels = Some(labels.clone());
            slice.metadata.annotations.get_or_insert_default().extend(trigger_time());
            self.slices.replace(&slice).await?;
        }
        for slice in plan.delete {
            remove(&self.slices, &slice).await?;
        }
        Ok(())
    }
}

/// The annotation that says: now.
pub(crate) fn trigger_time() -> BTreeMap<String, String> {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    BTreeMap::from([(TRIGGER_TIME.to_owned(), now)])
}
