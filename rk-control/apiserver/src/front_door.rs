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
    let (namespace, name) = (rk_api::meta::namespace(object), rk_api::meta::name(object));
    let mut path = collection(resource, namespace);
    if method == Method::PUT {
        path.push_str(&format!("/{}", name.replace(':', "%3A")));
    }
    if !subresource.is_empty() {
        path.push_str(&format!("/{subresource}"));
    }
    send(core, method, &path, resource, name, object.to_string()).await
}

/// Deletes an object, in the background where it has dependents.
///
/// # Errors
/// What the server answered, with the object's name.
pub async fn remove(core: &Arc<Core>, resource: &Resource, namespace: &str, name: &str) -> Result<(), Status> {
    let path = format!("{}/{name}?propagationPolicy=Background", collection(resource, namespace));
    send(core, Method::DELETE, &path, resource, name, String::new()).await
}

fn collection(resource: &Resource, namespace: &str) -> String {
    let root = if resource.gvk.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.gvk.group) };
    let scope = if resource.namespaced() { format!("/namespaces/{namespace}") } else { String::new() };
    format!("{root}/{}{scope}/{}", resource.gvk.version, resource.plural)
}

async fn send(
    core: &Arc<Core>,
    method: Method,
    path: &str,
    resource: &Resource,
    name: &str,
    body: String,
) -> Result<(), Status> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
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
        "NotFound" => Reason::NotFound,
        _ => Reason::InternalError,
    };
    Err(Status::new(reason, message))
}
