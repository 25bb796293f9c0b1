//! What this version does not do, said plainly.

use tonic::Status;

/// The answer of a method that is not built.
pub fn missing(what: &str, instead: &str) -> Status {
    Status::unimplemented(format!("this version of the node cannot {what}; {instead}"))
}
