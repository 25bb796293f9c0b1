//! The kubelet's HTTPS server on :10250, and the plain health endpoint on loopback.
//!
//! Every request is authenticated (client certificate of the cluster's CA, or a bearer token by TokenReview) and authorized
//! (SubjectAccessReview on `nodes/<subresource>`), `/healthz` on the loopback port aside.

mod auth;
mod body;
mod cadvisor;
mod configz;
mod container_logs;
mod listen;
mod machine;
mod metrics;
mod params;
mod rates;
mod routes;
mod stats;
mod streaming;
mod summary;

pub use listen::{serve, serve_healthz};
pub use routes::State;
