//! A word for programs of pods that choose between two kinds of iptables: this kernel has the one on top of nftables alone.

use rk_nft::{Batch, Chain, Family, Netfilter};

use crate::error::{Error, Result};

/// Where they look, and what for (KEP-3178). Nothing is ever in it.
const TABLE: &str = "mangle";
const CHAIN: &str = "KUBE-IPTABLES-HINT";

/// Makes the chain in the current network namespace, for both families, where it is not there yet.
///
/// # Errors
/// The kernel refused it.
pub fn leave_hint() -> Result<()> {
    let mut batch = Batch::new();
    for family in [Family::Ip, Family::Ip6] {
        batch.add_table(family, TABLE);
        batch.add_chain(family, TABLE, Chain { name: CHAIN, hook: None });
    }
    let committed = Netfilter::open().and_then(|netfilter| netfilter.commit(batch));
    committed.map_err(|error| Error::Netlink(error.to_string()))
}
