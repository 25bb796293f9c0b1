//! Requests as they are counted: by labels of which there are few, whatever is asked for.

use std::time::Duration;

use http::{Method, Request};

use crate::meters::Meters;

/// Paths that are told by their first part.
const ROOTS: [&str; 14] = [
    "attach",
    "configz",
    "containerLogs",
    "exec",
    "flagz",
    "healthz",
    "logs",
    "metrics",
    "pods",
    "portForward",
    "run",
    "runningpods",
    "stats",
    "statusz",
];
/// Paths that are told as a whole.
const WHOLE: [&str; 3] = ["metrics/cadvisor", "metrics/probes", "metrics/resource"];
/// What lasts as long as its client likes.
const LONG: [&str; 3] = ["attach", "exec", "portForward"];
/// What is not told.
const OTHER: &str = "other";

/// Which server was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The one on the kubelet's port.
    ReadWrite,
    /// The plain one.
    ReadOnly,
}

/// A request, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    server: Server,
    method: &'static str,
    path: &'static str,
}

fn method(of: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|name| *name == of.as_str()).unwrap_or(OTHER)
}

fn path(of: &str) -> &'static str {
    let plain = of.trim_matches('/');
    let root = plain.split('/').next().unwrap_or_default();
    let whole = WHOLE.into_iter().find(|known| *known == plain);
    whole.or_else(|| ROOTS.into_iter().find(|known| *known == root)).unwrap_or(OTHER)
}

impl Counted {
    /// What is to be counted when it has been answered.
    pub fn of<B>(request: &Request<B>, server: Server) -> Self {
        Self { server, method: method(request.method()), path: path(request.uri().path()) }
    }

    /// It has been answered.
    pub fn answered(self, meters: &Meters, took: Duration) {
        let long = if LONG.contains(&self.path) { "true" } else { "false" };
        let server = match self.server {
            Server::ReadWrite => "readwrite",
            Server::ReadOnly => "readonly",
        };
        let labels = [long, self.method, self.path, server];
        meters.requests.add(&labels);
        meters.request_durations.observe(&labels, took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_asked_for_there_are_few_series() {
        for (asked, want) in [
            ("/metrics", "metrics"),
            ("/metrics/cadvisor/", "metrics/cadvisor"),
            ("/metrics/other", "metrics"),
            ("/stats/summary", "stats"),
            ("/logs/pods/", "logs"),
            ("/exec/ns/pod/container", "exec"),
            ("/", OTHER),
            ("/wp-login.php", OTHER),
        ] {
            assert_eq!(path(asked), want, "{asked}");
        }
        assert_eq!((method(&Method::GET), method(&Method::TRACE)), ("GET", OTHER));
    }
}
