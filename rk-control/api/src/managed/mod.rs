//! Field ownership: `metadata.managedFields` and server-side apply (KEP-555).
//!
//! What a client applies must be of its type ([`typed`]) before anything else. A manager owns a set of paths ([`set::FieldSet`]).
//! [`walk`] turns objects into sets and compares objects, [`merge`] merges and prunes them, [`entry`] reads and writes `managedFields`; [`apply`] and [`update`] are the two operations, of which
//! [`created`] is the short way for what is new. Owners may speak other versions of a kind than a request does ([`versions`]).

mod apply;
mod conflict;
mod created;
mod element;
mod entry;
mod last_applied;
#[cfg(test)]
mod laws;
mod merge;
mod merged;
mod path;
pub(crate) mod scale;
mod set;
#[cfg(test)]
mod tests;
mod typed;
mod update;
mod versions;
mod walk;

use jiff::Timestamp;

pub use apply::{apply, check};
pub use merged::merged;
pub use path::PathElement;
pub use set::FieldSet;
pub use typed::mistyped;
pub use update::{SPEC, disown_all, hand_over, is_unchanged, mend, update};
pub use versions::{OneVersion, Versions};

use crate::schema::Schema;

/// Who writes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Schema of the object.
    pub schema: &'a Schema,
    /// The field manager (`fieldManager` parameter, else the user agent up to the first `/`).
    pub manager: &'a str,
    /// The version in which the request speaks.
    pub api_version: &'a str,
    /// `status`, `scale`, …; empty for the main resource.
    pub subresource: &'a str,
    /// Take fields over from other managers.
    pub force: bool,
    /// The time of the request.
    pub now: Timestamp,
    /// Whether the kind has a status that only its subresource changes.
    pub has_status: bool,
    /// What a request to the status cannot change ([`crate::strategy::status_resets`]).
    pub status_resets: &'a FieldSet,
    /// Objects in the versions that other owners speak.
    pub versions: &'a dyn Versions,
}
