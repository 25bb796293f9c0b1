//! The Node object: registration, status, Lease, and what the node learns from its own object.

mod address;
mod conditions;
mod follow;
mod identity;
mod inet6;
mod info;
mod lease;
mod loops;
mod note;
mod object;
mod pressure;
mod reported;
mod shortages;
mod turns;

pub use identity::{node_ips, second_address};
pub use info::{Machine, boot_id, machine, most_tasks, system_info};
pub use lease::lease_loop;
pub use loops::{NodeLoop, Sources};
pub use object::{kept_memory, pods_together};
pub use pressure::{Observed, Pressure, Signal};
pub use shortages::Shortages;
