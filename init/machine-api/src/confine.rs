//! What this process gives up before it hears anyone: capabilities and system calls that it has no use for.

use crate::log;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// Reading what is not ours (logs, disks), packets, the kernel's messages, whose socket is whose.
const KEPT: CapabilitySet = CapabilitySet::DAC_READ_SEARCH
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYSLOG)
    .union(CapabilitySet::SYS_PTRACE);

/// Gives up the rest. Before any thread is started. A failure is told, and the node can still be managed.
pub fn give_up() {
    let sets = CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    if let Err(errno) = set_capabilities(None, sets) {
        log::warn(format_args!("giving up capabilities: {}", std::io::Error::from(errno)));
    }
    // Programs: rk-control makes snapshots of its store.
    if let Err(err) = rk_sys::confine(true) {
        log::warn(log::chain(&err));
    }
}
