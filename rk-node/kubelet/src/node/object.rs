//! The Node object as this kubelet wants it. Values only.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeDaemonEndpoints, NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures, NodeSpec, NodeStatus, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::info::{Machine, architecture};
use crate::Options;
use crate::cgroups::Together;
use crate::numa::huge_page_resource;

/// Memory kept from pods for the node's own services, bytes.
const RESERVED_MEMORY: u64 = 100 * 1024 * 1024;

/// Capacity of the machine.
pub fn capacity(machine: &Machine, max_pods: u32) -> BTreeMap<String, Quantity> {
    let mut map = BTreeMap::from([
        ("cpu".to_owned(), Quantity(machine.cpus.to_string())),
        ("memory".to_owned(), Quantity(format!("{}Ki", machine.memory / 1024))),
        ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", machine.storage / 1024))),
        ("pods".to_owned(), Quantity(max_pods.to_string())),
    ]);
    for (kib, number) in &machine.huge_pages {
        map.insert(huge_page_resource(*kib), Quantity((kib * number * 1024).to_string()));
    }
    map
}

/// Memory that is no pod's, in bytes: what is reserved, and what must stay free; the node's own services need some in any case.
pub fn kept_memory(machine: &Machine, options: &Options) -> u64 {
    RESERVED_MEMORY.max(reserved_memory(options).saturating_add(options.eviction.memory.of(machine.memory)))
}

fn reserved_memory(options: &Options) -> u64 {
    options.reserved.get("memory").copied().unwrap_or(0) / 1000
}

/// Memory that the bound of all pods together keeps from them though nobody reserved it, in bytes. What the node offers them keeps what
/// must stay free in its place: pods that have no more than that are not short.
pub fn unreserved_memory(options: &Options) -> u64 {
    RESERVED_MEMORY.saturating_sub(reserved_memory(options))
}

fn huge_bytes(machine: &Machine) -> u64 {
    machine.huge_pages.iter().map(|(kib, n)| kib * n * 1024).sum()
}

/// CPU that pods may use, thousandths.
fn pods_cpu(machine: &Machine, options: &Options) -> u64 {
    (machine.cpus as u64).saturating_mul(1000).saturating_sub(options.reserved.get("cpu").copied().unwrap_or(0))
}

/// What all pods may have together, on a kernel that makes `most_tasks` processes. As upstream, what must stay free is not taken off
/// their memory: pods are evicted for it, in order, before the kernel ends them at the bound.
pub fn pods_together(machine: &Machine, options: &Options, most_tasks: Option<u64>) -> Together {
    let kept = RESERVED_MEMORY.max(reserved_memory(options)).saturating_add(huge_bytes(machine));
    let memory = Some(machine.memory.saturating_sub(kept)).filter(|left| *left > 0 && options.enforce_allocatable);
    let cpu = i64::try_from(pods_cpu(machine, options)).unwrap_or(i64::MAX);
    // Whatever pods do, the node's own services can make processes.
    Together { memory, cpu, tasks: most_tasks.map(|all| all / 10 * 9) }
}

/// What of it pods may use.
pub fn allocatable(machine: &Machine, options: &Options) -> BTreeMap<String, Quantity> {
    let mut map = capacity(machine, options.max_pods);
    let reserved = |resource: &str| options.reserved.get(resource).copied().unwrap_or(0);
    let memory = machine.memory.saturating_sub(kept_memory(machine, options)).saturating_sub(huge_bytes(machine));
    map.insert("memory".to_owned(), Quantity(format!("{}Ki", memory / 1024)));
    // What must stay free is no pod's: that is where disk pressure begins.
    let kept = options.eviction.disk.of(machine.storage).saturating_add(reserved("ephemeral-storage") / 1000);
    map.insert("ephemeral-storage".to_owned(), Quantity(machine.storage.saturating_sub(kept).to_string()));
    let cpus = pods_cpu(machine, options);
    let cpus = if cpus.is_multiple_of(1000) { (cpus / 1000).to_string() } else { format!("{cpus}m") };
    map.insert("cpu".to_owned(), Quantity(cpus));
    map
}

/// Adds what others advertise on the Node (extended resources): the capacity that they wrote is what pods may use.
pub fn advertise(
    known: Option<&NodeStatus>,
    capacity: &mut BTreeMap<String, Quantity>,
    allocatable: &mut BTreeMap<String, Quantity>,
) {
    for (name, amount) in known.and_then(|s| s.capacity.as_ref()).into_iter().flatten() {
        let own = !name.contains('/') || capacity.contains_key(name);
        if !own {
            capacity.insert(name.clone(), amount.clone());
            allocatable.insert(name.clone(), amount.clone());
        }
    }
}

/// Extended resources that the Node still offers although nobody advertises them any more.
pub fn withdrawn(known: Option<&NodeStatus>, status: &NodeStatus) -> Vec<String> {
    let offered = known.and_then(|s| s.allocatable.as_ref()).into_iter().flatten();
    let present = |name: &String| status.allocatable.as_ref().is_some_and(|all| all.contains_key(name));
    offered.map(|(name, _)| name).filter(|name| name.contains('/') && !present(name)).cloned().collect()
}

/// Takes out of a status that is written what others advertise and nobody changed: they may be changing it just now.
pub fn leave_alone(known: Option<&NodeStatus>, status: &mut serde_json::Value) {
    let Some(known) = known else { return };
    for (field, amounts) in [("capacity", &known.capacity), ("allocatable", &known.allocatable)] {
        let (Some(amounts), Some(written)) = (amounts, status[field].as_object_mut()) else { continue };
        let same = |name: &String, amount: &serde_json::Value| amounts.get(name).is_some_and(|q| *amount == *q.0);
        written.retain(|name, amount| !(name.contains('/') && same(name, amount)));
    }
}

/// Labels of the project's own domains that a node may set on itself; the API server refuses all others (NodeRestriction), and
/// with them the whole object.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "node.kubernetes.io/instance-type",
];

/// Whether a node may set this label on itself.
fn may_set(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return true };
    let of = |root: &str| domain == root || domain.strip_suffix(root).is_some_and(|d| d.ends_with('.'));
    if !of("kubernetes.io") && !of("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&key) || of("kubelet.kubernetes.io") || of("node.kubernetes.io")
}

/// Labels that the kubelet keeps on its Node. Those that it may not set are left out: one wrong label must not keep a node away.
pub fn labels(options: &Options) -> BTreeMap<String, String> {
    let mut map = options.labels.clone();
    map.retain(|key, _| may_set(key));
    let own = [
        ("kubernetes.io/hostname", options.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ];
    map.extend(own.map(|(k, v)| (k.to_owned(), v.to_owned())));
    if options.control_plane {
        map.insert("node.kubernetes.io/exclude-from-external-load-balancers".into(), String::new());
    }
    map
}

/// Configured labels that a node may not set on itself, for a warning.
pub fn refused_labels(options: &Options) -> Vec<&str> {
    options.labels.keys().filter(|key| !may_set(key)).map(String::as_str).collect()
}

fn taints(options: &Options) -> Vec<Taint> {
    let mut taints = options.taints.clone();
    let key = "node-role.kubernetes.io/control-plane";
    if options.control_plane && !taints.iter().any(|t| t.key == key) {
        taints.push(Taint { key: key.into(), effect: "NoSchedule".into(), value: None, time_added: None });
    }
    taints
}

/// What the kubelet keeps of its Node's metadata, whoever made the object: its labels, and that the control plane attaches its volumes.
pub fn marks(options: &Options) -> ObjectMeta {
    let attached = ("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned());
    ObjectMeta { labels: Some(labels(options)), annotations: Some([attached].into()), ..Default::default() }
}

/// The object to register with.
pub fn node(options: &Options, status: NodeStatus) -> Node {
    Node {
        metadata: ObjectMeta { name: Some(options.node_name.clone()), ..marks(options) },
        spec: Some(NodeSpec {
            taints: Some(taints(options)).filter(|t| !t.is_empty()),
            provider_id: Some(options.provider_id.clone()).filter(|id| !id.is_empty()),
            ..Default::default()
        }),
        status: Some(status),
    }
}

/// Addresses of the node.
pub fn addresses(name: &str, ips: &[IpAddr]) -> Vec<NodeAddress> {
    let address = |type_: &str, address: String| NodeAddress { type_: type_.into(), address };
    let mut list: Vec<_> = ips.iter().map(|ip| address("InternalIP", ip.to_string())).collect();
    list.push(address("Hostname", name.to_owned()));
    list
}

/// Where the kubelet serves.
pub fn daemon_endpoints(port: u16) -> NodeDaemonEndpoints {
    NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(port) }) }
}

/// What the runtime's handlers can do, sorted by name.
pub fn runtime_handlers(list: Vec<rk_cri_api::v1::RuntimeHandler>) -> Vec<NodeRuntimeHandler> {
    let mut handlers: Vec<_> = list
        .into_iter()
        .map(|handler| {
            let features = handler.features.unwrap_or_default();
            NodeRuntimeHandler {
                name: Some(handler.name),
                features: Some(NodeRuntimeHandlerFeatures {
                    recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
                    user_namespaces: Some(features.user_namespaces),
                }),
            }
        })
        .collect();
    handlers.sort_by(|a, b| a.name.cmp(&b.name));
    handlers
}

/// Images for the status, the largest first, so many at most.
pub fn images(mut list: Vec<rk_cri_api::v1::Image>, most: usize) -> Vec<ContainerImage> {
    list.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    list.into_iter()
        .take(most)
        .map(|image| {
            let names = image.repo_digests.into_iter().chain(image.repo_tags).take(5);
            ContainerImage { names: Some(names.collect()), size_bytes: i64::try_from(image.size).ok() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_the_api_server_would_refuse_are_left_out() {
        for (key, ok) in [
            ("disk", true),
            ("example.com/x", true),
            ("topology.kubernetes.io/zone", true),
            ("node.kubernetes.io/pool", true),
            ("x.kubelet.kubernetes.io/y", true),
            ("node-role.kubernetes.io/worker", false),
            ("node-restriction.kubernetes.io/x", false),
            ("kubernetes.io/x", false),
            ("x.k8s.io/y", false),
            ("notkubernetes.io/x", true),
        ] {
            assert_eq!(may_set(key), ok, "{key}");
        }
    }

    #[test]
    fn a_new_node_has_the_taints_of_its_settings_and_a_control_plane_its_own_once() {
        let taint = |key: &str, effect: &str| Taint { key: key.into(), effect: effect.into(), ..Default::default() };
        let own = taint("node-role.kubernetes.io/control-plane", "NoSchedule");
        let softer = Taint { effect: "PreferNoSchedule".into(), ..own.clone() };
        let gpu = taint("gpu", "NoExecute");
        for (control_plane, set, want) in [
            (false, vec![], None),
            (false, vec![gpu.clone()], Some(vec![gpu.clone()])),
            (true, vec![gpu.clone()], Some(vec![gpu.clone(), own.clone()])),
            (true, vec![softer.clone()], Some(vec![softer.clone()])),
        ] {
            let mut options = Options::new("n", crate::Cluster::default());
            (options.control_plane, options.taints) = (control_plane, set);
            let registered = node(&options, NodeStatus::default()).spec.unwrap_or_default();
            assert_eq!(registered.taints, want);
        }
    }

    #[test]
    fn the_largest_images_are_told_with_a_few_of_their_names() {
        let image = |id: &str, size, tags: usize| rk_cri_api::v1::Image {
            id: id.into(),
            size,
            repo_digests: vec![format!("{id}@sha256:feed")],
            repo_tags: (0..tags).map(|tag| format!("{id}:{tag}")).collect(),
            ..Default::default()
        };
        let list = vec![image("small", 1, 1), image("b", 7, 9), image("a", 7, 0)];
        let told = images(list, 2);
        let names = |at: usize| told[at].names.clone().unwrap_or_default();
        assert_eq!((told.len(), told[0].size_bytes, told[1].size_bytes), (2, Some(7), Some(7)));
        assert_eq!(names(0), ["a@sha256:feed"]);
        assert_eq!(names(1), ["b@sha256:feed", "b:0", "b:1", "b:2", "b:3"]);
    }

    #[test]
    fn what_is_reserved_is_no_pods() {
        let machine = Machine { cpus: 2, memory: 1 << 30, swap: 0, storage: 1000, huge_pages: Vec::new() };
        let mut options = Options::new("n", crate::Cluster::default());
        let shown = |options: &Options| {
            let map = allocatable(&machine, options);
            ["cpu", "memory", "ephemeral-storage"].map(|r| map.get(r).map(|q| q.0.clone()).unwrap_or_default())
        };
        assert_eq!(shown(&options), ["2", "946176Ki", "900"]);
        options.reserved = BTreeMap::from(
            [("cpu", 1100), ("memory", (512 << 20) * 1000), ("ephemeral-storage", 100_000)]
                .map(|(k, v)| (k.to_owned(), v)),
        );
        // What must stay free comes on top of what is reserved.
        assert_eq!(shown(&options), ["900m", "421888Ki", "800"]);
    }

    #[test]
    fn all_pods_together_leave_the_node_what_is_its_own() {
        let machine =
            |memory: u64| Machine { cpus: 2, memory, swap: 0, storage: 0, huge_pages: vec![(2048, 8), (1 << 20, 0)] };
        let mut options = Options::new("n", crate::Cluster::default());
        let together = |options: &Options, memory: u64| pods_together(&machine(memory), options, Some(7693));
        // As much of 1 GiB as is not the services' and not huge pages; nothing on a machine that has no more than these need.
        let usual = Together { memory: Some((1 << 30) - (116 << 20)), cpu: 2000, tasks: Some(6921) };
        assert_eq!(together(&options, 1 << 30), usual);
        assert_eq!(together(&options, 100 << 20).memory, None);
        options.reserved = BTreeMap::from([("cpu".to_owned(), 500), ("memory".to_owned(), (256 << 20) * 1000)]);
        let less = Together { memory: Some((1 << 30) - (272 << 20)), cpu: 1500, ..usual };
        assert_eq!(together(&options, 1 << 30), less);
        options.enforce_allocatable = false;
        assert_eq!(together(&options, 1 << 30), Together { memory: None, ..less });
    }

    #[test]
    fn pods_are_short_of_their_memory_where_what_the_node_offers_ends() {
        let machine = Machine { cpus: 2, memory: 1 << 30, swap: 0, storage: 0, huge_pages: vec![(2048, 8)] };
        let mut options = Options::new("n", crate::Cluster::default());
        for mib in [0_u64, 40, 100, 512] {
            options.reserved = BTreeMap::from([("memory".to_owned(), (mib << 20) * 1000)]);
            let theirs = pods_together(&machine, &options, None).memory.unwrap() + unreserved_memory(&options);
            let offered = machine.memory - kept_memory(&machine, &options) - huge_bytes(&machine);
            assert_eq!(theirs - options.eviction.memory.of(theirs), offered, "{mib} MiB are reserved");
        }
    }

    #[test]
    fn resources_that_others_advertise_can_be_used_until_they_are_withdrawn() {
        let amounts = |list: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
            list.iter().map(|(name, n)| ((*name).to_owned(), Quantity((*n).to_owned()))).collect()
        };
        let known = NodeStatus {
            capacity: Some(amounts(&[("cpu", "99"), ("example.com/card", "4")])),
            allocatable: Some(amounts(&[("cpu", "1"), ("example.com/card", "4"), ("example.com/gone", "1")])),
            ..Default::default()
        };
        let (mut capacity, mut allocatable) = (amounts(&[("cpu", "2")]), amounts(&[("cpu", "1")]));
        advertise(Some(&known), &mut capacity, &mut allocatable);
        assert_eq!(capacity, amounts(&[("cpu", "2"), ("example.com/card", "4")]));
        assert_eq!(allocatable, amounts(&[("cpu", "1"), ("example.com/card", "4")]));
        let status = NodeStatus { allocatable: Some(allocatable), ..Default::default() };
        assert_eq!(withdrawn(Some(&known), &status), ["example.com/gone"]);
        assert!(withdrawn(None, &status).is_empty());
    }
}
