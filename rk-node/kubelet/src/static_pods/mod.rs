//! Static pods: manifests in a directory of the node, run whether or not the API server answers, and shown there as mirror pods.

mod mirror;
mod removals;
mod source;

pub use mirror::{Shown, mirror_loop, shows};
pub use source::{Manifests, is_mirror, is_static, same_edition, watch_loop};
