//! PUT of an object.

use http::{Response, StatusCode};
use rk_api::meta;
use rk_api::status::Status;
use rk_api::strategy;
use serde_json::Value;

use super::call::Call;
use super::create::change_or_create;
use super::options::WriteOptions;
use super::render;
use super::write::{Intent, change, check_name, fix_namespace, name_owners_once, precondition_failed};
use crate::http::Body;

/// Serves PUT.
pub(super) async fn update(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let options = WriteOptions::parse(call)?;
    let body = call.read(body).await?;
    let mut object = call.decode(&body, options.validation)?;
    name_owners_once(&mut object, "", &mut call.warnings);
    fix_namespace(call, &mut object)?;
    let (code, stored) = put(call, &options, object, None).await?;
    render::object(call, code, &stored)
}

/// Replaces the object, or creates it where the kind allows that.
pub(super) async fn put(
    call: &mut Call,
    options: &WriteOptions,
    object: Value,
    subresource: Option<&str>,
) -> Result<(StatusCode, Value), Status> {
    // Before anything is looked for: what is made where nothing is must be what the right to make it was asked for.
    check_name(call, &object)?;
    let uid = meta::uid(&object);
    let intent = Intent { compute: &|_| Ok(object.clone()), subresource, owned: false, conditional: true, uid };
    if subresource.is_some() || !strategy::allow_create_on_update(&call.hub) {
        return Ok((StatusCode::OK, change(call, options, &intent).await?));
    }
    let make = |call: &Call| {
        if uid.is_empty() {
            return Ok(object.clone());
        }
        Err(precondition_failed(call, &call.path.name, "UID", (uid, "")))
    };
    change_or_create(call, options, &intent, make).await
}
