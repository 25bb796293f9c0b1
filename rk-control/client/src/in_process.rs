//! Clients that call the API server's own service instead of a socket.

use std::time::Instant;

use kube::client::Body;
use tower::{BoxError, Service, ServiceExt};

use crate::figures;

/// What stands for the host where there is none.
const HOST: &str = "in-process";

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
        let is_watch = request.uri().query().is_some_and(rk_watch::is_watch);
        async move {
            let begun = Instant::now();
            let answer = service.oneshot(request).await;
            // How soon a watch begins says nothing.
            if !is_watch {
                let labels = [("host", HOST), ("verb", method.as_str())];
                figures::observe("rest_client_request_duration_seconds", &labels, begun.elapsed());
            }
            let code = answer.as_ref().map_or_else(|_| "<error>".to_owned(), |own| own.status().as_u16().to_string());
            let labels = [("code", code.as_str()), ("host", HOST), ("method", method.as_str())];
            figures::count("rest_client_requests_total", &labels);
            answer
        }
    });
    kube::Client::new(counted, "default")
}
