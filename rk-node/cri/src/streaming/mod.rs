//! The streaming server: exec, attach and port-forward sessions behind URLs that work once.

mod server;
mod session;
mod terminal;
mod tickets;

pub(crate) use server::serve;
pub(crate) use tickets::{Tickets, Wish};
