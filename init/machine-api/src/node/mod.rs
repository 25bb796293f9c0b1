//! What PID 1 is asked, and the config that it is given.

mod certificates;
mod config;
mod control;
mod events;
mod fetch;
mod health;
mod kubeconfig;
mod platform;
mod store;

pub use certificates::list as certificates;
pub use config::{Applied, apply, current, patched, validate, write_private};
pub use control::{Pid1, Pid1Error};
pub use events::{Events, stream as events};
pub(crate) use fetch::http;
pub use fetch::look_for_config;
pub use health::{NODE_STATUS, check};
pub use kubeconfig::kubeconfig;
pub use store::{keeps_its_state, restore, snapshot};
