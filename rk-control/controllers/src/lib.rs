//! The control loops of Kubernetes, each a client of the API and nothing else.
//!
//! [`run`] starts them all over one set of shared informers. A loop is level-triggered: it is given a key, compares
//! what the caches show with what the object asks for, and writes the difference. Decisions are pure functions in
//! files of their own; `mod.rs` (or the file of the controller) holds the loop.
//!
//! Invariants: a controller never writes an object that it does not manage without a uid or resourceVersion
//! precondition; every write goes through an informer where there is one, so that the next run sees it.

mod account_tokens;
mod autoscale;
mod claim;
mod context;
mod cronjob;
mod csr;
mod daemonset;
mod deployment;
mod devices;
mod discovery;
mod disruption;
mod endpoints;
mod endpointslice;
mod gc;
mod hash;
mod history;
mod job;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod node_selector;
mod pod_gc;
mod pods;
mod quota;
mod remove;
mod replicas;
mod role_aggregation;
mod root_ca;
mod run;
mod serviceaccount;
mod stale_tokens;
mod statefulset;
mod taint_eviction;
mod tokens;
mod ttl;
mod volumes;

pub use context::{Authority, Config, PodRange};
pub use run::run;
