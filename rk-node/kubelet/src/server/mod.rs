//! The kubelet's HTTPS server on :10250, the plain health endpoint on loopback, and a plain port to read from when one is
//! configured.
//!
//! Every request is authenticated (client certificate of the cluster's CA, or a bearer token by TokenReview) and authorized
//! (SubjectAccessReview on `nodes/<subresource>`), `/healthz` on the loopback port and the few paths of the read-only port aside.

mod auth;
mod body;
mod cadvisor;
mod checkpoint;
mod configz;
mod container_logs;
mod flagz;
mod gauges;
mod health;
mod listen;
mod machine;
mod meters;
mod metrics;
mod node_logs;
mod pages;
mod params;
mod pod_counts;
mod process;
mod rates;
mod read_only;
mod relay;
mod requests;
mod routes;
mod stats;
mod statusz;
mod streaming;
mod summary;
mod whole;
mod zpages;

pub use listen::{serve, serve_healthz, serve_read_only};
pub use routes::State;
