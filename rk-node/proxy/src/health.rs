//! `healthCheckNodePort`: load balancers ask each node whether it has endpoints of a Service with a Local policy.

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::{sync::watch, task::JoinHandle};

use crate::pages::{self, page};
use crate::{model::ServiceKey, state::State, status::Pace};

/// One listener for each Service that wants one.
pub(crate) struct HealthServers {
    running: HashMap<u16, Server>,
    pace: watch::Receiver<Pace>,
}

struct Server {
    service: ServiceKey,
    endpoints: watch::Sender<usize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HealthServers {
    /// None yet. They will tell by `pace` whether the proxy keeps up.
    pub fn new(pace: watch::Receiver<Pace>) -> Self {
        Self { running: HashMap::new(), pace }
    }

    /// Makes the listeners equal to what the plans want.
    pub fn sync(&mut self, state: &State) {
        let wanted: HashMap<u16, (&ServiceKey, usize)> = state
            .plans()
            .filter_map(|(key, plan)| plan.health.as_ref().map(|h| (h.port, (key, h.local_endpoints))))
            .collect();
        self.running.retain(|port, server| {
            // A listener that could not bind has ended; it is tried again.
            wanted.get(port).is_some_and(|(key, _)| **key == server.service) && !server.task.is_finished()
        });
        for (port, (key, count)) in wanted {
            match self.running.get(&port) {
                Some(server) => drop(server.endpoints.send_replace(count)),
                None => {
                    let server = Server::start(port, key.clone(), count, self.pace.clone());
                    self.running.insert(port, server);
                }
            }
        }
    }
}

impl Server {
    fn start(port: u16, service: ServiceKey, count: usize, pace: watch::Receiver<Pace>) -> Self {
        let (endpoints, watched) = watch::channel(count);
        let named = service.clone();
        let task = tokio::spawn(
            async move {
                if let Err(error) = serve(port, &named, watched, pace).await {
                    tracing::warn!(service = %named, port, %error, "health check port cannot be served");
                }
            }
            .boxed(),
        );
        Self { service, endpoints, task }
    }
}

async fn serve(
    port: u16,
    service: &ServiceKey,
    endpoints: watch::Receiver<usize>,
    pace: watch::Receiver<Pace>,
) -> std::io::Result<()> {
    let service = service.clone();
    let answer = move |_: &str| answer(&service, *endpoints.borrow(), pace.borrow().keeps_up(Instant::now()));
    pages::serve(pages::everywhere(port).await?, answer).await
}

/// Connections are to come to a node that has endpoints, and a proxy whose rules lead there.
fn answer(service: &ServiceKey, endpoints: usize, keeps_up: bool) -> Response<Full<Bytes>> {
    let body = serde_json::json!({
        "service": {"namespace": service.namespace, "name": service.name},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": keeps_up,
    });
    let status = if endpoints > 0 && keeps_up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = page(status, "application/json", body.to_string());
    let headers = response.headers_mut();
    headers.insert("x-load-balancing-endpoint-weight", http::HeaderValue::from(endpoints));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_to_come_where_endpoints_are_and_the_proxy_keeps_up() {
        let service = ServiceKey { namespace: "ns".into(), name: "web".into() };
        for (endpoints, keeps_up, status) in [(2, true, 200), (0, true, 503), (2, false, 503)] {
            let response = answer(&service, endpoints, keeps_up);
            assert_eq!(response.status(), status, "{endpoints} {keeps_up}");
            assert_eq!(response.headers()["x-load-balancing-endpoint-weight"], endpoints.to_string());
        }
    }
}
