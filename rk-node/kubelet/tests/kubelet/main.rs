//! The kubelet between a real control plane and a runtime in memory.
//!
//! One program, since each would be linked with all of the kubelet: tests share its process, so none may change what is the
//! process' own.

mod claims;
mod devices;
mod drivers;
mod itself;
mod local;
mod loopback;
mod pod_url;
mod preemption;
mod resize;
mod restarts;
mod rounds;
mod server;
mod shutdown;
mod support;
mod volumes;
