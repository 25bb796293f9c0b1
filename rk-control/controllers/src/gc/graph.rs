//! Owners and dependents, as far as the watches have told.

use super::{FOREGROUND, ORPHAN};
use crate::discovery::has_finalizer;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Group-version and kind, shared by all objects of a resource.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) api_version: String,
    pub(super) kind: String,
}

impl Kind {
    /// Whether both are of one resource, be it in two versions.
    fn is_served_as(&self, other: &Kind) -> bool {
        let group = |kind: &Kind| kind.api_version.split_once('/').map(|(group, _)| group.to_owned());
        self.kind == other.kind && group(self) == group(other)
    }
}

/// One object of the cluster.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Arc<Kind>,
    /// Empty for cluster-scoped objects.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) dependents: HashSet<String>,
    /// Only referred to by dependents so far; whether it exists is open.
    pub(super) is_virtual: bool,
    pub(super) is_deleted: bool,
    /// Waits for its dependents to go (foreground deletion).
    pub(super) waits_for_dependents: bool,
    /// Is to leave its dependents behind. A second deletion may ask for that, long after the first.
    leaves_dependents: bool,
}

/// Uids that a change puts on the queues.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Work {
    pub(super) deletions: Vec<String>,
    pub(super) orphans: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Uids of the observed objects of a resource, in whatever version they were observed.
    pub(super) fn uids_of(&self, kind: &Kind) -> Vec<String> {
        let is_of = |node: &Node| !node.is_virtual && node.kind.is_served_as(kind);
        self.nodes.iter().filter(|(_, node)| is_of(node)).map(|(uid, _)| uid.clone()).collect()
    }

    /// An object appeared or changed.
    pub(super) fn observe(&mut self, kind: &Arc<Kind>, meta: &ObjectMeta) -> Work {
        let mut work = Work::default();
        let Some(uid) = meta.uid.clone() else { return work };
        if self.knows(&uid, kind, meta) {
            return work;
        }
        let owners = meta.owner_references.clone().unwrap_or_default();
        let is_deleted = meta.deletion_timestamp.is_some();
        let waits = is_deleted && has_finalizer(meta, FOREGROUND);
        let leaves = is_deleted && has_finalizer(meta, ORPHAN);
        let before = self.nodes.get(&uid).cloned();
        let known = before.as_ref().is_some_and(|n| !n.is_virtual);
        let old_owners = before.as_ref().map(|n| n.owners.clone()).unwrap_or_default();
        let node = Node {
            kind: Arc::clone(kind),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            owners: owners.clone(),
            dependents: before.as_ref().map(|n| n.dependents.clone()).unwrap_or_default(),
            is_virtual: false,
            is_deleted,
            waits_for_dependents: waits,
            leaves_dependents: leaves,
        };
        // A dependent may have named this uid with other coordinates; those must be checked again.
        if let Some(guess) = before.as_ref().filter(|n| n.is_virtual)
            && (guess.name != node.name || *guess.kind != *node.kind)
        {
            work.deletions.extend(node.dependents.iter().cloned());
        }
        let started_waiting = waits && !before.as_ref().is_some_and(|n| n.waits_for_dependents);
        if started_waiting {
            work.deletions.extend(node.dependents.iter().cloned());
            work.deletions.push(uid.clone());
        }
        if leaves && !before.as_ref().is_some_and(|n| n.leaves_dependents) {
            work.orphans.push(uid.clone());
        }
        let namespace = node.namespace.clone();
        self.nodes.insert(uid.clone(), node);
        self.link(&uid, &namespace, &old_owners, &owners, &mut work);
        if !known && !owners.is_empty() {
            work.deletions.push(uid);
        }
        work
    }

    /// Whether a change is none to the graph, as nearly all are: nothing of it is kept here and not known already.
    fn knows(&self, uid: &str, kind: &Kind, meta: &ObjectMeta) -> bool {
        let Some(node) = self.nodes.get(uid) else { return false };
        let is_deleted = meta.deletion_timestamp.is_some();
        let linked = |owner: &OwnerReference| {
            let node = self.nodes.get(&owner.uid);
            node.is_some_and(|node| !node.waits_for_dependents && node.dependents.contains(uid))
        };
        !node.is_virtual
            && *node.kind == *kind
            && node.name == meta.name.as_deref().unwrap_or_default()
            && node.namespace == meta.namespace.as_deref().unwrap_or_default()
            && node.owners == meta.owner_references.as_deref().unwrap_or_default()
            && node.is_deleted == is_deleted
            && node.waits_for_dependents == (is_deleted && has_finalizer(meta, FOREGROUND))
            && node.leaves_dependents == (is_deleted && has_finalizer(meta, ORPHAN))
            && node.owners.iter().all(linked)
    }

    fn link(&mut self, uid: &str, namespace: &str, old: &[OwnerReference], new: &[OwnerReference], work: &mut Work) {
        for gone in old.iter().filter(|o| !new.iter().any(|n| n.uid == o.uid)) {
            if let Some(owner) = self.nodes.get_mut(&gone.uid) {
                owner.dependents.remove(uid);
                if owner.waits_for_dependents {
                    work.deletions.push(gone.uid.clone());
                }
            }
        }
        for owner in new {
            let unblocked = owner.block_owner_deletion != Some(true)
                && old.iter().any(|o| o.uid == owner.uid && o.block_owner_deletion == Some(true));
            let node = self.nodes.entry(owner.uid.clone()).or_insert_with(|| {
                // Whether such an owner exists is found out by looking at it.
                work.deletions.push(owner.uid.clone());
                Node {
                    kind: Arc::new(Kind { api_version: owner.api_version.clone(), kind: owner.kind.clone() }),
                    namespace: namespace.to_owned(),
                    name: owner.name.clone(),
                    owners: Vec::new(),
                    dependents: HashSet::new(),
                    is_virtual: true,
                    is_deleted: false,
                    waits_for_dependents: false,
                    leaves_dependents: false,
                }
            });
            node.dependents.insert(uid.to_owned());
            if node.waits_for_dependents {
                work.deletions.push(uid.to_owned());
                if unblocked {
                    work.deletions.push(owner.uid.clone());
                }
            }
        }
        if old.len() != new.len() || old.iter().zip(new).any(|(a, b)| a.uid != b.uid) {
            work.deletions.push(uid.to_owned());
        }
    }

    /// An object is gone, or a referred owner turned out not to exist.
    pub(super) fn forget(&mut self, uid: &str) -> Work {
        let mut work = Work::default();
        let Some(node) = self.nodes.remove(uid) else { return work };
        for owner in &node.owners {
            if let Some(owner_node) = self.nodes.get_mut(&owner.uid) {
                owner_node.dependents.remove(uid);
                if owner_node.waits_for_dependents {
                    work.deletions.push(owner.uid.clone());
                }
                if owner_node.is_virtual && owner_node.dependents.is_empty() {
                    self.nodes.remove(&owner.uid);
                }
            }
        }
        work.deletions.extend(node.dependents);
        work
    }

    /// Dependents that keep a foreground deletion of `uid` from ending.
    pub(super) fn blocking_dependents(&self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let blocks =
            |dependent: &Node| dependent.owners.iter().any(|o| o.uid == uid && o.block_owner_deletion == Some(true));
        node.dependents.iter().filter(|d| self.nodes.get(*d).is_some_and(blocks)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind() -> Arc<Kind> {
        Arc::new(Kind { api_version: "v1".to_owned(), kind: "Thing".to_owned() })
    }

    fn meta(uid: &str, owners: &[(&str, bool)], deleting_with: Option<&str>) -> ObjectMeta {
        let owners: Vec<_> = owners.iter().map(|(o, block)| json!({"apiVersion": "v1", "kind": "Thing", "name": o, "uid": o, "blockOwnerDeletion": block})).collect();
        serde_json::from_value(json!({"name": uid, "uid": uid, "namespace": "n", "ownerReferences": owners,
            "deletionTimestamp": deleting_with.map(|_| "2026-01-01T00:00:00Z"), "finalizers": deleting_with.map(|f| vec![f])}))
        .expect("valid")
    }

    #[test]
    fn an_unknown_owner_is_checked_and_its_absence_reaches_dependents() {
        let mut graph = Graph::default();
        let work = graph.observe(&kind(), &meta("pod", &[("set", true)], None));
        assert!(work.deletions.contains(&"set".to_owned()) && work.deletions.contains(&"pod".to_owned()));
        assert_eq!(graph.forget("set").deletions, ["pod"]);
    }

    #[test]
    fn objects_of_a_resource_are_known_in_whatever_version_they_were_seen() {
        let of = |api_version: &str, kind: &str| {
            Arc::new(Kind { api_version: api_version.to_owned(), kind: kind.to_owned() })
        };
        let mut graph = Graph::default();
        graph.observe(&of("example.com/v1alpha1", "Thing"), &meta("before", &[], None));
        graph.observe(&of("example.com/v1", "Other"), &meta("other", &[], None));
        graph.observe(&of("v1", "Thing"), &meta("core", &[], None));
        assert_eq!(graph.uids_of(&of("example.com/v1", "Thing")), ["before"]);
        assert_eq!(graph.uids_of(&of("v1", "Thing")), ["core"]);
    }

    #[test]
    fn a_foreground_deletion_waits_for_blocking_dependents_only() {
        let mut graph = Graph::default();
        graph.observe(&kind(), &meta("set", &[], None));
        graph.observe(&kind(), &meta("a", &[("set", true)], None));
        graph.observe(&kind(), &meta("b", &[("set", false)], None));
        let work = graph.observe(&kind(), &meta("set", &[], Some(FOREGROUND)));
        assert_eq!(work.deletions.len(), 3, "both dependents and the owner itself");
        assert_eq!(graph.blocking_dependents("set"), ["a"]);
        assert_eq!(graph.forget("a").deletions, ["set"]);
        assert!(graph.blocking_dependents("set").is_empty());
    }

    #[test]
    fn what_is_known_already_is_no_work_unless_an_owner_was_forgotten() {
        let mut graph = Graph::default();
        graph.observe(&kind(), &meta("set", &[], None));
        let pod = meta("pod", &[("set", true)], None);
        assert!(graph.observe(&kind(), &pod).deletions.contains(&"pod".to_owned()));
        assert_eq!(graph.observe(&kind(), &pod), Work::default());
        graph.forget("set");
        assert_eq!(graph.observe(&kind(), &pod).deletions, ["set"]);
        assert!(graph.get("set").is_some_and(|node| node.is_virtual && node.dependents.contains("pod")));
    }

    #[test]
    fn an_orphaning_owner_is_queued_once() {
        let mut graph = Graph::default();
        graph.observe(&kind(), &meta("set", &[], None));
        assert_eq!(graph.observe(&kind(), &meta("set", &[], Some(ORPHAN))).orphans, ["set"]);
        assert!(graph.observe(&kind(), &meta("set", &[], Some(ORPHAN))).orphans.is_empty());
    }

    #[test]
    fn an_owner_that_is_on_its_way_out_may_yet_be_told_to_leave_its_dependents() {
        for before in [FOREGROUND, "example.com/hold"] {
            let mut graph = Graph::default();
            graph.observe(&kind(), &meta("set", &[], Some(before)));
            assert_eq!(graph.observe(&kind(), &meta("set", &[], Some(ORPHAN))).orphans, ["set"], "{before}");
            assert!(graph.get("set").is_some_and(|node| !node.waits_for_dependents));
        }
    }
}
