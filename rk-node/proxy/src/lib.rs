//! The Service proxy of a node.
//!
//! ```text
//! watch Services, EndpointSlices ──► model ──► plan (one Service) ──► State::set ──► [Change] ──► one nftables transaction
//! ```
//!
//! [`plan`](plan::plan) decides what one Service looks like in packet rules, from values alone. [`State`] holds all plans and tells
//! what differs when one of them changes: the work for a change depends on that Service's size, never on how many there are.
//! The rules live in tables `ip rk-proxy` and `ip6 rk-proxy`; on start the old ones are replaced in the same transaction, so that
//! no packet meets a node without rules, and established connections keep their translation.
//!
//! Packets: an address and port is a key of the map `frontends`, which leads to a group of backends and a class of balancing. A
//! class' chain draws an index, and group and index are a key of the map `endpoints`. Chains are few and name no Service; what
//! belongs to a Service is elements only, which the kernel changes in constant time. What nobody serves is refused in the filter
//! hooks.

mod conntrack;
mod encode;
mod endpoints;
mod health;
mod kernel;
pub mod model;
mod pages;
pub mod plan;
mod rules;
mod run;
mod state;
mod status;

pub use encode::TABLE;
pub use kernel::Kernel;
pub use plan::plan;
pub use run::{Config, Error, Place, ZONE, run};
pub use state::{Change, Changes, Class, Key, State, Target};
