//! Kinds that are made by CustomResourceDefinitions: rows of the resource table that come and go while the server runs.
//!
//! [`rows`] turns a definition into [`crate::resources::Resource`]s, one for each version. The schema of a version becomes
//! two things: a [`crate::schema::Schema`] of [`crate::schema::Made`] nodes, by which generic code prunes, merges and tracks owners,
//! and a [`CustomKind`], which holds what only custom kinds have: defaults, rules, printer columns, paths of selectors and scale.
//!
//! Expressions (`x-kubernetes-validations`) are evaluated by the API server, which keeps what it compiled in the kind.

mod before;
mod columns;
mod default;
mod embedded;
mod format;
#[cfg(test)]
mod judged_tests;
mod kind;
mod node;
mod path;
mod rows;
mod rules;
mod scaled;
#[cfg(test)]
mod tests;
mod trial;

pub use before::{Elements, is_unchanged};
pub use columns::Columns;
pub use format::{holds as has_format, is_known as is_known_format};
pub use kind::{ConversionWebhook, CustomKind, ScalePaths};
pub use path::JsonPath;
pub use rows::{is_established, rows};
pub use trial::Trial;
