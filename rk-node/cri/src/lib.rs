//! The CRI server of a node: pods and containers over `rk-shim`, `rk-images` and CNI.
//!
//! ```text
//! kubelet, crictl ── gRPC, unix socket ──► service ──► sandbox, container ──► shim (one process per pod)
//!                 ── HTTP upgrade ───────► streaming ──► exec, attach, port-forward
//! ```
//!
//! [`serve`] is the whole public face. Inside: [`tables`] hold every sandbox and container and save each change before its event is told;
//! [`sandbox`] and [`container`] are their lives, one step at a time per object; [`spec`] is pure: CRI and image configuration in,
//! OCI spec and cgroup settings out; [`recover`] makes kernel, shims and disk agree after a start.
//!
//! Invariants: a record is on disk before what it describes exists, and is removed after it is gone; no container's life depends
//! on this process; whatever a client gives up half way is finished.

mod cgroup;
mod clock;
mod config;
mod container;
mod disk;
mod error;
mod exec;
mod kept;
mod network;
mod record;
mod recover;
#[cfg(test)]
mod rig;
mod runtime;
mod sandbox;
mod serve;
mod service;
mod shim;
mod signal;
mod spec;
mod stats;
mod streaming;
mod tables;
mod view;

pub use config::Config;
pub use error::{Error, Result};
pub use network::{CniNetwork, HostPort, PodAttachment, PodNetwork};
pub use serve::serve;
pub use shim::Starter;
