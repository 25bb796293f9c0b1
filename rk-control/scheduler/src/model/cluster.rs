//! Everything that decisions are made from.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};
use rk_client::{Labels, ObjectKey};

use super::node::NodeInfo;
use super::pod::PodInfo;
use super::storage::Storage;
use crate::devices::Devices;

/// The scheduler's memory of nodes, the pods on them, and what restricts placement. A plain value: events change it, decisions
/// read it, assumed pods are in it like bound ones.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<String, usize>,
    /// Which node each counted pod is on.
    placed: HashMap<ObjectKey, String>,
    namespaces: HashMap<String, Labels>,
    /// Claims, volumes and classes.
    pub(crate) storage: Storage,
    /// Pods that have made room on a node and wait for it.
    nominated: HashMap<ObjectKey, (String, Arc<PodInfo>)>,
    /// What there is of devices, and who has it.
    pub(crate) devices: Devices,
    /// Where the next search for feasible nodes starts, so that all nodes get their turn.
    pub(crate) cursor: usize,
}

impl Cluster {
    /// All nodes that the API knows.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.iter().filter(|node| node.known)
    }

    /// How many nodes the API knows.
    pub fn node_count(&self) -> usize {
        self.nodes().count()
    }

    /// The known nodes, starting at the cursor and wrapping around.
    pub(crate) fn nodes_from_cursor(&self) -> impl Iterator<Item = &NodeInfo> {
        let start = if self.nodes.is_empty() { 0 } else { self.cursor % self.nodes.len() };
        let (front, back) = self.nodes.split_at(start);
        back.iter().chain(front).filter(|node| node.known)
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.by_name.get(name).and_then(|index| self.nodes.get(*index))
    }

    fn node_mut(&mut self, name: &str) -> &mut NodeInfo {
        let index = *self.by_name.entry(name.to_owned()).or_insert_with(|| {
            self.nodes.push(NodeInfo::unknown(name));
            self.nodes.len() - 1
        });
        &mut self.nodes[index]
    }

    /// Takes over a node as the API has it.
    pub fn set_node(&mut self, node: &Node) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        self.node_mut(name).update(node);
    }

    /// Forgets a node; its pods are kept counted until they are gone too.
    pub fn remove_node(&mut self, name: &str) {
        self.node_mut(name).known = false;
        self.drop_if_unused(name);
    }

    fn drop_if_unused(&mut self, name: &str) {
        let Some(&index) = self.by_name.get(name) else { return };
        if self.nodes.get(index).is_none_or(|node| node.known || !node.pods.is_empty()) {
            return;
        }
        self.by_name.remove(name);
        self.nodes.swap_remove(index);
        if let Some(moved) = self.nodes.get(index) {
            self.by_name.insert(moved.name.clone(), index);
        }
    }

    /// Counts a pod on its node (bound or assumed); a pod that is counted elsewhere moves.
    pub fn place(&mut self, pod: Arc<PodInfo>, node: &str) {
        if self.placed.get(&pod.key).is_some_and(|old| old != node) {
            self.remove_pod(&pod.key);
        }
        self.nominated.remove(&pod.key);
        self.placed.insert(pod.key.clone(), node.to_owned());
        self.node_mut(node).add_pod(pod);
    }

    /// Counts a pod out. Answers whether it was counted, or promised room: others may have that now.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> bool {
        let was_promised = self.withdraw(key);
        self.storage.release(key);
        let Some(name) = self.placed.remove(key) else { return was_promised };
        self.node_mut(&name).remove_pod(key);
        self.drop_if_unused(&name);
        true
    }

    /// Counts out this very pod, and not a later one of its name; the room that it had made for itself stays promised to it. Answers
    /// whether it was counted.
    pub(crate) fn unassume(&mut self, pod: &PodInfo) -> bool {
        let node = self.placed.get(&pod.key).and_then(|name| self.node(name));
        let counted = node.and_then(|node| node.pods.get(&pod.key)).filter(|own| own.uid == pod.uid).cloned();
        let Some(own) = counted else { return false };
        self.remove_pod(&pod.key);
        if let Some(promised) = own.nominated.clone() {
            self.nominate(own, &promised);
        }
        true
    }

    /// Whether the pod is counted on a node.
    pub fn is_placed(&self, key: &ObjectKey) -> bool {
        self.placed.contains_key(key)
    }

    /// Remembers that `pod` has made room on `node`.
    pub fn nominate(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.nominated.insert(pod.key.clone(), (node.to_owned(), pod));
    }

    /// Forgets a nomination. Answers whether there was one.
    pub fn withdraw(&mut self, key: &ObjectKey) -> bool {
        self.nominated.remove(key).is_some()
    }

    /// Pods that wait for `node` and come before `pod`.
    pub(crate) fn ahead_of<'a>(&'a self, pod: &'a PodInfo, node: &'a str) -> impl Iterator<Item = &'a Arc<PodInfo>> {
        let ahead = move |(name, other): &&(String, Arc<PodInfo>)| {
            name == node && other.priority >= pod.priority && other.key != pod.key
        };
        self.nominated.values().filter(ahead).map(|(_, other)| other)
    }

    /// Pods that wait for `node` and come after `pod`, which is to get the room there.
    pub(crate) fn behind(&self, pod: &PodInfo, node: &str) -> Vec<Arc<PodInfo>> {
        let behind = |(name, other): &&(String, Arc<PodInfo>)| name == node && other.priority < pod.priority;
        self.nominated.values().filter(behind).map(|(_, other)| Arc::clone(other)).collect()
    }

    /// Takes over a namespace's labels.
    pub fn set_namespace(&mut self, namespace: &Namespace) {
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        self.namespaces.insert(namespace.metadata.name.clone().unwrap_or_default(), labels);
    }

    /// Forgets a namespace.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    pub(crate) fn namespace_labels(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    /// Takes over a claim.
    pub fn set_claim(&mut self, claim: &PersistentVolumeClaim) {
        self.storage.set_claim(claim);
    }

    /// Forgets a claim.
    pub fn remove_claim(&mut self, key: &ObjectKey) {
        self.storage.remove_claim(key);
    }

    /// Takes over a volume. One whose terms cannot be read is reached by no node.
    pub fn set_volume(&mut self, volume: &PersistentVolume) {
        self.storage.set_volume(volume);
    }

    /// Forgets a volume.
    pub fn remove_volume(&mut self, name: &str) {
        self.storage.remove_volume(name);
    }

    /// Takes over a storage class.
    pub fn set_class(&mut self, class: &StorageClass) {
        self.storage.set_class(class);
    }

    /// Forgets a storage class.
    pub fn remove_class(&mut self, name: &str) {
        self.storage.remove_class(name);
    }

    /// Takes over how many volumes the drivers of a node take.
    pub fn set_limits(&mut self, node: &CSINode) {
        self.storage.set_limits(node);
    }

    /// Forgets what the drivers of a node take.
    pub fn remove_limits(&mut self, node: &str) {
        self.storage.remove_limits(node);
    }

    /// Takes over that a volume is brought to a node.
    pub fn set_attachment(&mut self, attachment: &VolumeAttachment) {
        self.storage.attached.set(attachment);
    }

    /// A volume has left its node.
    pub fn remove_attachment(&mut self, name: &str) {
        self.storage.attached.remove(name);
    }

    /// Takes over whether a driver of volumes publishes its space.
    pub fn set_driver(&mut self, driver: &CSIDriver) {
        self.storage.capacities.set_driver(driver);
    }

    /// Forgets a driver of volumes.
    pub fn remove_driver(&mut self, name: &str) {
        self.storage.capacities.remove_driver(name);
    }

    /// Takes over space that a driver publishes.
    pub fn set_capacity(&mut self, capacity: &CSIStorageCapacity) {
        self.storage.capacities.set(capacity);
    }

    /// Forgets space that a driver published.
    pub fn remove_capacity(&mut self, key: &ObjectKey) {
        self.storage.capacities.remove(key);
    }

    /// Takes over a claim of devices.
    pub fn set_device_claim(&mut self, claim: &Arc<ResourceClaim>) {
        self.devices.set_claim(claim);
    }

    /// Takes over devices that a driver publishes.
    pub fn set_device_slice(&mut self, slice: &Arc<ResourceSlice>) {
        self.devices.set_slice(slice);
    }

    /// Takes over a class of devices.
    pub fn set_device_class(&mut self, class: &Arc<DeviceClass>) {
        self.devices.set_class(class);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str) -> Node {
        serde_json::from_value(
            json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4", "pods": "10"}}}),
        )
        .unwrap()
    }

    fn pod(name: &str) -> Arc<PodInfo> {
        let pod = serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n"},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}));
        Arc::new(PodInfo::new(&pod.unwrap()).unwrap())
    }

    #[test]
    fn pods_are_counted_once_wherever_they_move() {
        let mut cluster = Cluster::default();
        cluster.set_node(&node("a"));
        cluster.set_node(&node("b"));
        cluster.place(pod("p"), "a");
        cluster.place(pod("p"), "a");
        assert_eq!(cluster.node("a").unwrap().requested.milli_cpu, 1000);
        cluster.place(pod("p"), "b");
        assert_eq!(cluster.node("a").unwrap().requested.milli_cpu, 0);
        assert!(cluster.remove_pod(&pod("p").key));
        assert!(!cluster.remove_pod(&pod("p").key));
        assert_eq!(cluster.node("b").unwrap().requested.milli_cpu, 0);
    }

    #[test]
    fn a_pod_is_counted_out_and_not_its_successor() {
        let mut cluster = Cluster::default();
        let later = Arc::new(PodInfo { uid: "later".into(), ..(*pod("p")).clone() });
        cluster.place(Arc::clone(&later), "a");
        assert!(!cluster.unassume(&pod("p")));
        assert!(cluster.is_placed(&later.key) && cluster.unassume(&later));
        assert!(!cluster.is_placed(&later.key) && !cluster.unassume(&later));
    }

    #[test]
    fn who_was_not_bound_keeps_the_room_that_was_made_for_it() {
        let mut cluster = Cluster::default();
        let promised = Arc::new(PodInfo { nominated: Some("a".into()), ..(*pod("p")).clone() });
        cluster.nominate(Arc::clone(&promised), "a");
        cluster.place(Arc::clone(&promised), "a");
        assert_eq!(cluster.ahead_of(&pod("other"), "a").count(), 0, "it is there");
        assert!(cluster.unassume(&promised));
        assert_eq!(cluster.ahead_of(&pod("other"), "a").count(), 1);
        cluster.place(Arc::clone(&promised), "b");
        cluster.remove_pod(&promised.key);
        assert!(!cluster.unassume(&promised));
        assert_eq!(cluster.ahead_of(&pod("other"), "a").count(), 0, "it is gone");
    }

    #[test]
    fn pods_may_come_before_their_node_and_stay_after_it() {
        let mut cluster = Cluster::default();
        cluster.place(pod("p"), "late");
        assert_eq!(cluster.node_count(), 0);
        cluster.set_node(&node("late"));
        assert_eq!(cluster.node("late").unwrap().requested.milli_cpu, 1000);
        cluster.remove_node("late");
        assert_eq!(cluster.node_count(), 0);
        cluster.remove_pod(&pod("p").key);
        assert!(cluster.node("late").is_none());
    }
}
