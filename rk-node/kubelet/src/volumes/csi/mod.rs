//! Volumes of CSI drivers: which drivers there are, what a volume asks of its driver, and the calls that bring it to a pod.
//!
//! What is staged or published is written beside the mount point before it is done (`vol_data.json`, as upstream does), so that
//! a kubelet that starts anew finds everything that must be undone.

mod crowded;
mod data;
mod drivers;
mod expand;
mod in_use;
mod most;
mod mount;
mod node_object;
mod stage;
mod stats;
mod volume;

pub use drivers::{Driver, Drivers};
pub use expand::{Outcome, growth};
pub use in_use::InUse;
pub use most::most_loop;
pub use mount::{Csi, Placed};
pub use node_object::NodeObject;
pub use stats::VolumeStats;
pub use volume::CsiVolume;
