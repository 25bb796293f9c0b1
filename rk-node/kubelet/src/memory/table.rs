//! Who has how much of which memory nodes. Values only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::numa::{MemoryNode, NodeMask, Numa};

/// Amounts in bytes by resource: `memory`, `hugepages-…`.
pub type Amounts = BTreeMap<String, u64>;

/// What was given, by UID of the pod and name of the container.
pub type Entries = BTreeMap<String, BTreeMap<String, Vec<Block>>>;

/// An amount from a group of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// The nodes.
    pub numa_affinity: Vec<usize>,
    /// The resource.
    #[serde(rename = "type")]
    pub resource: String,
    /// Bytes.
    pub size: u64,
}

impl Block {
    /// The nodes as a set.
    pub fn nodes(&self) -> NodeMask {
        NodeMask::of(self.numa_affinity.iter().copied())
    }
}

/// What there is, and who has what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The machine's nodes.
    pub numa: Numa,
    /// What is kept of each.
    pub reserved: BTreeMap<usize, Amounts>,
    /// What was given.
    pub entries: Entries,
}

impl Table {
    /// What pods may have of a node. Huge pages are no plain memory.
    pub fn allocatable(&self, node: &MemoryNode, resource: &str) -> u64 {
        let all = node.amounts.get(resource).copied().unwrap_or(0);
        let kept = self.reserved.get(&node.id).and_then(|of| of.get(resource)).copied().unwrap_or(0);
        let huge: u64 = node.amounts.iter().filter(|(name, _)| *name != "memory").map(|(_, bytes)| bytes).sum();
        all.saturating_sub(kept).saturating_sub(if resource == "memory" { huge } else { 0 })
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.entries.values().flat_map(BTreeMap::values).flatten()
    }

    /// What pods may have of these nodes together.
    pub fn sum(&self, mask: NodeMask, resource: &str) -> u64 {
        self.numa.0.iter().filter(|node| mask.has(node.id)).map(|node| self.allocatable(node, resource)).sum()
    }

    /// What is left of these nodes together, as a group.
    pub fn free(&self, mask: NodeMask, resource: &str) -> u64 {
        let given: u64 = self.blocks().filter(|b| b.nodes() == mask && b.resource == resource).map(|b| b.size).sum();
        self.sum(mask, resource).saturating_sub(given)
    }

    /// Whether any of these nodes serves another group already.
    pub fn clashes(&self, mask: NodeMask) -> bool {
        self.blocks().any(|block| block.nodes() != mask && block.nodes().and(mask).count() > 0)
    }

    /// The nodes as the checkpoint tells them. A group's amounts are told as if its nodes were filled in order.
    pub fn machine_state(&self) -> Value {
        let mut left: Vec<(NodeMask, String, u64)> = Vec::new();
        for block in self.blocks() {
            match left.iter_mut().find(|(mask, name, _)| *mask == block.nodes() && *name == block.resource) {
                Some((_, _, size)) => *size += block.size,
                None => left.push((block.nodes(), block.resource.clone(), block.size)),
            }
        }
        let mut state = serde_json::Map::new();
        for node in &self.numa.0 {
            let mut map = serde_json::Map::new();
            for (resource, total) in &node.amounts {
                let allocatable = self.allocatable(node, resource);
                let group = left.iter_mut().find(|(mask, name, _)| mask.has(node.id) && name == resource);
                let given = group.map_or(0, |(_, _, size)| {
                    let given = allocatable.min(*size);
                    *size -= given;
                    given
                });
                let kept = self.reserved.get(&node.id).and_then(|of| of.get(resource)).copied().unwrap_or(0);
                let amounts = json!({"total": total, "systemReserved": kept, "allocatable": allocatable,
                    "reserved": given, "free": allocatable - given});
                map.insert(resource.clone(), amounts);
            }
            let cells = self.blocks().map(Block::nodes).find(|nodes| nodes.has(node.id));
            let cells: Vec<usize> = cells.unwrap_or(NodeMask::of([node.id])).nodes().collect();
            let assignments = self.blocks().filter(|block| block.nodes().has(node.id)).count();
            let told = json!({"numberOfAssignments": assignments, "memoryMap": map, "cells": cells});
            state.insert(node.id.to_string(), told);
        }
        Value::Object(state)
    }
}
