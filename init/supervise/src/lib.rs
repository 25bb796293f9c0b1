//! Decisions of PID 1 as pure state machines: events and a clock in, actions out, no IO.
//!
//! - [`Supervisor`]: which service is started, restarted with back-off, told to stop, killed.
//! - [`Shutdown`]: the order in which a machine goes down, each phase with a deadline, so that it always ends.
//! - [`Backoff`]: the delays of retries.
//! - [`control`]: the words of PID 1's local socket, for both of its ends.
//!
//! Time is milliseconds since boot ([`Millis`]), told by the caller. Both machines are level-triggered: a call without news
//! changes nothing, and a late call does what is due.

mod backoff;
pub mod control;
mod shutdown;
mod supervisor;

pub use backoff::Backoff;
pub use shutdown::{Deadlines, Observed, Shutdown, Step};
pub use supervisor::{Action, Event, Service, State, Supervisor};

/// Milliseconds since boot.
pub type Millis = u64;
