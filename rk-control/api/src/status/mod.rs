//! `Status`: the one shape of every failure, with upstream's reasons, codes and words.

mod build;
mod field;
mod float;
mod foreign;
mod named;
mod reason;

pub use build::{Cause, Details, Status, precondition_missed};
pub use field::{ErrorKind, FieldError, FieldErrors, Path, go_json, quote};
pub use float::go_float;
pub use reason::Reason;
