//! The scale subresource: replicas seen through `autoscaling/v1` Scale.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Response, StatusCode};
use rk_api::decode::FieldValidation;
use rk_api::managed;
use rk_api::meta;
use rk_api::resources::{GroupVersionKind, Verb};
use rk_api::scale;
use rk_api::schema::Schema;
use rk_api::status::Status;
use serde_json::Value;

use super::super::call::Call;
use super::super::options::WriteOptions;
use super::super::patch::{Patch, configuration};
use super::super::render;
use super::super::write::{self, Intent};
use crate::conversion;
use crate::http::Body;

/// Computes the new workload from the present one.
type Compute = Box<dyn Fn(&Value) -> Result<Value, Status> + Send + Sync>;

/// What becomes of a workload.
struct Change {
    compute: Compute,
    /// Whether what is computed carries its ownership already.
    owned: bool,
    /// The UID that the workload must have, empty for any.
    uid: String,
    /// What the last computation is to warn of.
    noticed: Arc<Mutex<Vec<String>>>,
}

impl Change {
    fn unowned(compute: impl Fn(&Value) -> Result<Value, Status> + Send + Sync + 'static) -> Self {
        Self { compute: Box::new(compute), owned: false, uid: String::new(), noticed: Arc::default() }
    }
}

pub(super) async fn serve(call: &mut Call, verb: Verb, body: Body) -> Result<Response<Body>, Status> {
    let gvk = GroupVersionKind::new("autoscaling", "v1", "Scale");
    if verb == Verb::Get {
        let object = conversion::to(&call.core, call.present().await?, &call.resource).await?;
        scale::check_replicas(&call.resource, &object)?;
        return render::object(call, StatusCode::OK, &scale::view(&call.resource, &object)?);
    }
    let options = WriteOptions::parse(call)?;
    let change = if verb == Verb::Update {
        let resource = Arc::clone(&call.resource);
        let (_, wanted) = super::decode(call, body, &gvk).await?;
        write::check_name(call, &wanted)?;
        let uid = meta::uid(&wanted).to_owned();
        Change { uid, ..Change::unowned(move |present| scale::apply(&resource, present, &wanted)) }
    } else {
        let body = call.read(body).await?;
        let schema = Schema::of_kind(&gvk).unwrap_or(Schema::ANY);
        match Patch::parse(call, &body, options.validation)? {
            Patch::Apply(config, notices) => {
                let config = configuration(call, &options, (config, notices), &schema, &gvk)?;
                applied(call, config, schema)?
            }
            patch => patched(call, patch, (schema, gvk), options.validation),
        }
    };
    let intent = Intent {
        compute: &*change.compute,
        subresource: Some("scale"),
        owned: change.owned,
        conditional: false,
        uid: &change.uid,
    };
    let stored = write::change(call, &options, &intent).await?;
    call.warnings.append(&mut change.noticed.lock().unwrap_or_else(PoisonError::into_inner));
    render::object(call, StatusCode::OK, &scale::view(&call.resource, &stored)?)
}

/// A patch other than server-side apply.
fn patched(
    call: &Call,
    patch: Patch,
    (schema, gvk): (Schema, GroupVersionKind),
    validation: FieldValidation,
) -> Change {
    let resource = Arc::clone(&call.resource);
    let noticed = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&noticed);
    let compute = move |present: &Value| {
        let view = scale::view(&resource, present)?;
        let fitted = patch.fitted(&view, &schema, &gvk, validation)?;
        *told.lock().unwrap_or_else(PoisonError::into_inner) = fitted.warnings;
        scale::apply(&resource, present, &fitted.object)
    };
    Change { noticed, ..Change::unowned(compute) }
}

/// Server-side apply. Owners may speak any version of the workload.
fn applied(call: &Call, config: Value, schema: Schema) -> Result<Change, Status> {
    let (resource, registry) = (Arc::clone(&call.resource), call.core.registry());
    let (manager, force) = (call.field_manager()?, call.query.flag("force"));
    let compute = move |present: &Value| {
        let request = managed::Request {
            schema: &schema,
            manager: &manager,
            api_version: "autoscaling/v1",
            subresource: "scale",
            force,
            now: jiff::Timestamp::now(),
            has_status: true,
            status_resets: &managed::SPEC,
            versions: &managed::OneVersion,
        };
        let places = |api_version: &str| {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            scale::replicas(registry.known(group, version, &resource.plural)?)
        };
        scale::server_side_apply(&resource, present, &config, &request, &places)
    };
    Ok(Change { owned: true, ..Change::unowned(compute) })
}
