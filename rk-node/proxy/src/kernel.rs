//! The tables of this node: one transaction for each change, and a fresh start when they are not as we left them.

use rk_nft::{Batch, Family, Netfilter};

use crate::{
    conntrack::Frontends,
    encode::{TABLE, program, skeleton},
    state::{Changes, State},
};

/// Both families' tables. Families that the kernel lacks are left out.
pub struct Kernel {
    netfilter: Netfilter,
    v6: bool,
}

impl Kernel {
    /// Opens a socket in the current network namespace.
    pub fn open() -> Result<Self, rk_nft::Error> {
        let v6 = std::path::Path::new("/proc/sys/net/ipv6").exists();
        Ok(Self { netfilter: Netfilter::open()?, v6 })
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
        let (v4, v6) = changes.split();
        let mut batch = Batch::new();
        for (is_v6, steps) in [(false, v4), (true, v6)] {
            if is_v6 && !self.v6 {
                continue;
            }
            if fresh {
                skeleton(&mut batch, is_v6);
            }
            program(&mut batch, is_v6, &steps);
        }
        self.netfilter.commit(batch)
    }

    /// Whether our tables still hold exactly the chains that they should. Somebody may have flushed the ruleset.
    pub fn intact(&self, state: &State) -> Result<bool, rk_nft::Error> {
        // The hooks' chains and the one that rejects.
        let fixed = 7;
        let count = |v6: bool| {
            state
                .plans()
                .map(|(_, plan)| if v6 { &plan.v6 } else { &plan.v4 })
                .map(|side| side.chains.len())
                .sum::<usize>()
        };
        let v4 = self.netfilter.chains(Family::Ip, TABLE)?.len() == fixed + count(false);
        Ok(v4 && (!self.v6 || self.netfilter.chains(Family::Ip6, TABLE)?.len() == fixed + count(true)))
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
