//! ComponentStatuses: nothing that is stored, but the answer to "is it well" under upstream's names.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::call::Call;
use super::list::Found;
use super::{list_body, render};
use crate::http::Body;
use crate::storage::Cached;

/// A Lease that was not renewed for this long has no living holder.
const STALE: Duration = Duration::from_secs(30);

/// A component's name and the Lease that its holder renews; the store has none.
const COMPONENTS: &[(&str, &str)] =
    &[("controller-manager", "kube-controller-manager"), ("etcd-0", ""), ("scheduler", "kube-scheduler")];

/// Serves GET of one.
pub(super) async fn get(call: &Call) -> Result<Response<Body>, Status> {
    let known = COMPONENTS.iter().find(|(name, _)| *name == call.path.name).ok_or_else(|| call.not_found())?;
    render::object(call, StatusCode::OK, &status_of(call, known).await)
}

/// Serves GET of all.
pub(super) async fn list(call: &Call) -> Result<Response<Body>, Status> {
    let revision = call.core.storage.progress();
    let mut objects = Vec::new();
    for component in COMPONENTS {
        objects.push(Arc::new(Cached::new(&call.hub, &status_of(call, component).await, revision)));
    }
    list_body::respond(call, Found { objects, revision, next: None, remaining: None }).await
}

async fn status_of(call: &Call, (name, lease): &(&str, &str)) -> Value {
    let judged = if lease.is_empty() { store(call).await } else { holder(call, lease).await };
    let condition = match judged {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(why) => json!({"type": "Healthy", "status": "False", "message": "Unhealthy", "error": why}),
    };
    json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]})
}

async fn store(call: &Call) -> Result<(), String> {
    call.core.storage.read(&call.hub, "", "health").await.map(drop).map_err(|status| status.message)
}

async fn holder(call: &Call, lease: &str) -> Result<(), String> {
    let found = call.core.object("coordination.k8s.io", "v1", "leases", "kube-system", lease).await;
    let found = found.map_err(|status| status.message)?.ok_or("nobody holds its Lease")?;
    let renewed: Option<jiff::Timestamp> = meta::text(&found, &["spec", "renewTime"]).parse().ok();
    let age = renewed.and_then(|at| Duration::try_from(jiff::Timestamp::now().duration_since(at)).ok());
    if age.is_some_and(|age| age < STALE) { Ok(()) } else { Err("its Lease was not renewed lately".to_owned()) }
}
