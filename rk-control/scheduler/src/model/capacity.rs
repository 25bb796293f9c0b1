//! The space that drivers publish for volumes which are still to be made.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity};
use rk_client::{LabelMatcher, ObjectKey, parse_value};

use super::node::NodeInfo;

/// Space of one class, for the nodes of one topology.
#[derive(Debug, Clone)]
struct Space {
    class: String,
    /// The nodes that reach it; `None` when none does.
    nodes: Option<LabelMatcher>,
    /// The largest volume that can be made, in bytes; `None` when nobody knows of any.
    largest: Option<i64>,
}

/// What all drivers publish.
#[derive(Debug, Clone, Default)]
pub(crate) struct Capacities {
    /// Drivers whose space counts.
    publishers: HashSet<String>,
    spaces: HashMap<ObjectKey, Space>,
}

impl Capacities {
    pub(super) fn set_driver(&mut self, driver: &CSIDriver) {
        let name = driver.metadata.name.clone().unwrap_or_default();
        if driver.spec.storage_capacity == Some(true) {
            self.publishers.insert(name);
        } else {
            self.publishers.remove(&name);
        }
    }

    pub(super) fn remove_driver(&mut self, name: &str) {
        self.publishers.remove(name);
    }

    pub(super) fn set(&mut self, space: &CSIStorageCapacity) {
        let topology = space.node_topology.as_ref();
        let known = Space {
            class: space.storage_class_name.clone(),
            nodes: topology.and_then(|selector| LabelMatcher::new(Some(selector)).ok()),
            largest: space.maximum_volume_size.as_ref().or(space.capacity.as_ref()).map(parse_value),
        };
        self.spaces.insert(ObjectKey::of(space), known);
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) {
        self.spaces.remove(key);
    }

    /// Whether a volume of so many bytes can be made for a pod on the node, as far as its driver says.
    pub(super) fn suffice(&self, driver: &str, class: &str, size: i64, node: &NodeInfo) -> bool {
        let serves = |space: &Space| {
            space.class == class
                && space.nodes.as_ref().is_some_and(|nodes| nodes.matches(Some(&node.labels)))
                && space.largest.is_some_and(|largest| largest >= size)
        };
        !self.publishers.contains(driver) || self.spaces.values().any(serves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn space_counts_once_a_driver_says_that_it_publishes_it() {
        let mut known = Capacities::default();
        let node = |zone: &str| {
            let labels = [("zone".to_owned(), zone.to_owned())].into();
            NodeInfo { name: zone.to_owned(), labels, ..NodeInfo::default() }
        };
        let driver = |publishes: bool| -> CSIDriver {
            serde_json::from_value(json!({"metadata": {"name": "d"}, "spec": {"storageCapacity": publishes}}))
                .expect("a driver")
        };
        let add = |known: &mut Capacities, name: &str, more: Value| {
            let mut space = json!({"metadata": {"name": name, "namespace": "n"}, "storageClassName": "fast"});
            more.as_object().into_iter().flatten().for_each(|(key, value)| space[key] = value.clone());
            known.set(&serde_json::from_value(space).expect("a capacity"));
        };
        let suffice = |known: &Capacities, gib: i64, zone: &str| known.suffice("d", "fast", gib << 30, &node(zone));
        assert!(suffice(&known, 9, "a"), "it says nothing");
        known.set_driver(&driver(true));
        assert!(!suffice(&known, 1, "a"), "nothing is there");
        let zone = json!({"matchLabels": {"zone": "a"}});
        add(&mut known, "whole", json!({"nodeTopology": zone, "capacity": "8Gi", "maximumVolumeSize": "4Gi"}));
        add(&mut known, "nowhere", json!({"capacity": "100Gi"}));
        add(&mut known, "unknown", json!({"nodeTopology": zone}));
        add(&mut known, "other", json!({"nodeTopology": zone, "capacity": "9Gi", "storageClassName": "slow"}));
        assert_eq!([(4, "a"), (5, "a"), (1, "b")].map(|(gib, zone)| suffice(&known, gib, zone)), [true, false, false]);
        known.remove(&ObjectKey::new("n", "whole"));
        assert!(!suffice(&known, 1, "a"));
        known.set_driver(&driver(false));
        assert!(suffice(&known, 9, "b"));
        known.set_driver(&driver(true));
        known.remove_driver("d");
        assert!(suffice(&known, 9, "b"));
    }
}
