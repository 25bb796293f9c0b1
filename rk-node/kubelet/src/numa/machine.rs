//! Which memory nodes the machine has, how much each holds and how far they are from each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::mask::NodeMask;
use crate::cpus::CpuSet;

/// The name of the resource that stands for huge pages of this size.
pub fn huge_page_resource(kib: u64) -> String {
    match kib >> 20 {
        0 => format!("hugepages-{}Mi", kib >> 10),
        gib => format!("hugepages-{gib}Gi"),
    }
}

/// One memory node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryNode {
    /// Its number.
    pub id: usize,
    /// Bytes by resource: `memory`, and `hugepages-…`, which are part of it.
    pub amounts: BTreeMap<String, u64>,
    /// How far the nodes are, in their order; 10 is here.
    pub distances: Vec<u64>,
}

/// The machine's memory nodes in order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numa(pub Vec<MemoryNode>);

/// `Node 0 MemTotal:  1014648 kB`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.contains(" MemTotal:"))?;
    line.split_whitespace().rev().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

fn huge_pages(dir: &Path) -> BTreeMap<String, u64> {
    let sizes = fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let number: u64 = fs::read_to_string(entry.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
        Some((huge_page_resource(kib), kib.checked_mul(1024)?.checked_mul(number)?))
    };
    sizes.filter_map(of).collect()
}

impl Numa {
    /// Reads `/sys/devices/system/node`; a kernel that has none there has one node, with `memory` bytes and these huge pages.
    pub fn read(dir: &Path, memory: u64, huge: &[(u64, u64)]) -> Self {
        let online = fs::read_to_string(dir.join("online")).ok().and_then(|text| CpuSet::parse(&text));
        let ids = online.map(|set| set.0).unwrap_or_default();
        let node = |id: usize| {
            let dir = dir.join(format!("node{id}"));
            let mut amounts = huge_pages(&dir.join("hugepages"));
            let bytes = fs::read_to_string(dir.join("meminfo")).ok().and_then(|text| total(&text));
            amounts.insert("memory".to_owned(), bytes.unwrap_or(0));
            let distances = fs::read_to_string(dir.join("distance")).unwrap_or_default();
            MemoryNode { id, amounts, distances: distances.split_whitespace().map_while(|d| d.parse().ok()).collect() }
        };
        let nodes: Vec<MemoryNode> = ids.into_iter().filter(|id| *id < 64).map(node).collect();
        if !nodes.is_empty() {
            return Self(nodes);
        }
        let mut amounts: BTreeMap<String, u64> = huge
            .iter()
            .map(|(kib, n)| (huge_page_resource(*kib), kib.saturating_mul(n.saturating_mul(1024))))
            .collect();
        amounts.insert("memory".to_owned(), memory);
        Self(vec![MemoryNode { id: 0, amounts, distances: vec![10] }])
    }

    /// All of them.
    pub fn all(&self) -> NodeMask {
        NodeMask::of(self.0.iter().map(|node| node.id))
    }

    /// How far the nodes of a set are from each other, all pairs added up: to be compared among sets of one size.
    pub fn spread(&self, mask: NodeMask) -> u64 {
        let chosen = || self.0.iter().enumerate().filter(|(_, node)| mask.has(node.id));
        chosen()
            .map(|(_, from)| chosen().map(|(to, _)| from.distances.get(to).copied().unwrap_or(0)).sum::<u64>())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_with_their_memory_and_distances() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            Numa::read(dir.path(), 7, &[(2048, 3)]).0,
            [MemoryNode {
                id: 0,
                amounts: [("memory".to_owned(), 7), ("hugepages-2Mi".to_owned(), 6 << 20)].into(),
                distances: vec![10]
            }]
        );
        fs::write(dir.path().join("online"), "0,2-3\n").unwrap();
        for (id, distances) in [(0, "10 21 31"), (2, "21 10 21"), (3, "31 21 10")] {
            let node = dir.path().join(format!("node{id}"));
            let pages = node.join("hugepages/hugepages-1048576kB");
            fs::create_dir_all(&pages).unwrap();
            fs::write(pages.join("nr_hugepages"), "2\n").unwrap();
            fs::write(node.join("distance"), distances).unwrap();
            fs::write(node.join("meminfo"), format!("Node {id} MemTotal:       2048 kB\nNode {id} MemFree: 1 kB\n"))
                .unwrap();
        }
        let numa = Numa::read(dir.path(), 7, &[]);
        assert_eq!((numa.all(), numa.0.len()), (NodeMask::of([0, 2, 3]), 3));
        assert_eq!(numa.0[1].amounts, [("memory".to_owned(), 2 << 20), ("hugepages-1Gi".to_owned(), 2 << 30)].into());
        assert_eq!([NodeMask::of([0, 2]), NodeMask::of([0, 3])].map(|mask| numa.spread(mask)), [62, 82]);
    }
}
