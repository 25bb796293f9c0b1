//! The types of the API: fields, list and map semantics, patch strategies and protobuf numbers.
//!
//! Built-in types are static tables made from `tables/types.txt` when the crate is built; they cost no start-up time. Types
//! of kinds that are added at run time are trees of [`Made`] nodes behind the same handle.

mod made;
mod merging;
mod node;
mod rows;
mod takes;

pub use made::Made;
pub use node::{Field, Lists, Schema, Shape};
pub(crate) use rows::{Ty, Union, WireRow};
pub use takes::Takes;
