//! The life of a container.

mod cdi;
mod create;
mod devices;
mod identity;
mod inside;
mod process;
pub(crate) mod remove;
mod start;
mod stop;
mod update;
mod volumes;

pub(crate) use create::create;
pub(crate) use process::process;
pub(crate) use remove::remove;
pub(crate) use start::start;
pub(crate) use stop::{kill, step, stop};
pub(crate) use update::update;
