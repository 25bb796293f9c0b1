//! Clients that call the API server's own service instead of a socket.

use kube::client::Body;
use tower::{BoxError, Service};

/// Builds a client on an in-process HTTP service. The service decides who the caller is: it is made for one identity.
///
/// Must be called inside a tokio runtime (the client keeps a bounded request buffer in a task).
pub fn in_process<S, B>(service: S) -> kube::Client
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    kube::Client::new(service, "default")
}
