//! Reading files and folders of the node: contained, bounded, secrets refused.

mod open;
mod policy;

pub use open::{list, open};
pub use policy::{Refusal, may_read};
