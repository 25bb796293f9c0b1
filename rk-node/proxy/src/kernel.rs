//! The tables of this node: one transaction for each change, and a fresh start when they are not as we left them.

use ipnet::IpNet;
use rk_nft::{Batch, Family, Netfilter};

use crate::{
    conntrack::Frontends,
    encode::{FIXED_CHAINS, TABLE, program, skeleton},
    state::{Changes, State},
};

/// Both families' tables. Families that the kernel lacks are left out.
pub struct Kernel {
    netfilter: Netfilter,
    pod_cidrs: Vec<IpNet>,
    v6: bool,
}

impl Kernel {
    /// Opens a socket in the current network namespace. Packets of `pod_cidrs` keep their source on the way to ClusterIPs.
    pub fn open(pod_cidrs: Vec<IpNet>) -> Result<Self, rk_nft::Error> {
        let v6 = std::path::Path::new("/proc/sys/net/ipv6").exists();
        Ok(Self { netfilter: Netfilter::open()?, pod_cidrs, v6 })
    }

    /// Replaces both tables by this state, without a moment in between.
    pub fn replace(&self, state: &State) -> Result<(), rk_nft::Error> {
        self.commit(state.all(), true)
    }

    /// Applies changes as one transaction.
    pub fn apply(&self, changes: Changes) -> Result<(), rk_nft::Error> {
        self.commit(changes, false)
    }

    fn commit(&self, changes: Changes, fresh: bool) -> Result<(), rk_nft::Error> {
        let (v4, v6) = changes.steps();
        let mut batch = Batch::new();
        for (is_v6, steps) in [(false, v4), (true, v6)] {
            if is_v6 && !self.v6 {
                continue;
            }
            if fresh {
                skeleton(&mut batch, is_v6);
            }
            program(&mut batch, is_v6, &self.pod_cidrs, &steps);
        }
        self.netfilter.commit(batch)
    }

    /// Whether our tables still hold exactly the chains that they should. Somebody may have flushed the ruleset.
    pub fn intact(&self, state: &State) -> Result<bool, rk_nft::Error> {
        let (v4, v6) = state.classes();
        let holds = |family, classes| {
            Ok::<_, rk_nft::Error>(self.netfilter.chains(family, TABLE)?.len() == FIXED_CHAINS + classes)
        };
        Ok(holds(Family::Ip, v4)? && (!self.v6 || holds(Family::Ip6, v6)?))
    }

    /// Forgets UDP connections that lead to backends that no longer serve, or past a Service that began to serve.
    pub(crate) fn forget_stale(&self, frontends: &Frontends) -> Result<usize, rk_nft::Error> {
        let mut removed = rk_nft::conntrack::remove(&self.netfilter, false, |entry| frontends.is_stale(entry))?;
        if self.v6 {
            removed += rk_nft::conntrack::remove(&self.netfilter, true, |entry| frontends.is_stale(entry))?;
        }
        Ok(removed)
    }
}
