//! Who holds which device. Values only.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

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

    /// Devices for a container that wants `wanted`: free, healthy, those that the plugin prefers first.
    pub fn choose(
        &self,
        resource: &str,
        healthy: &BTreeSet<String>,
        wanted: usize,
        preferred: &[String],
    ) -> Result<BTreeSet<String>, String> {
        let taken = self.taken(resource);
        let free: BTreeSet<&String> = healthy.iter().filter(|id| !taken.contains(id)).collect();
        if free.len() < wanted {
            return Err(format!(
                "requested number of devices unavailable for {resource}. Requested: {wanted}, Available: {}",
                free.len()
            ));
        }
        let first = preferred.iter().filter(|id| free.contains(id));
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
        let healthy = set(&["a", "b", "c"]);
        assert_eq!(table.choose("r", &healthy, 1, &[]), Ok(set(&["b"])));
        assert_eq!(table.choose("r", &healthy, 1, &["a".into(), "c".into()]), Ok(set(&["c"])));
        assert!(table.choose("r", &healthy, 3, &[]).unwrap_err().contains("Requested: 3, Available: 2"));
        assert_eq!(table.choose("other", &healthy, 3, &[]), Ok(healthy.clone()));
        assert!(!table.keep(&set(&["p"])) && table.keep(&set(&[])));
        assert_eq!(table.choose("r", &healthy, 3, &[]), Ok(healthy));
        let text = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), table);
    }
}
