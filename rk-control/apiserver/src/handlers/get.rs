//! GET of one object.

use http::Response;
use rk_api::status::Status;

use super::call::Call;
use super::{list, render};
use crate::http::{Body, Subject};

/// Serves GET of one object. `resourceVersion` means "not older than", `0` whatever the cache has.
pub(super) async fn get(call: &Call) -> Result<Response<Body>, Status> {
    // What the client does not take is not looked for.
    call.accept(Subject::Object)?;
    match call.query.text("resourceVersion") {
        "" => {
            call.core.storage.fresh().await?;
        }
        "0" => {}
        text => {
            call.core.storage.wait_for(list::parse_version(text)?).await?;
        }
    }
    let cache = call.core.storage.cache(&call.hub).await?;
    let object = cache.get(&call.path.namespace, &call.path.name).ok_or_else(|| call.not_found())?;
    render::cached(call, &object).await
}
