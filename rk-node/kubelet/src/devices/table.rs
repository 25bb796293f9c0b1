//! Who holds which device. Values only.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use crate::pod::spec;

/// The init containers of a pod that have ended before others begin.
pub fn passing(pod: &Pod) -> Vec<&str> {
    spec::init_containers(pod).iter().filter(|c| !spec::is_sidecar(c)).map(|c| c.name.as_str()).collect()
}

/// Why nothing of a resource can be given, in upstream's words.
pub fn none_healthy(resource: &str) -> String {
    format!("no healthy devices present; cannot allocate unhealthy devices {resource}")
}

/// Devices of one container, by resource.
pub type Held = BTreeMap<String, BTreeSet<String>>;

/// All allocations: pod UID, container, resource, IDs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Table(BTreeMap<String, BTreeMap<String, Held>>);

impl Table {
    /// What a container holds of a resource.
    pub fn of(&self, pod: &str, container: &str, resource: &str) -> Option<&BTreeSet<String>> {
        self.0.get(pod)?.get(container)?.get(resource)
    }

    /// What the containers of a pod hold.
    pub fn pod(&self, pod: &str) -> Option<&BTreeMap<String, Held>> {
        self.0.get(pod)
    }

    /// Notes devices of a container.
    pub fn hold(&mut self, pod: &str, container: &str, resource: &str, ids: BTreeSet<String>) {
        let containers = self.0.entry(pod.to_owned()).or_default();
        containers.entry(container.to_owned()).or_default().insert(resource.to_owned(), ids);
    }

    /// Forgets pods that are gone; whether there were any.
    pub fn keep(&mut self, pods: &BTreeSet<String>) -> bool {
        let before = self.0.len();
        self.0.retain(|pod, _| pods.contains(pod));
        self.0.len() != before
    }

    /// Devices of a resource that somebody holds.
    pub fn taken(&self, resource: &str) -> BTreeSet<&String> {
        self.0.values().flat_map(BTreeMap::values).filter_map(|held| held.get(resource)).flatten().collect()
    }

    /// Devices of a resource that pods other than this one hold.
    pub fn taken_besides(&self, pod: &str, resource: &str) -> BTreeSet<&String> {
        let others = self.0.iter().filter(|(uid, _)| *uid != pod).flat_map(|(_, containers)| containers.values());
        others.filter_map(|held| held.get(resource)).flatten().collect()
    }

    /// Devices of a resource that a container of the pod may have though they are held: those of containers that are `passing`, unless
    /// one has them that is not.
    pub fn reusable(&self, pod: &str, container: &str, resource: &str, passing: &[&str]) -> BTreeSet<String> {
        let of = |passes: bool| -> BTreeSet<String> {
            let containers = self.0.get(pod).into_iter().flatten().filter(|(name, _)| *name != container);
            let wanted = containers.filter(|(name, _)| passing.contains(&name.as_str()) == passes);
            wanted.filter_map(|(_, held)| held.get(resource)).flatten().cloned().collect()
        };
        &of(true) - &of(false)
    }

    /// Devices for a container that wants `wanted`: those that it may have `again` first, then free and healthy ones, of these those that
    /// the plugin prefers first.
    pub fn choose(
        &self,
        resource: &str,
        healthy: &BTreeSet<String>,
        wanted: usize,
        preferred: &[String],
        again: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, String> {
        if healthy.is_empty() {
            return Err(none_healthy(resource));
        }
        let taken = self.taken(resource);
        let free: BTreeSet<&String> = healthy.iter().filter(|id| again.contains(*id) || !taken.contains(id)).collect();
        if free.len() < wanted {
            return Err(format!(
                "requested number of devices unavailable for {resource}. Requested: {wanted}, Available: {}",
                free.len()
            ));
        }
        let first = again.iter().chain(preferred).filter(|id| free.contains(id));
        let mut chosen = BTreeSet::new();
        for id in first.chain(free.iter().copied()) {
            if chosen.len() == wanted {
                break;
            }
            chosen.insert(id.clone());
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_device_is_given_once_and_preferred_ones_first() {
        let mut table = Table::default();
        table.hold("p", "c", "r", set(&["a"]));
        let (healthy, none) = (set(&["a", "b", "c"]), BTreeSet::new());
        assert_eq!(table.choose("r", &healthy, 1, &[], &none), Ok(set(&["b"])));
        assert_eq!(table.choose("r", &healthy, 1, &["a".into(), "c".into()], &none), Ok(set(&["c"])));
        assert!(table.choose("r", &healthy, 3, &[], &none).unwrap_err().contains("Requested: 3, Available: 2"));
        assert_eq!(table.choose("other", &healthy, 3, &[], &none), Ok(healthy.clone()));
        assert!(!table.keep(&set(&["p"])) && table.keep(&set(&[])));
        assert_eq!(table.choose("r", &healthy, 3, &[], &none), Ok(healthy));
        let text = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), table);
    }

    #[test]
    fn what_init_containers_had_is_had_again_by_one_that_runs_after_them() {
        let pod = serde_json::json!({"spec": {"initContainers": [{"name": "i"}, {"name": "j"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "c"}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let (passing, healthy) = (passing(&pod), set(&["x", "y", "z"]));
        assert_eq!(passing, ["i", "j"]);
        let mut table = Table::default();
        table.hold("other", "i", "r", set(&["x"]));
        for (container, wanted, want) in
            [("i", 1, &["z"][..]), ("j", 2, &["y", "z"]), ("s", 1, &["y"]), ("c", 1, &["z"])]
        {
            let again = table.reusable("p", container, "r", &passing);
            let got = table.choose("r", &healthy, wanted, &["z".into()], &again);
            assert_eq!(got, Ok(set(want)), "{container}");
            table.hold("p", container, "r", set(want));
        }
        let again = table.reusable("p", "d", "r", &passing);
        assert_eq!(again, BTreeSet::new(), "both have somebody who stays");
        assert!(table.choose("r", &healthy, 1, &[], &again).is_err());
        assert_eq!(table.reusable("p", "c", "r", &passing), set(&["z"]), "its own are no obstacle to itself");
        assert_eq!(table.taken_besides("p", "r").into_iter().cloned().collect::<BTreeSet<_>>(), set(&["x"]));
    }
}
