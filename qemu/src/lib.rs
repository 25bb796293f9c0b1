//! Virtual machines under QEMU, without root and without touching the host's network.
//!
//! * [`vm`]: one machine: a specification that becomes QEMU's arguments, and a running machine that dies with its owner.
//! * [`accel`]: which accelerator really works here (opening `/dev/kvm` proves nothing).
//! * [`console`]: the serial console, logged to a file, with a matcher that waits for lines.
//! * [`qmp`]: control of a running machine: power button, port forwards, quit.
//! * [`switch`]: a learning L2 switch in user space over unix sockets that can drop, delay and partition.
//! * [`cidata`], [`disk`]: the config drive and the data disk that a machine starts with.
//! * [`registry`], [`oci`]: a registry on loopback, image layouts, and a pusher of archives.
//! * [`artifacts`]: where the built and fetched files are, for tests in other processes.
//! * [`cluster`]: a control plane and its workers, from PKI to "all nodes are Ready". People (`cargo xtask up`) and tests use it alike.
//!
//! Invariants: every child process is started by [`process`], so that it is killed when this process ends in whatever way;
//! everything waits for conditions with a deadline and tells, when it gives up, what it saw last.

pub mod accel;
pub mod artifacts;
pub mod cidata;
pub mod cluster;
pub mod console;
pub mod disk;
mod error;
pub mod http;
pub mod kube;
pub mod oci;
pub mod pki;
pub mod process;
pub mod qmp;
pub mod registry;
pub mod switch;
pub mod vm;
pub mod wait;

pub use accel::Accel;
pub use artifacts::Artifacts;
pub use error::{Error, Result};
