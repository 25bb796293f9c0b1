//! The resource table: which groups, versions and resources exist, and what each allows.
//!
//! Built-in rows come from `tables/resources.txt`; rows can be added and removed while the server runs.

mod builtin;
mod registry;
mod row;

pub use registry::{GroupVersion, Registry};
pub use row::{GroupVersionKind, Resource, Scope, Str, Subresource, Verb, Verbs};
