//! Talking to the shims: start one, ask it, hear of exits.

mod call;
mod exec;
mod process;
mod starter;

pub(crate) use call::{attach, call, subscribe};
pub(crate) use exec::exec;
pub(crate) use process::{spawn, unpin};
pub use starter::Starter;
