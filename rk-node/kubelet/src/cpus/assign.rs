//! Choosing CPUs for a container: whole memory nodes and sockets, then whole cores, then threads, so that neighbours share as little as can be.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::set::CpuSet;
use super::topology::{Cpu, Topology};
use crate::numa::NodeMask;

/// Which CPUs come first where a whole memory node or socket is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Whole cores, then cores that are begun.
    Packed,
    /// Those of one last-level cache.
    ByCache,
    /// Threads of different cores.
    Spread,
}

/// A group of CPUs that belong together, by its key.
type Groups = BTreeMap<(usize, usize), CpuSet>;
/// What tells which group a CPU belongs to.
type Key = fn(&Cpu) -> (usize, usize);

fn groups(topology: &Topology, free: &CpuSet, key: Key) -> Groups {
    let mut groups = Groups::new();
    for cpu in topology.0.iter().filter(|cpu| free.0.contains(&cpu.id)) {
        groups.entry(key(cpu)).or_default().0.insert(cpu.id);
    }
    groups
}

fn node(cpu: &Cpu) -> (usize, usize) {
    (cpu.node, 0)
}

fn socket(cpu: &Cpu) -> (usize, usize) {
    (cpu.socket, 0)
}

fn cache(cpu: &Cpu) -> (usize, usize) {
    (cpu.node, cpu.cache)
}

fn core(cpu: &Cpu) -> (usize, usize) {
    (cpu.socket, cpu.core)
}

/// The larger of the two first: a socket may hold several memory nodes, and a memory node several sockets.
fn levels(topology: &Topology) -> [Key; 2] {
    let sockets_in_nodes = topology.sockets(topology.nodes()).len() >= topology.nodes().count() as usize;
    if sockets_in_nodes { [node, socket] } else { [socket, node] }
}

/// The free CPUs in the order in which they are used up: those of memory nodes and sockets that are begun come first, the larger of the two
/// before the smaller, and in them those of the smallest of the `inner` groups.
fn in_turn<'a>(topology: &'a Topology, free: &CpuSet, inner: Key) -> Vec<&'a Cpu> {
    let [outer, middle] = levels(topology);
    let sized = [outer, middle, inner].map(|key| (key, groups(topology, free, key)));
    let mut cpus: Vec<&Cpu> = topology.0.iter().filter(|cpu| free.0.contains(&cpu.id)).collect();
    cpus.sort_by_cached_key(|cpu| {
        sized.each_ref().map(|(key, groups)| (groups.get(&key(cpu)).map_or(0, CpuSet::len), key(cpu)))
    });
    cpus
}

/// Adds the groups that are wholly free, as long as they fit.
fn take_whole(topology: &Topology, free: &CpuSet, count: usize, key: Key, taken: &mut CpuSet) {
    let whole = groups(topology, &topology.all(), key);
    let left = free.without(taken);
    let of = groups(topology, &left, key);
    let mut names: Vec<_> = in_turn(topology, &left, key).into_iter().map(key).collect();
    names.dedup();
    for (name, cpus) in names.iter().filter_map(|name| of.get_key_value(name)) {
        let complete = whole.get(name).is_some_and(|all| all.len() == cpus.len());
        if complete && cpus.len() <= count.saturating_sub(taken.len()) {
            *taken = taken.with(cpus);
        }
    }
}

/// Takes `count` of the `free` CPUs; `None` when there are not so many.
pub fn take(topology: &Topology, free: &CpuSet, count: usize, order: Order) -> Option<CpuSet> {
    if count > free.len() {
        return None;
    }
    let mut taken = CpuSet::default();
    for key in levels(topology) {
        take_whole(topology, free, count, key, &mut taken);
    }
    if order == Order::ByCache {
        take_whole(topology, free, count, cache, &mut taken);
        let missing = count.saturating_sub(taken.len());
        let left = free.without(&taken);
        let of = groups(topology, &left, cache);
        // The fullest cache that has what is missing, of the memory node that is begun.
        let roomy = |cpu: &Cpu| of.get(&cache(cpu)).filter(|cpus| cpus.len() >= missing);
        if let Some(cpus) = in_turn(topology, &left, cache).into_iter().find_map(roomy) {
            return Some(taken.with(&take_cores(topology, cpus, missing)?));
        }
    }
    let missing = count.saturating_sub(taken.len());
    let left = free.without(&taken);
    let rest = match order {
        Order::Spread => take_spread(topology, &left, missing)?,
        Order::Packed | Order::ByCache => take_cores(topology, &left, missing)?,
    };
    Some(taken.with(&rest))
}

/// Threads of as many cores as can be, in sockets that are begun: the fullest first.
fn take_spread(topology: &Topology, free: &CpuSet, count: usize) -> Option<CpuSet> {
    let mut taken = CpuSet::default();
    while taken.len() < count {
        let left = free.without(&taken);
        let next = topology.0.iter().filter(|cpu| left.0.contains(&cpu.id)).min_by_key(|cpu| {
            let beside = |set: &CpuSet, key: Key| topology.among(set, |other| key(other) == key(cpu)).len();
            (beside(&left, socket), beside(&taken, core), cpu.id)
        })?;
        taken.0.insert(next.id);
    }
    Some(taken)
}

fn take_cores(topology: &Topology, free: &CpuSet, count: usize) -> Option<CpuSet> {
    let mut taken = CpuSet::default();
    take_whole(topology, free, count, core, &mut taken);
    // What is left fills cores that are begun already, where whole ones were taken.
    let (left, missing) = (free.without(&taken), count.saturating_sub(taken.len()));
    taken.0.extend(in_turn(topology, &left, core).into_iter().take(missing).map(|cpu| cpu.id));
    (taken.len() == count).then_some(taken)
}

/// As [`take`], but with as many CPUs of each memory node where one node is not enough; `group` CPUs are never parted.
pub fn take_distributed(topology: &Topology, free: &CpuSet, count: usize, group: usize) -> Option<CpuSet> {
    if count > free.len() || group == 0 || !count.is_multiple_of(group) {
        return take(topology, free, count, Order::Packed);
    }
    let of_node = |node: usize| topology.among(free, |cpu| cpu.node == node);
    let sizes: BTreeMap<usize, usize> = topology.nodes().nodes().map(|node| (node, of_node(node).len())).collect();
    let size = |node: usize| sizes.get(&node).copied().unwrap_or(0);
    let each = |mask: &NodeMask| count / mask.count() as usize / group * group;
    let enough = |mask: &NodeMask| {
        let in_groups: usize = mask.nodes().map(|node| size(node) / group * group).sum();
        in_groups >= count && mask.nodes().all(|node| size(node) >= each(mask))
    };
    // As much of each, and what is over in groups of those that have most left.
    let shares = |mask: &NodeMask| {
        let mut shares: BTreeMap<usize, usize> = mask.nodes().map(|node| (node, each(mask))).collect();
        while shares.values().sum::<usize>() < count {
            let roomy = shares.iter_mut().filter(|(node, share)| size(**node) >= **share + group);
            let Some((_, share)) = roomy.min_by_key(|(node, share)| (**share, Reverse(size(**node)))) else { break };
            *share += group;
        }
        shares
    };
    // The fewest nodes; of those the ones that leave the most even rest.
    let unevenness = |mask: &NodeMask| {
        let shares = shares(mask);
        let left = |node: &usize| size(*node).saturating_sub(shares.get(node).copied().unwrap_or(0));
        sizes.keys().map(|node| left(node).pow(2)).sum::<usize>()
    };
    let best = topology.nodes().subsets().filter(enough).min_by_key(|mask| (mask.count(), unevenness(mask), mask.0));
    let Some(best) = best else { return take(topology, free, count, Order::Packed) };
    let mut taken = CpuSet::default();
    for (node, share) in shares(&best) {
        taken = taken.with(&take(topology, &of_node(node), share, Order::Packed)?);
    }
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sockets of two cores of two threads, numbered as Linux does: threads of a core are four apart.
    fn two_sockets() -> Topology {
        let cpu = |id: usize| Cpu { id, core: id % 2, socket: (id % 4) / 2, node: (id % 4) / 2, cache: (id % 4) / 2 };
        Topology((0..8).map(cpu).collect())
    }

    /// One socket of two memory nodes, each of two caches of two cores of one thread.
    fn caches() -> Topology {
        Topology((0..8).map(|id| Cpu { id, core: id, socket: 0, node: id / 4, cache: id / 2 }).collect())
    }

    #[test]
    fn whole_sockets_come_before_whole_cores_and_these_before_threads() {
        let topology = two_sockets();
        for (free, count, want) in [
            ("0-7", 4, Some("0-1,4-5")),
            ("1-7", 4, Some("2-3,6-7")),
            ("0-7", 2, Some("0,4")),
            ("1-7", 2, Some("1,5")),
            // The socket that is begun is used up first.
            ("0-3,5-7", 2, Some("1,5")),
            // The core that is begun is filled first.
            ("1-7", 1, Some("4")),
            ("0-7", 1, Some("0")),
            ("0-7", 5, Some("0-2,4-5")),
            ("0-7", 6, Some("0-2,4-6")),
            ("0,3", 2, Some("0,3")),
            ("0-7", 8, Some("0-7")),
            ("0-2", 4, None),
            ("0-2", 0, Some("")),
            // So is the node, though a core of the other one is begun too.
            ("0,2,4,6-7", 1, Some("0")),
        ] {
            let taken = take(&topology, &CpuSet::parse(free).unwrap(), count, Order::Packed);
            assert_eq!(taken.map(|set| set.to_string()).as_deref(), want, "{count} of {free}");
        }
    }

    #[test]
    fn a_socket_that_is_begun_is_used_up_before_memory_nodes_of_another() {
        let cpu = |id: usize| Cpu { id, core: id, socket: id / 4, node: id / 2, cache: 0 };
        let topology = Topology((0..8).map(cpu).collect());
        for (free, count, want) in [("0-6", 2, "4-5"), ("0-4,6-7", 3, "4,6-7"), ("0-7", 4, "0-3")] {
            let taken = take(&topology, &CpuSet::parse(free).unwrap(), count, Order::Packed);
            assert_eq!(taken.map(|set| set.to_string()).as_deref(), Some(want), "{count} of {free}");
        }
    }

    #[test]
    fn cpus_of_one_cache_come_first_when_that_is_wished() {
        for (free, count, order, want) in [
            ("1-3", 2, Order::ByCache, "2-3"),
            ("1-3", 2, Order::Packed, "1-2"),
            ("1-7", 3, Order::ByCache, "1-3"),
            ("0-7", 1, Order::ByCache, "0"),
            ("1,3,5", 2, Order::ByCache, "1,5"),
        ] {
            let taken = take(&caches(), &CpuSet::parse(free).unwrap(), count, order);
            assert_eq!(taken.map(|set| set.to_string()).as_deref(), Some(want), "{count} of {free}");
        }
    }

    #[test]
    fn threads_come_from_as_many_cores_as_can_be_when_that_is_wished() {
        // One socket of four cores of two threads; those of a core are beside each other in the second.
        let one_socket = |core: fn(usize) -> usize| {
            Topology((0..8).map(|id| Cpu { id, core: core(id), socket: 0, node: 0, cache: 0 }).collect())
        };
        let (apart, beside) = (one_socket(|id| id % 4), one_socket(|id| id / 2));
        for (topology, free, count, want) in [
            (&apart, "0-7", 3, Some("0-2")),
            (&apart, "1-7", 4, Some("1-4")),
            (&apart, "1-7", 5, Some("1-5")),
            (&apart, "0,4,5", 2, Some("0,5")),
            (&apart, "0,4", 2, Some("0,4")),
            (&apart, "0-7", 8, Some("0-7")),
            (&apart, "0-2", 4, None),
            (&beside, "0-7", 3, Some("0,2,4")),
            (&beside, "0-7", 5, Some("0-2,4,6")),
            (&two_sockets(), "0-7", 2, Some("0-1")),
            (&two_sockets(), "0-7", 3, Some("0-1,4")),
            // A whole socket stays one.
            (&two_sockets(), "0-7", 4, Some("0-1,4-5")),
            (&two_sockets(), "0-7", 6, Some("0-5")),
            // The socket that is begun is used up first.
            (&two_sockets(), "1-7", 2, Some("1,4")),
        ] {
            let taken = take(topology, &CpuSet::parse(free).unwrap(), count, Order::Spread);
            assert_eq!(taken.map(|set| set.to_string()).as_deref(), want, "{count} of {free}");
        }
    }

    #[test]
    fn who_needs_several_nodes_gets_as_much_of_each() {
        for (free, count, group, want) in [
            ("0-7", 4, 1, (4, 0)),
            ("0-7", 6, 2, (4, 2)),
            ("0-7", 6, 1, (3, 3)),
            ("1-7", 6, 1, (3, 3)),
            ("1,2-3,6-7", 4, 1, (0, 4)),
            ("0-7", 8, 2, (4, 4)),
            ("0-7", 5, 2, (4, 1)),
            ("0-1,2-3", 4, 1, (2, 2)),
            // What is over is of the node that has more left.
            ("1-7", 5, 1, (2, 3)),
            ("0-1,3-5,7", 6, 2, (4, 2)),
        ] {
            let taken = take_distributed(&two_sockets(), &CpuSet::parse(free).unwrap(), count, group).unwrap();
            let of = |node: usize| two_sockets().among(&taken, |cpu| cpu.node == node).len();
            assert_eq!((of(0), of(1)), want, "{count} of {free}: {taken}");
        }
    }
}
