//! What the tiers share: a stock kubectl ([`Kubectl`]), a cluster per test binary ([`shared`]), and waiting.
//!
//! | tier | what it needs | what it proves |
//! |---|---|---|
//! | `api` | `rk-control` on the host | what kubectl sees of the API |
//! | `images` | a stock registry | archives of others arrive whole under their names |
//! | `boot` | one machine | the image boots, refuses bad configs, powers off |
//! | `media` | one machine | CD, stick and disk boot it on UEFI; a tampered root does not |
//! | `slots` | one machine | upgrades that succeed, fail and are cut off; rollback, reset, installation |
//! | `machine` | one machine | the machine API by `rkctl`: maintenance mode, roles, configs, the end of the machine |
//! | `node` | one machine | a node alone: joining, its complaints |
//! | `numa` | one machine | CPUs and memory of several memory nodes |
//! | `cri` | one machine | what a client of CRI sees that is not ours |
//! | `nodefaults` | a cluster | hostile images, floods, full disks and power cuts |
//! | `network` | a cluster | pods, Services, DNS, partitions |
//! | `dualstack` | a cluster of two families | addresses, Services and names of both |
//! | `cluster` | a cluster | the story of a newcomer |
//! | `chaos` | a cluster | what may die, and what must not with it |
//! | `planes` | three machines and an etcd | two control planes are one cluster, and one of them may go |
//! | `faults` | a cluster | clocks, links, disks and memory that are wrong, flap, are full or small |
//!
//! They run by `cargo xtask test`, one after the other, and fail with that advice otherwise.

mod firmware;
mod guest;
mod kubectl;
mod operator;
mod python;
mod shared;

pub use firmware::{copy_of_the_disk, folder, uefi};
pub use guest::{MACHINE_API, exit, free_address, uplink};
pub use kubectl::{Answer, Kubectl, Running};
pub use operator::{Operator, Outcome, admin};
pub use python::{python_with, succeed};
pub use shared::{Shared, limit, number, registry, shared, shared_with};

pub use rk_qemu::Artifacts;
use std::time::Duration;

/// Waits until `look` answers `Ok`; panics with what was seen last, and with the ends of the consoles of this binary's cluster.
pub fn eventually<T>(what: &str, limit: Duration, look: impl FnMut() -> Result<T, String>) -> T {
    match rk_qemu::wait::until(what, limit, look) {
        Ok(value) => value,
        Err(error) => panic!("{error}{}", shared::consoles()),
    }
}

/// The artifacts, or a panic that says how to get them.
pub fn artifacts() -> Artifacts {
    match Artifacts::from_env() {
        Ok(artifacts) => artifacts,
        Err(error) => panic!("{error}"),
    }
}
