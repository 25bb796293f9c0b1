//! Static pods: manifests in a directory of the node or at an address, run whether or not the API server answers, and shown there as
//! mirror pods.

mod document;
mod fetch;
mod mirror;
mod references;
mod removals;
mod source;
mod valid;

pub use fetch::{Asker, Fetched, fetch_loop};
pub use mirror::{Shown, mirror_loop, shows};
pub use source::{Asked, Manifests, is_mirror, is_static, of_address, same_edition, watch_loop};
