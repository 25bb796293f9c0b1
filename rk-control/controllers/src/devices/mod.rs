//! Claims of devices: made for pods from templates, given back by pods that are done, and left by pods whose devices are
//! tainted.
//!
//! Who allocates is the scheduler; drivers publish devices in ResourceSlices. `claim` and `eviction` are facts and decisions,
//! `lifecycle` and `taints` are the loops.

mod claim;
mod count;
mod eviction;
mod lifecycle;
mod make;
mod release;
mod taints;

pub(crate) use lifecycle::register;
pub(crate) use taints::register as register_taints;
