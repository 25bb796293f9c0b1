//! Claims of devices that DRA drivers bring (`resource.k8s.io`, KEP-4381): which drivers have registered, what their plugins have prepared
//! for which pods, and what of it containers get.
//!
//! That a pod has a claim is on disk before a plugin is asked to prepare it, and until a plugin has taken it back: whatever becomes of
//! the kubelet in between, nothing stays prepared for nobody. A claim is prepared once, however many pods of the node share it.

mod drivers;
mod health;
mod manager;
mod names;
mod plugin;
mod presence;
mod slices;
mod statuses;
mod table;

pub use drivers::Drivers;
pub use manager::{Claims, Told};
pub use names::is_by_claim;
pub use slices::wipe;
