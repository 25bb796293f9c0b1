//! A runtime in memory behind the real CRI stubs, and a real control plane on loopback.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this")]

mod control;
mod fake_cri;
mod fake_csi;
mod fake_device;
mod fake_dra;
mod image_stubs;
mod rig;
mod stubs;

pub use control::{Control, eventually};
pub use fake_cri::FakeCri;
pub use fake_csi::{DRIVER, FakeCsi};
pub use fake_device::{ALLOCATIONS, REFUSES, RESOURCE, start_device_plugin};
pub use fake_dra::{FakeDra, LAMPS};
pub use rig::{Rig, options, ready, waiting};
