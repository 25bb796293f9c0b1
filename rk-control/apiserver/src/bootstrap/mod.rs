//! What every cluster has from its first second: made when missing, repaired when damaged, at every start.

mod cluster_info;
mod kubernetes_service;
mod objects;
mod roles;

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use rk_api::resources::Resource;
use rk_api::status::{Reason, Status};
use serde_json::Value;

use crate::authn::User;
use crate::http::{Connection, Peer};
use crate::server::Core;

/// Objects written at once; they share the store's commits.
const AT_ONCE: usize = 32;

/// Makes everything.
pub(crate) async fn run(core: &Arc<Core>) -> Result<(), Status> {
    ensure_all(core, objects::namespaces()).await?;
    ensure_all(core, objects::classes(core)).await?;
    roles::reconcile(core).await?;
    kubernetes_service::reconcile(core).await?;
    cluster_info::reconcile(core).await?;
    core.health.set_bootstrapped();
    tracing::info!("the cluster's own objects are in place");
    Ok(())
}

/// One object to be there: group, version, plural, then the object.
type Wanted = (&'static str, &'static str, &'static str, Value);

async fn ensure_all(core: &Arc<Core>, objects: Vec<Wanted>) -> Result<(), Status> {
    let writes = objects.into_iter().map(|(group, version, plural, object)| {
        let core = Arc::clone(core);
        async move { ensure(&core, group, version, plural, object).await }
    });
    stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Creates an object unless one of its name exists.
async fn ensure(core: &Arc<Core>, group: &str, version: &str, plural: &str, object: Value) -> Result<(), Status> {
    let (namespace, name) = (rk_api::meta::namespace(&object), rk_api::meta::name(&object));
    if core.object(group, version, plural, namespace, name).await?.is_some() {
        return Ok(());
    }
    let resource = core.resource(group, version, plural)?;
    match write(core, Method::POST, &resource, &object).await {
        Err(status) if status.reason == Reason::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Replaces an object with a changed copy of itself.
async fn replace(core: &Arc<Core>, group: &str, version: &str, plural: &str, object: &Value) -> Result<(), Status> {
    let resource = core.resource(group, version, plural)?;
    write(core, Method::PUT, &resource, object).await
}

/// Writes through the front door, as the server itself, so that defaults, rules and allocation apply.
async fn write(core: &Arc<Core>, method: Method, resource: &Resource, object: &Value) -> Result<(), Status> {
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
