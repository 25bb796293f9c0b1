//! Which CPUs there are, and which of them share a core, a cache, a memory node and a socket.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::set::CpuSet;
use crate::numa::NodeMask;

/// One CPU (hardware thread) and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: usize,
    /// Its core, unique within the socket.
    pub core: usize,
    /// Its socket.
    pub socket: usize,
    /// Its memory node.
    pub node: usize,
    /// Its last-level cache.
    pub cache: usize,
}

/// Where the kernel tells of CPUs.
pub const CPU_DIR: &str = "/sys/devices/system/cpu";

/// The machine's CPUs in order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology(pub Vec<Cpu>);

impl Topology {
    /// Reads [`CPU_DIR`]. A CPU whose place is not told has a core of its own.
    pub fn read(dir: &Path) -> Self {
        let online = fs::read_to_string(dir.join("online")).ok().and_then(|text| CpuSet::parse(&text));
        let number = |id: usize, file: &str| {
            let text = fs::read_to_string(dir.join(format!("cpu{id}/{file}"))).ok()?;
            text.trim().parse::<usize>().ok()
        };
        let socket = |id: usize| number(id, "topology/physical_package_id").unwrap_or(0);
        let cpu = |id: usize| Cpu {
            id,
            core: number(id, "topology/core_id").unwrap_or(id),
            socket: socket(id),
            node: node(&dir.join(format!("cpu{id}"))),
            cache: number(id, "cache/index3/id").unwrap_or_else(|| socket(id)),
        };
        Self(online.unwrap_or_default().0.into_iter().map(cpu).collect())
    }

    /// All of them.
    pub fn all(&self) -> CpuSet {
        self.0.iter().map(|cpu| cpu.id).collect()
    }

    /// The CPUs of these for which `holds` says so.
    pub fn among(&self, set: &CpuSet, holds: impl Fn(&Cpu) -> bool) -> CpuSet {
        self.0.iter().filter(|cpu| set.0.contains(&cpu.id) && holds(cpu)).map(|cpu| cpu.id).collect()
    }

    /// The memory nodes that have CPUs.
    pub fn nodes(&self) -> NodeMask {
        NodeMask::of(self.0.iter().map(|cpu| cpu.node))
    }

    /// The sockets that have CPUs of these nodes.
    pub fn sockets(&self, nodes: NodeMask) -> BTreeSet<usize> {
        self.0.iter().filter(|cpu| nodes.has(cpu.node)).map(|cpu| cpu.socket).collect()
    }

    /// How many sockets there are.
    pub fn packages(&self) -> usize {
        self.0.iter().map(|cpu| cpu.socket).collect::<BTreeSet<_>>().len()
    }

    /// How many cores there are in all sockets.
    pub fn cores(&self) -> usize {
        self.0.iter().map(|cpu| (cpu.socket, cpu.core)).collect::<BTreeSet<_>>().len()
    }

    /// Hardware threads of one core.
    pub fn threads_per_core(&self) -> usize {
        self.0.len().checked_div(self.cores()).unwrap_or(1).max(1)
    }
}

/// The memory node of a CPU: its directory holds a link named after it.
fn node(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok();
    entries.filter_map(number).next().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_a_cpu_without_one_has_its_own_core() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("online"), "0-2\n").unwrap();
        for (id, core) in [(0, "0"), (1, "0")] {
            let place = dir.path().join(format!("cpu{id}/topology"));
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("core_id"), core).unwrap();
            fs::write(place.join("physical_package_id"), "1").unwrap();
            fs::create_dir(dir.path().join(format!("cpu{id}/node3"))).unwrap();
        }
        let found = Topology::read(dir.path());
        let places: Vec<_> = found.0.iter().map(|c| (c.id, c.core, c.socket, c.node, c.cache)).collect();
        assert_eq!(places, [(0, 0, 1, 3, 1), (1, 0, 1, 3, 1), (2, 2, 0, 0, 0)]);
        assert_eq!((found.nodes(), found.threads_per_core()), (NodeMask::of([0, 3]), 1));
        assert_eq!((found.packages(), found.cores()), (2, 2));
        assert_eq!(found.all().to_string(), "0-2");
        assert_eq!(Topology::read(Path::new("/nonexistent")), Topology::default());
    }
}
