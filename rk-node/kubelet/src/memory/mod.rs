//! The static memory policy (KEP-1769): containers of Guaranteed pods get their memory from memory nodes that have it.
//!
//! [`table`] is who has what (values only), [`draft`] gives hints and chooses, [`manager`] remembers, in upstream's file
//! (`memory_manager_state`). A node serves either itself alone or one group of nodes, never both.

mod draft;
mod manager;
mod table;

pub use manager::{Memory, MemoryPolicy, ReservedError};
pub use table::Block;
