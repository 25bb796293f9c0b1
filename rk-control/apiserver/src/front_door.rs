//! The server as its own client: its writes take the way of everybody's.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use rk_api::resources::Resource;
use rk_api::status::{Reason, Status};
use serde_json::Value;

use crate::authn::User;
use crate::http::{Connection, Peer};
use crate::server::Core;

/// Writes through the front door, as the server itself, so that defaults, rules and allocation apply.
///
/// # Errors
/// What the server answered, with the object's name.
pub async fn write(
    core: &Arc<Core>,
    method: Method,
    resource: &Resource,
    subresource: &str,
    object: &Value,
) -> Result<(), Status> {
    let root = if resource.gvk.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.gvk.group) };
    let mut path = format!("{root}/{}", resource.gvk.version);
    let (namespace, name) = (rk_api::meta::namespace(object), rk_api::meta::name(object));
    if resource.namespaced() {
        path.push_str(&format!("/namespaces/{namespace}"));
    }
    path.push_str(&format!("/{}", resource.plural));
    if method == Method::PUT {
        path.push_str(&format!("/{}", name.replace(':', "%3A")));
    }
    if !subresource.is_empty() {
        path.push_str(&format!("/{subresource}"));
    }
    let body = Full::new(Bytes::from(object.to_string())).map_err(|never| match never {}).boxed_unsync();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::USER_AGENT, "kube-apiserver")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(Status::internal)?;
    let connection = Connection { peer: Peer::InProcess(Arc::new(User::apiserver())), address: None };
    let response = core.handle(request, &connection).await;
    if response.status().is_success() {
        return Ok(());
    }
    let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = format!("{} {name:?}: {}", resource.plural, rk_api::meta::text(&answer, &["message"]));
    let reason = match rk_api::meta::text(&answer, &["reason"]) {
        "AlreadyExists" => Reason::AlreadyExists,
        "Conflict" => Reason::Conflict,
        _ => Reason::InternalError,
    };
    Err(Status::new(reason, message))
}
