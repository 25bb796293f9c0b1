//! Devices of plugins (`v1beta1`): which there are, who holds which, and the servers that plugins and monitors talk to.
//!
//! Allocations are on disk before the plugin is asked, so that no device is ever given to two containers, and what it answered afterwards, so
//! that it is asked once.

mod answers;
mod draft;
mod health;
mod manager;
mod plugin;
mod podresources;
mod server;
mod state;
mod table;

pub use health::DeviceHealth;
pub use manager::{Devices, is_extended};
pub use server::serve;
