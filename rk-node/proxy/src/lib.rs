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
//! Packets: addresses and ports are keys of verdict maps that lead to a chain for each Service port; the chain picks an endpoint by
//! a random index into a map. What nobody serves is rejected in the filter hooks.

mod conntrack;
mod encode;
mod endpoints;
mod health;
mod kernel;
pub mod model;
pub mod plan;
mod run;
mod state;

pub use encode::{TABLE, program, skeleton};
pub use kernel::Kernel;
pub use plan::plan;
pub use run::{Config, Error, run};
pub use state::{Change, Changes, State};
