//! The control plane as a process of its own, as its clients and kubectl see it.
//!
//! One program, since each would be linked with a client of every kind.

mod account_tokens;
mod autoscale;
mod behaviours;
mod claims_bound;
mod clock;
mod cluster;
mod devices;
mod encryption;
mod endpoints;
mod lifecycle;
mod lives;
mod ordered;
mod places;
mod replicas;
mod storage;
mod two_planes;
mod workloads;
