//! `healthCheckNodePort`: load balancers ask each node whether it has endpoints of a Service with a Local policy.

use std::collections::HashMap;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::{sync::watch, task::JoinHandle};

use crate::pages::{self, page};
use crate::{model::ServiceKey, state::State};

/// One listener for each Service that wants one.
#[derive(Default)]
pub(crate) struct HealthServers {
    running: HashMap<u16, Server>,
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
                None => drop(self.running.insert(port, Server::start(port, key.clone(), count))),
            }
        }
    }
}

impl Server {
    fn start(port: u16, service: ServiceKey, count: usize) -> Self {
        let (endpoints, watched) = watch::channel(count);
        let named = service.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = serve(port, &named, watched).await {
                tracing::warn!(service = %named, port, %error, "health check port cannot be served");
            }
        });
        Self { service, endpoints, task }
    }
}

async fn serve(port: u16, service: &ServiceKey, endpoints: watch::Receiver<usize>) -> std::io::Result<()> {
    let service = service.clone();
    pages::serve(pages::everywhere(port).await?, move |_| answer(&service, *endpoints.borrow())).await
}

fn answer(service: &ServiceKey, endpoints: usize) -> Response<Full<Bytes>> {
    let body = serde_json::json!({
        "service": {"namespace": service.namespace, "name": service.name},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": true,
    });
    let status = if endpoints > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = page(status, "application/json", body.to_string());
    let headers = response.headers_mut();
    headers.insert("x-load-balancing-endpoint-weight", http::HeaderValue::from(endpoints));
    response
}
