//! Everything that decisions are made from.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use k8s_openapi::api::storage::v1::StorageClass;
use rk_client::{Labels, ObjectKey};

use super::affinity::NodeTerms;
use super::node::NodeInfo;
use super::pod::PodInfo;
use super::volume::{Claim, VolumeProblem, reach};
use crate::devices::Devices;

/// The scheduler's memory of nodes, the pods on them, and what restricts placement. A plain value: events change it, decisions
/// read it, assumed pods are in it like bound ones.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<String, usize>,
    /// Which node each counted pod is on.
    placed: HashMap<ObjectKey, String>,
    namespaces: HashMap<String, Labels>,
    claims: HashMap<ObjectKey, Claim>,
    volumes: HashMap<String, Option<NodeTerms>>,
    /// Storage classes whose claims wait for a consumer.
    late_classes: HashSet<String>,
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

    /// Counts a pod out. Answers whether it was counted.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> bool {
        self.nominated.remove(key);
        let Some(name) = self.placed.remove(key) else { return false };
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

    /// Forgets a nomination.
    pub fn withdraw(&mut self, key: &ObjectKey) {
        self.nominated.remove(key);
    }

    /// Pods that wait for `node` and come before `pod`.
    pub(crate) fn ahead_of<'a>(&'a self, pod: &'a PodInfo, node: &'a str) -> impl Iterator<Item = &'a Arc<PodInfo>> {
        let ahead = move |(name, other): &&(String, Arc<PodInfo>)| {
            name == node && other.priority >= pod.priority && other.key != pod.key
        };
        self.nominated.values().filter(ahead).map(|(_, other)| other)
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
        self.claims.insert(ObjectKey::of(claim), Claim::new(claim));
    }

    /// Forgets a claim.
    pub fn remove_claim(&mut self, key: &ObjectKey) {
        self.claims.remove(key);
    }

    /// Takes over a volume's reach. A volume whose terms cannot be read is reached by no node.
    pub fn set_volume(&mut self, volume: &PersistentVolume) {
        let name = volume.metadata.name.clone().unwrap_or_default();
        let reach = reach(volume).unwrap_or_else(|_| NodeTerms::new(&[]).ok());
        self.volumes.insert(name, reach);
    }

    /// Forgets a volume.
    pub fn remove_volume(&mut self, name: &str) {
        self.volumes.remove(name);
    }

    /// Takes over whether a storage class binds late.
    pub fn set_class(&mut self, class: &StorageClass) {
        let name = class.metadata.name.clone().unwrap_or_default();
        if class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") {
            self.late_classes.insert(name);
        } else {
            self.late_classes.remove(&name);
        }
    }

    /// Forgets a storage class.
    pub fn remove_class(&mut self, name: &str) {
        self.late_classes.remove(name);
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

    /// What keeps the pod's volumes from being anywhere.
    pub(crate) fn volume_problem(&self, pod: &PodInfo) -> Option<VolumeProblem> {
        pod.claims.iter().find_map(|name| {
            let Some(claim) = self.claims.get(&ObjectKey::new(&pod.key.namespace, name)) else {
                return Some(VolumeProblem::Missing(name.clone()));
            };
            if claim.deleting {
                return Some(VolumeProblem::Deleting(name.clone()));
            }
            (claim.volume.is_none() && !self.binds_late(claim)).then_some(VolumeProblem::Unbound)
        })
    }

    fn binds_late(&self, claim: &Claim) -> bool {
        claim.class.as_ref().is_some_and(|class| self.late_classes.contains(class))
    }

    /// Whether the node reaches all volumes that the pod's claims are bound to, or have been promised to.
    pub(crate) fn reaches_volumes(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        pod.claims.iter().filter_map(|name| self.claims.get(&ObjectKey::new(&pod.key.namespace, name))).all(|claim| {
            match (&claim.volume, &claim.selected_node) {
                (Some(volume), _) => match self.volumes.get(volume) {
                    Some(Some(terms)) => terms.matches(&node.name, &node.labels),
                    Some(None) => true,
                    None => false,
                },
                (None, Some(selected)) => *selected == node.name,
                (None, None) => true,
            }
        })
    }

    /// The pod's claims that wait for a node to be chosen.
    pub(crate) fn waiting_claims(&self, pod: &PodInfo) -> Vec<ObjectKey> {
        let keys = pod.claims.iter().map(|name| ObjectKey::new(&pod.key.namespace, name));
        keys.filter(|key| self.claims.get(key).is_some_and(|c| c.volume.is_none() && c.selected_node.is_none()))
            .collect()
    }

    /// Whether all of the pod's claims are bound.
    pub(crate) fn claims_bound(&self, pod: &PodInfo) -> bool {
        let mut keys = pod.claims.iter().map(|name| ObjectKey::new(&pod.key.namespace, name));
        keys.all(|key| self.claims.get(&key).is_some_and(|claim| claim.volume.is_some()))
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
