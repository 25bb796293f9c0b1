//! Checks that read `cargo metadata` and the tree.

mod directions;
mod length;
mod licences;
mod metadata;

pub use directions::directions;
pub use length::long_files;
pub use licences::licences;
pub use metadata::Metadata;
