//! Which pod goes first when the node is short. Values only.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::usage::PodUse;
use crate::node::Signal;
use crate::pod::spec;
use crate::quantity::units_of;
use crate::resources::pod_total;
use crate::static_pods::is_static;

/// From this priority on a pod keeps the cluster going.
const CRITICAL: i32 = 2_000_000_000;

/// What is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Memory.
    Memory,
    /// Bytes of the disk.
    Disk,
    /// Inodes of the disk.
    Inodes,
    /// Process IDs.
    Pids,
}

impl Shortage {
    /// What a signal is about.
    pub fn of(signal: Signal) -> Self {
        match signal {
            Signal::Memory | Signal::PodsMemory => Self::Memory,
            Signal::Disk | Signal::ImageDisk => Self::Disk,
            Signal::Inodes | Signal::ImageInodes => Self::Inodes,
            Signal::Pids => Self::Pids,
        }
    }

    /// Whether it is the disk that must be looked through.
    pub fn on_disk(self) -> bool {
        matches!(self, Self::Disk | Self::Inodes)
    }

    /// Name of the resource in messages.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "ephemeral-storage",
            Self::Inodes => "inodes",
            Self::Pids => "pids",
        }
    }

    fn used(self, used: &PodUse) -> u64 {
        match self {
            Self::Memory => used.memory_total(),
            Self::Disk => used.disk_total(),
            Self::Inodes => used.inodes,
            Self::Pids => used.pids,
        }
    }

    /// Nobody can ask for inodes or processes: there only priority and use count.
    fn requested(self, pod: &Pod) -> u64 {
        if matches!(self, Self::Inodes | Self::Pids) {
            return 0;
        }
        u64::try_from(pod_total(pod, self.resource(), false) / 1000).unwrap_or(0)
    }
}

/// Whether the kubelet never evicts the pod.
pub fn is_critical(pod: &Pod) -> bool {
    is_static(pod) || pod.spec.as_ref().and_then(|s| s.priority).is_some_and(|p| p >= CRITICAL)
}

/// The pod to go first: one above its request, of the lowest priority, furthest above its request.
pub fn first<'a>(shortage: Shortage, pods: &'a [(&'a Pod, PodUse)]) -> Option<&'a (&'a Pod, PodUse)> {
    let candidates = pods.iter().filter(|(pod, _)| !is_critical(pod));
    candidates.min_by_key(|(pod, used)| {
        let (used, requested) = (shortage.used(used), shortage.requested(pod));
        let priority = pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0);
        (Reverse(used > requested), priority, Reverse(i128::from(used) - i128::from(requested)))
    })
}

/// The message of the eviction.
pub fn message(shortage: Shortage, pod: &Pod, used: &PodUse, threshold: &str, available: u64) -> String {
    let resource = shortage.resource();
    let shown =
        if matches!(shortage, Shortage::Memory | Shortage::Disk) { kib(available) } else { available.to_string() };
    let mut text =
        format!("The node was low on resource: {resource}. Threshold quantity: {threshold}, available: {shown}. ");
    for Offender { name, held, request } in offenders(shortage, pod, used) {
        text.push_str(&format!(
            "Container {name} was using {held}, request is {request}, has larger consumption of {resource}. "
        ));
    }
    text
}

/// What the event of the eviction tells programs (upstream's keys): what is short, and who uses how much of it.
pub fn annotations(shortage: Shortage, pod: &Pod, used: &PodUse) -> BTreeMap<String, String> {
    let offenders = offenders(shortage, pod, used);
    let list = |of: fn(&Offender) -> &str| offenders.iter().map(of).collect::<Vec<_>>().join(",");
    let told = [
        ("starved_resource", shortage.resource().to_owned()),
        ("offending_containers", list(|offender| &offender.name)),
        ("offending_containers_usage", list(|offender| &offender.held)),
    ];
    told.map(|(key, value)| (key.to_owned(), value)).into()
}

/// A container that uses more than it asks for, as messages show it.
struct Offender {
    name: String,
    held: String,
    request: String,
}

/// Containers of a pod that use more of what is short than they ask for; of inodes and processes nobody knows.
fn offenders(shortage: Shortage, pod: &Pod, used: &PodUse) -> Vec<Offender> {
    let by_container = match shortage {
        Shortage::Memory => &used.memory,
        Shortage::Disk => &used.disk,
        Shortage::Inodes | Shortage::Pids => return Vec::new(),
    };
    let resource = shortage.resource();
    let offends = |(name, held): (&String, &u64)| {
        let requests = spec::find_container(pod, name).and_then(|(_, c)| c.resources).and_then(|r| r.requests);
        let asked = u64::try_from(units_of(requests.as_ref(), resource)).unwrap_or(0);
        let request = requests.and_then(|mut list| list.remove(resource)).map_or_else(|| "0".to_owned(), |q| q.0);
        (*held > asked).then(|| Offender { name: name.clone(), held: kib(*held), request })
    };
    by_container.iter().filter_map(offends).collect()
}

fn kib(bytes: u64) -> String {
    format!("{}Ki", bytes / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, priority: i32, request: &str, used: u64) -> (Pod, PodUse) {
        let pod = json!({"metadata": {"name": name, "uid": name}, "spec": {"priority": priority,
            "containers": [{"name": "c", "resources": {"requests": {"memory": request}}}]}});
        (serde_json::from_value(pod).unwrap(), PodUse { memory: [("c".to_owned(), used)].into(), ..Default::default() })
    }

    #[test]
    fn the_first_to_go_is_above_its_request_then_of_low_priority_then_the_largest() {
        for (pods, want) in [
            (vec![pod("within", 0, "1Gi", 1 << 20), pod("above", 9, "1Ki", 1 << 20)], Some("above")),
            (vec![pod("high", 9, "0", 1 << 30), pod("low", 1, "0", 1 << 20)], Some("low")),
            (vec![pod("small", 0, "0", 1 << 20), pod("large", 0, "0", 1 << 21)], Some("large")),
            (vec![pod("critical", 2_000_001_000, "0", 1 << 30)], None),
        ] {
            let pods: Vec<_> = pods.iter().map(|(p, u)| (p, u.clone())).collect();
            let chosen = first(Shortage::Memory, &pods).and_then(|(p, _)| p.metadata.name.as_deref());
            assert_eq!(chosen, want);
        }
    }

    #[test]
    fn inodes_and_processes_are_freed_by_who_has_most_of_the_lowest_priority() {
        let with = |name: &str, priority: i32, inodes: u64, pids: u64| {
            let (pod, _) = pod(name, priority, "1Gi", 0);
            (pod, PodUse { inodes, pids, ..Default::default() })
        };
        let pods = [with("files", 0, 90_000, 3), with("forks", 0, 10, 900), with("important", 9, 99_999, 9999)];
        let pods: Vec<_> = pods.iter().map(|(p, u)| (p, u.clone())).collect();
        for (shortage, want) in [(Shortage::Inodes, "files"), (Shortage::Pids, "forks")] {
            let (pod, used) = first(shortage, &pods).unwrap();
            assert_eq!(pod.metadata.name.as_deref(), Some(want));
            let text = message(shortage, pod, used, "5%", 7);
            let resource = shortage.resource();
            assert_eq!(
                text,
                format!("The node was low on resource: {resource}. Threshold quantity: 5%, available: 7. ")
            );
        }
    }

    #[test]
    fn the_message_names_who_used_what() {
        let (pod, used) = pod("p", 0, "1Mi", 3 << 20);
        assert_eq!(
            message(Shortage::Memory, &pod, &used, "100Mi", 50 << 20),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. \
             Container c was using 3072Ki, request is 1Mi, has larger consumption of memory. "
        );
        let told = |shortage| {
            let told = annotations(shortage, &pod, &used);
            ["starved_resource", "offending_containers", "offending_containers_usage"].map(|key| told[key].clone())
        };
        assert_eq!(told(Shortage::Memory), ["memory", "c", "3072Ki"]);
        assert_eq!(told(Shortage::Inodes), ["inodes", "", ""]);
    }
}
