//! Eviction: pods that use more than their own limits of local storage, and pods that go so that the node lives.

mod limits;
mod rank;
mod run;
mod usage;

pub use rank::is_critical;
pub use run::{Orders, evict_loop};
