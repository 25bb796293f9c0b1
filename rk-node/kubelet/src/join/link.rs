//! The connection to the API server: one pool of HTTP/1.1 over TLS connections whose client certificate can be replaced.
//!
//! Host names are resolved by rk-resolve: a static glibc's `getaddrinfo` loads NSS modules and may crash.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use http::{
    HeaderValue, Request, Uri,
    header::{AUTHORIZATION, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use rustls::ClientConfig;

use super::pki::{Identity, PkiError};
use super::tls;
use crate::meters::LinkMeters;

/// A dead peer is noticed after `KEEPALIVE + INTERVAL * RETRIES`, well inside the Lease's 40 s.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_RETRIES: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections kept for a while when nobody uses them: what a burst of pods uses at once, since each new one costs both sides a handshake.
const IDLE: usize = 16;

/// Why no client could be built.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The endpoint is not a URL that can be used.
    #[error("cluster.endpoint {endpoint:?} is not usable: {reason}")]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The certificates cannot be used.
    #[error("the certificates cannot be used")]
    Pki(#[from] PkiError),
    /// The token cannot be a header.
    #[error("the token has characters that a header cannot carry")]
    Token,
}

type TlsPool = Pool<HttpsConnector<HttpConnector<Resolver>>, Body>;

/// A cloneable handle of the connection pool.
#[derive(Clone)]
pub struct ApiLink {
    base: Uri,
    ca_pem: Arc<str>,
    authorization: Option<HeaderValue>,
    pool: Arc<RwLock<TlsPool>>,
    /// What is counted of it.
    pub(crate) meters: Arc<LinkMeters>,
}

impl ApiLink {
    /// A link that verifies the server against `ca_pem` and authenticates by `identity` or `token`.
    pub fn new(
        endpoint: &str,
        ca_pem: &str,
        identity: Option<&Identity>,
        token: Option<&str>,
    ) -> Result<Self, LinkError> {
        Self::with_tls(endpoint, ca_pem, tls::client_config(ca_pem, identity)?, token)
    }

    /// A link that accepts any server; only for reading what is then checked against a pin.
    pub fn unverified(endpoint: &str) -> Result<Self, LinkError> {
        Self::with_tls(endpoint, "", tls::any_server()?, None)
    }

    fn with_tls(endpoint: &str, ca_pem: &str, config: ClientConfig, token: Option<&str>) -> Result<Self, LinkError> {
        let unusable = |reason: String| LinkError::Endpoint { endpoint: endpoint.to_owned(), reason };
        let base: Uri = endpoint.parse().map_err(|e: http::uri::InvalidUri| unusable(e.to_string()))?;
        if base.host().is_none() || base.scheme_str() != Some("https") {
            return Err(unusable("it must look like https://HOST:PORT".into()));
        }
        let authorization = match token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| LinkError::Token)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let pool = Arc::new(RwLock::new(pool(config)));
        Ok(Self { base, ca_pem: ca_pem.into(), authorization, pool, meters: Arc::default() })
    }

    /// Shows `identity` on every new connection; connections made before end with their running requests.
    pub fn replace_identity(&self, identity: &Identity) -> Result<(), LinkError> {
        let fresh = pool(tls::client_config(&self.ca_pem, Some(identity))?);
        *self.pool.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// A Kubernetes client over this link.
    pub fn client(&self) -> kube::Client {
        let link = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let link = link.clone();
            async move {
                let pool = link.pool.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
                let request = link.address(request)?;
                let (method, is_watch) =
                    (request.method().clone(), request.uri().query().is_some_and(rk_watch::is_watch));
                let begun = Instant::now();
                let answer = pool.request(request).await;
                let host = link.base.authority().map_or("", |authority| authority.as_str());
                let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
                link.meters.called(host, method.as_str(), code, is_watch, begun.elapsed());
                answer.map_err(tower::BoxError::from)
            }
        });
        kube::Client::new(service, "default")
    }

    /// The host of the endpoint.
    pub fn host(&self) -> Option<&str> {
        self.base.host()
    }

    fn address(&self, request: Request<Body>) -> Result<Request<Body>, tower::BoxError> {
        let (mut parts, body) = request.into_parts();
        let prefix = self.base.path().trim_end_matches('/');
        let path = parts.uri.path_and_query().map(|p| p.as_str()).unwrap_or("/");
        let mut uri = self.base.clone().into_parts();
        uri.path_and_query = Some(format!("{prefix}{path}").parse()?);
        parts.uri = Uri::from_parts(uri)?;
        // Fields that it writes are its own by this name.
        parts.headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("kubelet"));
        if let Some(value) = &self.authorization {
            parts.headers.insert(AUTHORIZATION, value.clone());
        }
        Ok(Request::from_parts(parts, body))
    }
}

/// Connections to servers that are not the API's.
pub(crate) type WebConnector = HttpsConnector<HttpConnector<Resolver>>;

/// Connects to servers in the clear, and over TLS to those that the public authorities or `ca_pem` vouch for.
pub(crate) fn web_connector(ca_pem: &str) -> Result<WebConnector, PkiError> {
    let config = tls::public_servers(ca_pem)?;
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(http()))
}

fn http() -> HttpConnector<Resolver> {
    let mut http = HttpConnector::new_with_resolver(Resolver);
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    http.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    http.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT));
    http
}

fn pool(config: ClientConfig) -> TlsPool {
    let https = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().wrap_connector(http());
    Pool::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(IDLE)
        .build(https)
}

/// Resolves names through the servers of `/etc/resolv.conf`, read anew each time: the file changes with DHCP.
#[derive(Clone, Copy)]
pub(crate) struct Resolver;

impl tower::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = tower::BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let found = rk_resolve::lookup(name.as_str()).await?;
            // The port is filled in by the connector.
            Ok(found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>().into_iter())
        })
    }
}
