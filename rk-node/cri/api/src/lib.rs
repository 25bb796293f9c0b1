//! Container Runtime Interface v1 as of Kubernetes v1.36: messages, client and server stubs, and [`connect`].
//!
//! The definitions in `proto/` are wire compatible with package `runtime.v1` of `k8s.io/cri-api`; Windows-only fields are
//! reserved there, which by proto3's rule means that a peer may send them and they are skipped.

mod connect;
mod redact;
mod text;

/// Everything generated from `proto/`, package `runtime.v1`.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

pub use connect::{MAX_MESSAGE_BYTES, connect};
pub use v1::image_service_client::ImageServiceClient;
pub use v1::image_service_server::{ImageService, ImageServiceServer};
pub use v1::runtime_service_client::RuntimeServiceClient;
pub use v1::runtime_service_server::{RuntimeService, RuntimeServiceServer};
