//! The container runtime as the kubelet sees it: the CRI client, a model of what runs, and the events and lists that tell of changes.

mod client;
mod labels;
mod model;
mod pleg;
mod up;

pub use client::{Runtime, RuntimeError};
pub use labels::*;
pub use model::{RuntimeContainer, RuntimePod, RuntimeSandbox, State, States, UNKNOWN_REASON};
pub use pleg::{Change, Pleg};
pub use up::runtime_is_up;
