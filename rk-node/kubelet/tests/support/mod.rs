//! A runtime in memory behind the real CRI stubs, and a real control plane on loopback.
#![allow(dead_code)]

mod control;
mod fake_cri;
mod stubs;

pub use control::{Control, eventually};
pub use fake_cri::FakeCri;
