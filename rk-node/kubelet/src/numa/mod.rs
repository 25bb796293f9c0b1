//! The topology manager (KEP-693): the CPUs, the memory and the devices of a container come from memory nodes that are near each other.
//!
//! [`machine`] reads which nodes there are, [`mask`] is a set of them, [`hint`] merges what those who give resources would like,
//! [`policy`] says whether the result will do, [`place`] asks and gives, for one pod. Values only, but for the reading.

mod hint;
mod machine;
mod mask;
mod place;
mod policy;

pub use hint::{Hint, Hints};
pub use machine::{MemoryNode, Numa, huge_page_resource};
pub use mask::NodeMask;
pub use place::{NOT_ALIGNED, Pinned, Provider, at_most, place};
pub use policy::{Scope, TopologyPolicy, TopologyRules};
