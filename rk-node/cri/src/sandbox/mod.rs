//! The life of a pod sandbox.

mod files;
mod run;
mod stop;
mod users;
mod watch;

pub(crate) use files::pod_files;
pub(crate) use run::{hostname, known_handler, run};
pub(crate) use stop::{remove, stop, tear_down};
pub(crate) use users::{is_of_pod, mapping as users, shift};
pub(crate) use watch::{settle, watch};
