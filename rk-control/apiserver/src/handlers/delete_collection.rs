//! DELETE of a collection.

use http::{Response, StatusCode};
use rk_api::status::{Reason, Status};
use serde_json::json;

use super::call::Call;
use super::delete::warn_of_orphans;
use super::list;
use super::options::DeleteOptions;
use super::remove::{Removed, remove};
use super::render;
use crate::conversion;
use crate::http::{Body, read_body};

/// Serves DELETE of a collection: each object that the selectors match is deleted as if by itself.
pub(super) async fn delete_collection(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let body = read_body(body).await?;
    let options = DeleteOptions::parse(&call.headers, &call.query, &body)?;
    warn_of_orphans(call, &options);
    let found = list::find(call).await?;
    let outer = call.path.namespace.clone();
    let mut items = Vec::with_capacity(found.objects.len());
    for object in &found.objects {
        call.path.namespace = object.namespace.to_string();
        match remove(call, &object.name, &options).await {
            Ok(Removed::Gone(value) | Removed::Waiting(value)) => items.push(value),
            Err(status) if status.reason == Reason::NotFound => {}
            Err(status) => return Err(status),
        }
    }
    call.path.namespace = outer;
    let items = conversion::all_to(&call.core, items, &call.resource).await?;
    let answer = json!({
        "kind": call.resource.list_kind(),
        "apiVersion": call.resource.api_version(),
        "metadata": {"resourceVersion": found.revision.to_string()},
        "items": items,
    });
    render::object(call, StatusCode::OK, &answer)
}
