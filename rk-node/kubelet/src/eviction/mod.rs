//! Eviction: pods that use more than their own limits of local storage, and pods that go so that the node lives.

mod limits;
mod local;
mod orders;
mod rank;
mod run;
mod soft;
pub mod usage;

pub use local::{FILES_AGE, LocalUse};
pub use orders::{Order, Orders};
pub use rank::is_critical;
pub use run::evict_loop;
