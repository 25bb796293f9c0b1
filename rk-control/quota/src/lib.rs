//! The rules of ResourceQuotas: which quotas apply to an object ([`covers_pod`], [`covers_claim`]), how much it takes of each resource that
//! they may limit ([`of_pod`], [`of_service`], [`of_claim`], [`of_devices`]), and what a quota demands of a pod ([`missing`]).
//!
//! Admission charges what comes and the controller counts what is there, by these same rules: what one lets in, the other counts.
//!
//! Invariants: nothing here does IO or reads a clock; an amount that cannot be read counts as nothing, for validation refused it.

mod claim;
mod demand;
mod devices;
mod pod;
mod scope;
mod service;
mod usage;

pub use claim::of_claim;
pub use demand::missing;
pub use devices::{DEVICES, Named, is_shared, of_devices, owner_of_extended};
pub use pod::{held_amounts, of_pod, requests_as_a_whole, spec_amounts, spec_requests};
pub use scope::{covers_claim, covers_pod, is_scoped, is_terminating};
pub use service::of_service;
pub use usage::{Usage, growth, sum};
