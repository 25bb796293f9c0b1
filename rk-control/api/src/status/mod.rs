//! `Status`: the one shape of every failure, with upstream's reasons, codes and words.

mod build;
mod field;
mod float;
mod foreign;
mod named;
mod reason;
mod shown;

pub use build::{Cause, Details, Status, precondition_missed};
pub(crate) use field::is_printable;
pub use field::{ErrorKind, FieldError, FieldErrors, Path, escape, go_json, quote};
pub use float::go_float;
pub use reason::Reason;
pub(crate) use shown::{
    CLAIM_OF_POD, DISRUPTION_BUDGET_SPEC, NODE_ADDRESS, PARENT_REFERENCE, POD_IP, ROLE_REF, SECCOMP_PROFILE,
    SERVICE_PORT, TAINT, TOLERATION,
};
