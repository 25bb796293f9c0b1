//! `healthCheckNodePort`: load balancers ask each node whether it has endpoints of a Service with a Local policy.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, sync::watch, task::JoinHandle};

use crate::{model::ServiceKey, state::State};

/// Load balancers probe every few seconds; more connections at once than this are an attack.
const MAX_CONNECTIONS: usize = 64;
/// A probe that sends nothing is cut off.
const PATIENCE: Duration = Duration::from_secs(10);

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
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = match TcpListener::bind(any).await {
        Ok(listener) => listener,
        // Without IPv6 in the kernel.
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await?,
    };
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (stream, _) = listener.accept().await?;
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let (service, endpoints) = (service.clone(), endpoints.clone());
        tokio::spawn(async move {
            let answer = hyper::service::service_fn(move |_| {
                let response = answer(&service, *endpoints.borrow());
                async move { Ok::<_, Infallible>(response) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
            let _ = tokio::time::timeout(PATIENCE, http.serve_connection(TokioIo::new(stream), answer)).await;
            drop(slot);
        });
    }
}

fn answer(service: &ServiceKey, endpoints: usize) -> Response<Full<Bytes>> {
    let body = serde_json::json!({
        "service": {"namespace": service.namespace, "name": service.name},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": true,
    });
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = if endpoints > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    headers.insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    headers.insert("x-load-balancing-endpoint-weight", http::HeaderValue::from(endpoints));
    response
}
