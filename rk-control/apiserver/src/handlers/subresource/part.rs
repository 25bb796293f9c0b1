//! Subresources that are a part of the object: status, ephemeralcontainers, resize, approval, finalize.

use http::Response;
use rk_api::resources::Verb;
use rk_api::status::Status;

use super::super::call::Call;
use super::super::options::WriteOptions;
use super::super::write::fix_namespace;
use super::super::{get, patch, render, update};
use crate::http::Body;

pub(super) async fn serve(call: &mut Call, verb: Verb, body: Body) -> Result<Response<Body>, Status> {
    let subresource = call.path.subresource.clone();
    match verb {
        Verb::Get => get::get(call).await,
        Verb::Patch => {
            let (code, object) = patch::patch_object(call, body, Some(&subresource)).await?;
            render::object(call, code, &object)
        }
        _ => {
            let options = WriteOptions::parse(call)?;
            let body = call.read(body).await?;
            let mut object = call.decode(&body, options.validation)?;
            fix_namespace(call, &mut object)?;
            let (code, stored) = update::put(call, &options, object, Some(&subresource)).await?;
            render::object(call, code, &stored)
        }
    }
}
