//! Plugins that register by a socket in `<kubelet>/plugins_registry`: found there, asked who they are, told the outcome, and
//! forgotten when their socket goes.

mod call;
mod registry;
mod watch;

pub use call::{bounded, code, timed, words};
pub use registry::{Takers, register_loop};
