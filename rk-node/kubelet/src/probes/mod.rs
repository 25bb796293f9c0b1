//! Startup, liveness and readiness probes: the threshold counting is pure, the handlers do the IO, one task per probe.

mod exec;
mod grpc;
mod handler;
mod http;
mod opening;
mod pace;
mod request;
mod state;
mod target;
mod tasks;
mod tcp;

pub use handler::{FALLBACK, HandlerContext, HandlerError, lifecycle_handler};
pub use pace::ProbePace;
pub use state::{Outcome, ProbeKind, ProbeResults};
pub use tasks::ProbeTasks;
pub use tcp::addresses;
