//! Checks that read `cargo metadata` and the tree.

mod directions;
mod documents;
mod length;
mod licences;
mod metadata;
mod tree;

pub use directions::directions;
pub use documents::{unknown_tests, unlisted_decisions};
pub use length::long_files;
pub use licences::licences;
pub use metadata::Metadata;
