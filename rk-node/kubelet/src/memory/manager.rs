//! What was given to whom, and kept over restarts of the kubelet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::json;

use super::draft::MemoryDraft;
use super::table::{Amounts, Block, Entries, Table};
use crate::disk::{read_or_default, write_atomically};
use crate::numa::{NodeMask, Numa};

/// Upstream's name of the checkpoint.
const CHECKPOINT: &str = "memory_manager_state";

/// How memory is given to containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// From wherever it comes.
    #[default]
    None,
    /// From nodes that have it; so much of each is the node's own.
    Static(BTreeMap<usize, Amounts>),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Saved {
    #[serde(default)]
    entries: Entries,
}

/// The manager; clones share it. Without the static policy it answers nothing.
#[derive(Clone)]
pub struct Memory {
    path: PathBuf,
    table: Option<Arc<Mutex<Table>>>,
}

/// Why memory cannot be given as the settings say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReservedError {
    /// Some is reserved of a node that is not there.
    #[error("the reserved memory configuration references a NUMA node {0} that does not exist on this machine")]
    NoNode(usize),
    /// What is reserved by node is, in sum, not what the node keeps.
    #[error(
        "the total amount \"{told}\" of type \"{resource}\" is not equal to the value \"{kept}\" determined by Node Allocatable feature"
    )]
    Sum {
        /// Memory, or huge pages of a size.
        resource: String,
        /// Bytes reserved by node.
        told: u64,
        /// Bytes that the node keeps: `kubeReserved`, `systemReserved` and what must stay free (`evictionHard`).
        kept: u64,
    },
}

/// Whether what is reserved by node is, in sum, what the node keeps of each resource (upstream's `validateReservedMemory`).
fn adds_up(reserved: &BTreeMap<usize, Amounts>, numa: &Numa, kept: u64) -> Result<(), ReservedError> {
    if let Some(id) = reserved.keys().find(|id| !numa.all().has(**id)) {
        return Err(ReservedError::NoNode(*id));
    }
    let mut resources: BTreeSet<&str> = reserved.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
    resources.insert("memory");
    for resource in resources {
        let told: u64 = reserved.values().filter_map(|of| of.get(resource)).sum();
        // Huge pages cannot be reserved for the node as a whole.
        let kept = if resource == "memory" { kept } else { 0 };
        if told != kept {
            return Err(ReservedError::Sum { resource: resource.to_owned(), told, kept });
        }
    }
    Ok(())
}

/// Takes out what is of nodes that are not there any more: no container could be held to them.
fn of_present(mut entries: Entries, present: NodeMask) -> Entries {
    for (uid, pod) in &mut entries {
        pod.retain(|name, blocks| {
            let is_here = blocks.iter().all(|block| present.holds(block.nodes()));
            if !is_here {
                tracing::error!(
                    "[memorymanager] (pod: {uid}, container: {name}) the memory assignment uses the NUMA that does not exist: it is dropped"
                );
            }
            is_here
        });
    }
    entries
}

impl Memory {
    /// The manager over these nodes, with what was given before; `kept` bytes of memory are no pod's.
    pub fn open(kubelet: &Path, numa: &Numa, policy: &MemoryPolicy, kept: u64) -> Result<Self, ReservedError> {
        let path = kubelet.join(CHECKPOINT);
        let MemoryPolicy::Static(reserved) = policy else { return Ok(Self { path, table: None }) };
        adds_up(reserved, numa, kept)?;
        let Saved { entries } = read_or_default(&path, "memory is given anew");
        let entries = of_present(entries, numa.all());
        let table = Table { numa: numa.clone(), reserved: reserved.clone(), entries };
        Ok(Self { path, table: Some(Arc::new(Mutex::new(table))) })
    }

    fn table(&self) -> Option<MutexGuard<'_, Table>> {
        self.table.as_ref().map(|table| table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether memory is given to containers from nodes that have it.
    pub fn exclusive_policy(&self) -> bool {
        self.table.is_some()
    }

    /// What a pod is to get, to be thought over; `None` without the policy.
    pub fn draft(&self) -> Option<MemoryDraft> {
        self.table().map(|table| MemoryDraft::new(table.clone()))
    }

    /// Gives what was drafted, as nobody else drafts meanwhile.
    pub fn commit(&self, draft: MemoryDraft) {
        let Some(mut table) = self.table() else { return };
        let new = draft.into_table();
        if new != *table {
            *table = new;
            self.save(&table);
        }
    }

    /// What a container has.
    pub fn blocks(&self, uid: &str, container: &str) -> Vec<Block> {
        let of = |table: MutexGuard<'_, Table>| table.entries.get(uid)?.get(container).cloned();
        self.table().and_then(of).unwrap_or_default()
    }

    /// The memory nodes that a container is held to; `None` where it is to none.
    pub fn nodes(&self, uid: &str, container: &str) -> Option<NodeMask> {
        let blocks = self.blocks(uid, container);
        Some(NodeMask::of(blocks.iter().flat_map(|b| b.nodes().nodes()))).filter(|nodes| nodes.count() > 0)
    }

    /// What pods may have of each node, for monitors.
    pub fn allocatable(&self) -> Vec<Block> {
        let Some(table) = self.table() else { return Vec::new() };
        let of = |node: &crate::numa::MemoryNode| {
            let block = |name: &String| Block {
                numa_affinity: vec![node.id],
                resource: name.clone(),
                size: table.allocatable(node, name),
            };
            node.amounts.keys().map(block).filter(|b| b.size > 0).collect::<Vec<_>>()
        };
        table.numa.0.iter().flat_map(of).collect()
    }

    /// Takes the memory of all other pods back.
    pub fn keep(&self, pods: &BTreeSet<String>) {
        let Some(mut table) = self.table() else { return };
        let before = table.entries.len();
        table.entries.retain(|uid, _| pods.contains(uid));
        if table.entries.len() != before {
            self.save(&table);
        }
    }

    fn save(&self, table: &Table) {
        let saved = json!({"policyName": "Static", "machineState": table.machine_state(), "entries": table.entries});
        if let Err(error) = write_atomically(&self.path, saved.to_string().as_bytes(), 0o600) {
            tracing::warn!("{CHECKPOINT} cannot be written: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numa::{TopologyRules, place};
    use k8s_openapi::api::core::v1::Pod;

    #[test]
    fn memory_is_kept_over_restarts_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let numa = Numa::read(Path::new("/nonexistent"), 100, &[]);
        let policy = MemoryPolicy::Static([(0, Amounts::from([("memory".to_owned(), 10)]))].into());
        let open = |kept| Memory::open(dir.path(), &numa, &policy, kept).unwrap();
        let memory = open(10);
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "a"}, "spec": {"containers": [
            {"name": "c", "resources": {"limits": {"cpu": "1", "memory": "60"}}}]}}))
        .unwrap();
        let admit = |memory: &Memory, pod: &Pod| {
            let mut draft = memory.draft().unwrap();
            place(pod, &TopologyRules::default(), &numa, &mut [&mut draft]).map(|()| memory.commit(draft))
        };
        assert_eq!(admit(&memory, &pod), Ok(()));
        let again = open(10);
        assert_eq!((again.nodes("a", "c"), again.nodes("b", "c")), (Some(NodeMask(1)), None));
        assert_eq!(again.blocks("a", "c").first().map(|b| b.size), Some(60));
        assert_eq!(again.allocatable().first().map(|b| b.size), Some(90));
        let other = Pod { metadata: Default::default(), ..pod };
        assert!(admit(&again, &other).is_err(), "there are only 30 left");
        again.keep(&BTreeSet::new());
        assert_eq!(admit(&again, &other), Ok(()));
        let entries = json!({"a": {"c": [{"numaAffinity": [0, 1], "type": "memory", "size": 5}]},
            "b": {"c": [{"numaAffinity": [0], "type": "memory", "size": 6}]}});
        std::fs::write(dir.path().join(CHECKPOINT), json!({"entries": entries}).to_string()).unwrap();
        let fewer = open(10);
        assert_eq!((fewer.nodes("a", "c"), fewer.nodes("b", "c")), (None, Some(NodeMask(1))), "node 1 is gone");
        std::fs::write(dir.path().join(CHECKPOINT), "torn").unwrap();
        assert_eq!(open(10).nodes("a", "c"), None);
    }

    #[test]
    fn what_is_reserved_by_node_is_what_the_node_keeps() {
        let numa = Numa::read(Path::new("/nonexistent"), 100, &[]);
        let sum = |resource: &str, told: u64, kept: u64| {
            Err(ReservedError::Sum { resource: resource.to_owned(), told, kept })
        };
        for (node, resource, kept, want) in [
            (0, "memory", 10, Ok(())),
            (0, "memory", 11, sum("memory", 10, 11)),
            (0, "memory", 9, sum("memory", 10, 9)),
            (1, "memory", 10, Err(ReservedError::NoNode(1))),
            (0, "hugepages-2Mi", 0, sum("hugepages-2Mi", 10, 0)),
            (0, "hugepages-2Mi", 10, sum("hugepages-2Mi", 10, 0)),
        ] {
            let reserved = BTreeMap::from([(node, Amounts::from([(resource.to_owned(), 10)]))]);
            assert_eq!(adds_up(&reserved, &numa, kept), want, "{resource} of {node}, {kept}");
        }
        let both = BTreeMap::from([(0, Amounts::from([("memory".to_owned(), 10), ("hugepages-2Mi".to_owned(), 2)]))]);
        assert_eq!(adds_up(&both, &numa, 10), sum("hugepages-2Mi", 2, 0));
    }
}
