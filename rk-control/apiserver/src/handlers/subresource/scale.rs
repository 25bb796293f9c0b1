//! The scale subresource: replicas seen through `autoscaling/v1` Scale.

use http::{Response, StatusCode};
use rk_api::decode;
use rk_api::resources::{GroupVersionKind, Verb};
use rk_api::scale;
use rk_api::schema::Schema;
use rk_api::status::Status;
use serde_json::Value;

use super::super::call::Call;
use super::super::options::WriteOptions;
use super::super::patch::Patch;
use super::super::render;
use super::super::write::{Intent, change};
use crate::conversion;
use crate::http::{Body, read_body};

/// Computes the new workload from the present one.
type Compute = Box<dyn Fn(&Value) -> Result<Value, Status> + Send + Sync>;

pub(super) async fn serve(call: &mut Call, verb: Verb, body: Body) -> Result<Response<Body>, Status> {
    let gvk = GroupVersionKind::new("autoscaling", "v1", "Scale");
    if verb == Verb::Get {
        let object = call.core.storage.get(&call.hub, &call.path.namespace, &call.path.name).await?;
        let object = object.ok_or_else(|| call.not_found())?;
        let object = conversion::to(&call.core, object.value(), &call.resource).await?;
        return render::object(call, StatusCode::OK, &scale::view(&call.resource, &object)?);
    }
    let resource = std::sync::Arc::clone(&call.resource);
    let compute: Compute = if verb == Verb::Update {
        let (_, wanted) = super::decode(call, body, &gvk).await?;
        Box::new(move |present| scale::apply(&resource, present, &wanted))
    } else {
        let body = read_body(body).await?;
        let patch = Patch::parse(call, &body)?;
        let schema = Schema::of_kind(&gvk).unwrap_or(Schema::ANY);
        if let Patch::Apply(config, _) = patch {
            // A Scale has no lists and one writable field: applying it is merging it.
            Box::new(move |present| {
                let view = scale::view(&resource, present)?;
                scale::apply(&resource, present, &Patch::Merge(config.clone()).apply_to(&view, &schema)?)
            })
        } else {
            Box::new(move |present| {
                let patched = patch.apply_to(&scale::view(&resource, present)?, &schema)?;
                let fitted = decode::finish(patched, Vec::new(), &schema, decode::FieldValidation::Ignore)
                    .map_err(|error| error.into_status("Scale", "v1", &[]))?;
                scale::apply(&resource, present, &fitted.object)
            })
        }
    };
    let options = WriteOptions::parse(&call.query)?;
    let intent = Intent { compute: &*compute, subresource: Some("scale"), owned: false, conditional: false };
    let stored = change(call, &options, &intent).await?;
    render::object(call, StatusCode::OK, &scale::view(&call.resource, &stored)?)
}
