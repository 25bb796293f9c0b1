//! A runtime in memory behind the real CRI stubs, and a real control plane on loopback.

mod control;
mod fake_cri;
mod fake_csi;
mod fake_device;
mod fake_dra;
mod fake_plugin;
mod image_stubs;
mod rig;
mod stubs;

pub use control::{Control, eventually};
pub use fake_cri::FakeCri;
pub use fake_csi::{DRIVER, FakeCsi};
pub use fake_device::{FakeDevice, RESOURCE};
pub use fake_dra::{FakeDra, LAMPS};
pub use rig::{Rig, options, ready, waiting};
