//! Which UDP connections must be forgotten: a connection that lives on would never ask the rules again.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use rk_nft::conntrack::Entry;

use crate::{endpoints::Backend, plan::Side, state::State};

const UDP: u8 = 17;

/// Where UDP packets may go, by where they were sent to.
#[derive(Debug, Default)]
pub(crate) struct Frontends {
    by_address: HashMap<(IpAddr, u16), BTreeSet<Backend>>,
    by_node_port: HashMap<u16, BTreeSet<Backend>>,
    node_ips: Vec<IpAddr>,
}

impl Frontends {
    /// The frontends of all Services as they are planned now.
    pub fn new(state: &State, node_ips: &[IpAddr]) -> Self {
        let mut frontends = Self { node_ips: node_ips.to_vec(), ..Self::default() };
        for side in state.plans().flat_map(|(_, plan)| [&plan.v4, &plan.v6]) {
            frontends.add(side);
        }
        frontends
    }

    fn add(&mut self, side: &Side) {
        for ((ip, port), backends) in &side.udp {
            let entry = match ip {
                Some(ip) => self.by_address.entry((*ip, *port)).or_default(),
                None => self.by_node_port.entry(*port).or_default(),
            };
            entry.extend(backends.iter().copied());
        }
    }

    /// A connection to a Service whose answers come from elsewhere than backends of it that serve.
    pub fn is_stale(&self, entry: &Entry) -> bool {
        let to = entry.original;
        if to.protocol != UDP {
            return false;
        }
        let by_address = self.by_address.get(&(to.dst, to.dst_port));
        let from = (entry.reply.src, entry.reply.src_port);
        // A node answers at more addresses than those that it is told of; what was led elsewhere came to one of them.
        let to_node = from != (to.dst, to.dst_port) || self.node_ips.contains(&to.dst);
        let by_node_port = || self.by_node_port.get(&to.dst_port).filter(|_| to_node);
        by_address.or_else(by_node_port).is_some_and(|backends| !backends.contains(&from))
    }
}

#[cfg(test)]
mod tests {
    use rk_nft::conntrack::Tuple;

    use super::*;

    #[test]
    fn only_connections_of_services_to_foreign_backends_are_stale() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("ip");
        let frontends = Frontends {
            by_address: HashMap::from([((ip("10.96.0.9"), 53), BTreeSet::from([(ip("10.244.1.2"), 5353)]))]),
            by_node_port: HashMap::from([(30053, BTreeSet::from([(ip("10.244.1.2"), 5353)]))]),
            node_ips: vec![ip("192.0.2.1")],
        };
        let entry = |protocol, dst: &str, dst_port, from: &str, src_port| Entry {
            original: Tuple { src: ip("10.244.1.9"), dst: ip(dst), protocol, src_port: 1234, dst_port },
            reply: Tuple { src: ip(from), dst: ip("10.244.1.9"), protocol, src_port, dst_port: 1234 },
        };
        for (entry, stale) in [
            (entry(UDP, "10.96.0.9", 53, "10.244.1.2", 5353), false),
            (entry(UDP, "10.96.0.9", 53, "10.244.1.3", 5353), true),
            (entry(UDP, "10.96.0.9", 53, "10.96.0.9", 53), true),
            (entry(6, "10.96.0.9", 53, "10.244.1.3", 5353), false),
            (entry(UDP, "192.0.2.1", 30053, "10.244.1.3", 5353), true),
            (entry(UDP, "198.51.100.1", 30053, "198.51.100.1", 30053), false),
            (entry(UDP, "10.244.1.1", 30053, "10.244.1.3", 5353), true),
            (entry(UDP, "10.244.1.1", 30053, "10.244.1.2", 5353), false),
            (entry(UDP, "198.51.100.1", 53, "198.51.100.1", 53), false),
        ] {
            assert_eq!(frontends.is_stale(&entry), stale, "{entry:?}");
        }
    }
}
