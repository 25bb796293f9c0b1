//! DELETE of a collection.

use http::Response;
use rk_api::status::{Reason, Status};

use super::call::Call;
use super::delete::warn_of_orphans;
use super::options::DeleteOptions;
use super::remove::remove;
use super::{list, list_body};
use crate::http::Body;

/// Serves DELETE of a collection: each object that the selectors match is deleted as if by itself. The answer is the list as it was found.
pub(super) async fn delete_collection(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let body = call.read(body).await?;
    let options = DeleteOptions::parse(&call.headers, &call.query, &body)?;
    warn_of_orphans(call, &options);
    let found = list::find(call).await?;
    let outer = call.path.namespace.clone();
    for object in &found.objects {
        call.path.namespace = object.namespace.to_string();
        match remove(call, &object.name, &options).await {
            Err(status) if status.reason != Reason::NotFound => return Err(status),
            _ => {}
        }
    }
    call.path.namespace = outer;
    list_body::respond(call, found).await
}
