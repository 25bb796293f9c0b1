//! DELETE of a collection.

use http::Response;
use rk_api::status::{Reason, Status};
use serde_json::json;

use super::call::Call;
use super::delete::warn_of_orphans;
use super::options::DeleteOptions;
use super::remove::remove;
use super::{list, list_body};
use crate::conversion;
use crate::http::{Body, read_body};

/// Serves DELETE of a collection: each object that the selectors match is deleted as if by itself.
pub(super) async fn delete_collection(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let body = read_body(body).await?;
    let options = DeleteOptions::parse(&call.headers, &call.query, &body)?;
    warn_of_orphans(call, &options);
    let found = list::find(call).await?;
    let outer = call.path.namespace.clone();
    for object in &found.objects {
        call.path.namespace = object.namespace.to_string();
        match remove(call, &object.name, &options).await {
            Err(status) if status.reason != Reason::NotFound => return Err(status),
            Ok(_) | Err(_) => {}
        }
    }
    call.path.namespace = outer;
    // The answer tells what was found, not what became of it.
    let items = found.objects.iter().map(|object| object.value()).collect();
    let items = conversion::all_to(&call.core, items, &call.resource).await?;
    list_body::of_values(call, items, &json!({"resourceVersion": found.revision.to_string()}))
}
