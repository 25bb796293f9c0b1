//! The proxy verbs: requests to pods, Services and nodes through the server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{HOST, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use rk_api::meta;
use rk_api::status::{Reason, Status};
use serde_json::Value;

use super::dial::{connect, is_forbidden};
use super::endpoints::pod_endpoint;
use super::forward::{forward, is_upgrade};
use super::rewrite::rewrite;
use super::{kubelet, tls};
use crate::handlers::Call;
use crate::http::{Body, bytes_response};

/// `[scheme:]name[:port]`, as proxy paths name their target.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

impl<'a> Target<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let target = match parts.as_slice() {
            [name] => Self { scheme: "", name, port: "" },
            [name, port] => Self { scheme: "", name, port },
            [scheme @ ("http" | "https" | ""), name, port] => Self { scheme, name, port },
            _ => return None,
        };
        Some(target).filter(|target| !target.name.is_empty())
    }
}

/// Where a request goes.
struct Backend {
    address: SocketAddr,
    tls: Option<Arc<rustls::ClientConfig>>,
}

pub(super) async fn serve(call: &Call, method: &Method, request: Request<Body>) -> Result<Response<Body>, Status> {
    let rest = call.path.rest.as_str();
    if rest.is_empty() && matches!(*method, Method::GET | Method::HEAD) {
        // Relative links in the backend's pages need the slash.
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let location = format!("{}/{query}", request.uri().path());
        let mut response = bytes_response(StatusCode::MOVED_PERMANENTLY, "text/plain", bytes::Bytes::new());
        let location =
            HeaderValue::from_str(&location).map_err(|_| Status::bad_request("the path cannot be redirected"))?;
        response.headers_mut().insert(LOCATION, location);
        return Ok(response);
    }
    let invalid = || {
        let kind = call.resource.gvk.kind.to_lowercase();
        Status::bad_request(format!("invalid {kind} request {:?}", call.path.name))
    };
    let target = Target::parse(&call.path.name).ok_or_else(invalid)?;
    let backend = match &*call.resource.plural {
        "pods" => pod(call, &target).await?,
        "services" => service(call, &target).await?,
        _ => node(call, &target).await?,
    };
    if is_forbidden(backend.address.ip()) {
        return Err(Status::bad_request("address not allowed"));
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = if rest.is_empty() { "/" } else { rest };
    let path = format!("{path}{query}");
    let whole = request.uri().path();
    let prefix = whole.strip_suffix(rest).unwrap_or_default().trim_end_matches('/').to_owned();
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(|a| a.as_str())).unwrap_or_default().to_owned();
    let upgrade = is_upgrade(request.headers());
    let sender = connect(backend.address, backend.tls)
        .await
        .map_err(|unreached| if upgrade { unreached.by_upgrade() } else { unreached.by_request() })?;
    let answer = forward(sender, backend.address, &path, request).await?;
    // An answer without a page keeps its headers, the page's length among them.
    let has_page = *method != Method::HEAD && answer.status() != StatusCode::SWITCHING_PROTOCOLS;
    Ok(if has_page { rewrite(answer, &prefix, &host).await } else { answer })
}

async fn object(call: &Call, name: &str) -> Result<Value, Status> {
    let found = call.core.storage.get(&call.hub, &call.path.namespace, name).await?;
    found.map(|object| object.value()).ok_or_else(|| Status::not_found(&call.resource, name))
}

fn tls_of(scheme: &str) -> Result<Option<Arc<rustls::ClientConfig>>, Status> {
    (scheme == "https").then(tls::to_anybody).transpose()
}

async fn node(call: &Call, target: &Target<'_>) -> Result<Backend, Status> {
    let mut address = kubelet::address(&call.core, target.name).await?;
    match target.port {
        "" => Ok(Backend { address, tls: Some(call.core.kubelets.tls()) }),
        port => {
            address.set_port(number(port)?);
            let tls = match address.port() {
                10250 => Some(call.core.kubelets.tls()),
                _ => tls_of(target.scheme)?,
            };
            Ok(Backend { address, tls })
        }
    }
}

fn number(port: &str) -> Result<u16, Status> {
    port.parse().map_err(|_| Status::bad_request(format!("invalid port {port:?}")))
}

async fn pod(call: &Call, target: &Target<'_>) -> Result<Backend, Status> {
    let pod = object(call, target.name).await?;
    let ip: IpAddr =
        meta::text(&pod, &["status", "podIP"]).parse().map_err(|_| Status::bad_request("address not allowed"))?;
    let port = match target.port {
        "" => first_container_port(&pod).unwrap_or(80),
        port => number(port)?,
    };
    Ok(Backend { address: SocketAddr::new(ip, port), tls: tls_of(target.scheme)? })
}

fn first_container_port(pod: &Value) -> Option<u16> {
    let containers = meta::at(pod, &["spec", "containers"]).as_array()?;
    let port = containers
        .iter()
        .find_map(|container| container.get("ports")?.as_array()?.first()?.get("containerPort")?.as_u64())?;
    u16::try_from(port).ok()
}

/// One ready endpoint of a Service, by port name or number.
async fn service(call: &Call, target: &Target<'_>) -> Result<Backend, Status> {
    let service = object(call, target.name).await?;
    let none =
        || Status::new(Reason::ServiceUnavailable, format!("no endpoints available for service {:?}", call.path.name));
    let address = pod_endpoint(&call.core, &service, target.port).await?.ok_or_else(none)?;
    Ok(Backend { address, tls: tls_of(target.scheme)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_name_and_perhaps_scheme_and_port() {
        assert_eq!(Target::parse("web"), Some(Target { scheme: "", name: "web", port: "" }));
        assert_eq!(Target::parse("web:80"), Some(Target { scheme: "", name: "web", port: "80" }));
        assert_eq!(Target::parse("https:web:443"), Some(Target { scheme: "https", name: "web", port: "443" }));
        for invalid in ["ftp:web:1", ":80", "http::80", "", "a:b:c:d"] {
            assert_eq!(Target::parse(invalid), None, "{invalid}");
        }
    }
}
