//! The read-only port: what anybody may read who can reach the node. Nothing that changes, runs or logs anything.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::{Body, text};
use super::requests::{Counted, Server};
use super::routes::{self, State};

/// The whole of it; every other path is unknown here.
const PATHS: [&str; 7] =
    ["/healthz", "/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes", "/stats/summary", "/pods"];

/// Why a request is not answered here, if it is not.
fn refused(method: &Method, path: &str) -> Option<(StatusCode, &'static str)> {
    // Upstream's paths end with a slash for some clients.
    let plain = path.strip_suffix('/').unwrap_or(path);
    if !PATHS.contains(&plain) {
        return Some((StatusCode::NOT_FOUND, "404 page not found\n"));
    }
    (method != Method::GET).then_some((StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n"))
}

/// Handles one request, whoever sends it.
pub async fn handle(state: Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let (counted, begun) = (Counted::of(&request, Server::ReadOnly), Instant::now());
    let response = answer(&state, request).await;
    counted.answered(&state.context.runtime.meters, begun.elapsed());
    response
}

async fn answer(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if let Some((status, message)) = refused(request.method(), &path) {
        return text(status, message);
    }
    routes::route(state, request, &path).await.unwrap_or_else(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reading_of_a_few_paths_is_answered() {
        for path in PATHS {
            assert_eq!(refused(&Method::GET, path), None, "{path}");
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS] {
                let status = refused(&method, path).map(|(status, _)| status);
                assert_eq!(status, Some(StatusCode::METHOD_NOT_ALLOWED), "{method} {path}");
            }
        }
        assert_eq!(refused(&Method::GET, "/pods/"), None);
        for path in [
            "/",
            "",
            "//pods",
            "/pods//",
            "/podsx",
            "/runningpods",
            "/configz",
            "/flagz",
            "/healthz/ping",
            "/metrics/other",
            "/stats",
            "/containerLogs/ns/web/main",
            "/exec/ns/web/main",
            "/run/ns/web/main",
            "/attach/ns/web/main",
            "/portForward/ns/web",
        ] {
            for method in [Method::GET, Method::POST] {
                let status = refused(&method, path).map(|(status, _)| status);
                assert_eq!(status, Some(StatusCode::NOT_FOUND), "{method} {path}");
            }
        }
    }
}
