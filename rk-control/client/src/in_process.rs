//! Clients that call the API server's own service instead of a socket.

use kube::client::Body;
use tower::{BoxError, Service, ServiceExt};

use crate::figures;

/// Builds a client on an in-process HTTP service. The service decides who the caller is: it is made for one identity.
///
/// Must be called inside a tokio runtime (the client keeps a bounded request buffer in a task).
pub fn in_process<S, B>(service: S) -> kube::Client
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let counted = tower::service_fn(move |request: http::Request<Body>| {
        let (service, method) = (service.clone(), request.method().clone());
        async move {
            let answer = service.oneshot(request).await;
            let code = answer.as_ref().map_or_else(|_| "<error>".to_owned(), |own| own.status().as_u16().to_string());
            let labels = [("code", code.as_str()), ("host", "in-process"), ("method", method.as_str())];
            figures::count("rest_client_requests_total", &labels);
            answer
        }
    });
    kube::Client::new(counted, "default")
}
