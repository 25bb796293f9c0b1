//! Choosing CPUs for a container: whole sockets, then whole cores, then threads, so that neighbours share as little as can be.

use std::collections::BTreeMap;

use super::set::CpuSet;
use super::topology::{Cpu, Topology};

/// A group of CPUs that belong together, by its key.
type Groups = BTreeMap<(usize, usize), Vec<usize>>;

fn groups(topology: &Topology, key: impl Fn(&Cpu) -> (usize, usize), wanted: impl Fn(&Cpu) -> bool) -> Groups {
    let mut groups = Groups::new();
    for cpu in topology.0.iter().filter(|cpu| wanted(cpu)) {
        groups.entry(key(cpu)).or_default().push(cpu.id);
    }
    groups
}

fn socket(cpu: &Cpu) -> (usize, usize) {
    (cpu.socket, 0)
}

fn core(cpu: &Cpu) -> (usize, usize) {
    (cpu.socket, cpu.core)
}

/// Takes `count` of the `free` CPUs; `None` when there are not so many.
pub fn take(topology: &Topology, free: &CpuSet, count: usize) -> Option<CpuSet> {
    if count > free.len() {
        return None;
    }
    let mut taken = CpuSet::default();
    for key in [socket, core] {
        let whole = groups(topology, key, |_| true);
        let left = groups(topology, key, |cpu| free.0.contains(&cpu.id) && !taken.0.contains(&cpu.id));
        for (name, cpus) in left {
            let complete = whole.get(&name).is_some_and(|all| all.len() == cpus.len());
            if complete && cpus.len() <= count - taken.len() {
                taken.0.extend(cpus);
            }
        }
    }
    // What is left fills cores that are begun already, in sockets that are: the fullest first.
    while taken.len() < count {
        let next = topology.0.iter().filter(|cpu| free.0.contains(&cpu.id) && !taken.0.contains(&cpu.id)).min_by_key(
            |cpu| {
                let free_beside = |key: fn(&Cpu) -> (usize, usize)| {
                    let beside = |other: &&Cpu| {
                        key(other) == key(cpu) && free.0.contains(&other.id) && !taken.0.contains(&other.id)
                    };
                    topology.0.iter().filter(beside).count()
                };
                (free_beside(core), free_beside(socket), cpu.id)
            },
        )?;
        taken.0.insert(next.id);
    }
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sockets of two cores of two threads, numbered as Linux does: threads of a core are four apart.
    fn two_sockets() -> Topology {
        Topology((0..8).map(|id| Cpu { id, core: id % 2, socket: (id % 4) / 2 }).collect())
    }

    #[test]
    fn whole_sockets_come_before_whole_cores_and_these_before_threads() {
        let topology = two_sockets();
        for (free, count, want) in [
            ("0-7", 4, Some("0-1,4-5")),
            ("1-7", 4, Some("2-3,6-7")),
            ("0-7", 2, Some("0,4")),
            ("1-7", 2, Some("1,5")),
            // The core that is begun is filled first.
            ("1-7", 1, Some("4")),
            ("0-7", 1, Some("0")),
            ("0-7", 5, Some("0-2,4-5")),
            ("0-7", 6, Some("0-2,4-6")),
            ("0,3", 2, Some("0,3")),
            ("0-7", 8, Some("0-7")),
            ("0-2", 4, None),
            ("0-2", 0, Some("")),
        ] {
            let taken = take(&topology, &CpuSet::parse(free).unwrap(), count);
            assert_eq!(taken.map(|set| set.to_string()).as_deref(), want, "{count} of {free}");
        }
    }
}
