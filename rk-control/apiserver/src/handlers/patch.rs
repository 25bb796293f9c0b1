//! PATCH in its four kinds.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use rk_api::decode::{self, DecodeError, Decoded, FieldValidation, Limits};
use rk_api::managed;
use rk_api::patch::{json_patch, merge_patch, misconverted, shown, spent, strategic_merge_patch, undeclared_members};
use rk_api::resources::GroupVersionKind;
use rk_api::schema::Schema;
use rk_api::status::{Details, FieldErrors, Path, Reason, Status};
use serde_json::Value;

use super::call::Call;
use super::create::change_or_create;
use super::options::WriteOptions;
use super::render;
use super::write::{Intent, change, undeterminable};
use crate::audit;
use crate::http::Body;

/// The media type of server-side apply.
const APPLY: &str = "application/apply-patch+yaml";

const ACCEPTED: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", APPLY];

/// Custom kinds have no merge keys.
const ACCEPTED_CUSTOM: &[&str] = &["application/json-patch+json", "application/merge-patch+json", APPLY];

/// A patch, decoded but not yet applied, and what strict decoding says of it.
#[derive(Debug, Clone)]
pub(super) enum Patch {
    Json(Value, Vec<String>),
    Merge(Value, Vec<String>),
    Strategic(Value, Vec<String>),
    /// The configuration that is to hold.
    Apply(Value, Vec<String>),
}

impl Patch {
    /// Reads a patch.
    pub(super) fn parse(call: &Call, body: &Bytes, validation: FieldValidation) -> Result<Self, Status> {
        let patch = Self::read(call, body, validation)?;
        audit::request_patch(patch.document());
        Ok(patch)
    }

    /// What was sent.
    fn document(&self) -> &Value {
        match self {
            Self::Json(patch, _) | Self::Merge(patch, _) | Self::Strategic(patch, _) | Self::Apply(patch, _) => patch,
        }
    }

    /// What strict decoding says of what was sent.
    fn notices(&self) -> &[String] {
        match self {
            Self::Json(_, notices)
            | Self::Merge(_, notices)
            | Self::Strategic(_, notices)
            | Self::Apply(_, notices) => notices,
        }
    }

    fn read(call: &Call, body: &Bytes, validation: FieldValidation) -> Result<Self, Status> {
        let media_type = media_type(call);
        let limits = Limits::default();
        let json = |unknown: fn(&Value) -> Vec<String>| decode::patch_json(body, limits, unknown);
        // Who does not want to hear of odd fields is answered by another decoder.
        let unreadable = |error: DecodeError, plain: Option<&str>| match validation {
            FieldValidation::Ignore => Status::bad_request(plain.map_or_else(|| error.to_string(), str::to_owned)),
            _ => Status::bad_request(format!("error decoding patch: {error}")),
        };
        match media_type {
            "application/json-patch+json" => {
                let (patch, notices) = json(undeclared_members).map_err(|error| unreadable(error, None))?;
                Ok(Self::Json(patch, notices.into_iter().map(|notice| format!("json patch {notice}")).collect()))
            }
            "application/merge-patch+json" => {
                let read = json(|_| Vec::new()).map_err(|error| unreadable(error, Some("Invalid JSON Patch")));
                read.map(|(patch, notices)| Self::Merge(patch, notices))
            }
            "application/strategic-merge-patch+json" if call.resource.custom.is_none() => {
                let read = json(|_| Vec::new()).map_err(|error| Status::bad_request(error.to_string()));
                read.map(|(patch, notices)| Self::Strategic(patch, notices))
            }
            APPLY => {
                let (config, notices) = decode::untyped_yaml(body, limits)
                    .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
                decode::as_map(&config).map_err(|why| {
                    let why = format!("error unmarshaling JSON: while decoding JSON: {why}");
                    Status::bad_request(format!("error decoding YAML: {why}"))
                })?;
                Ok(Self::Apply(config, notices))
            }
            _ if call.resource.custom.is_some() => Err(Status::unsupported_media_type(ACCEPTED_CUSTOM)),
            "" => Err(Status::unsupported_media_type(ACCEPTED)),
            // Upstream's router refuses by the path alone, and names nothing.
            _ => Err(Status::unsupported_media_type(ACCEPTED).with_details(Details::default())),
        }
    }

    /// Applies a patch other than server-side apply to an object of `schema`.
    fn apply_to(&self, object: &Value, schema: &Schema) -> Result<Value, Status> {
        let mut patched = object.clone();
        match self {
            Self::Json(patch, _) => json_patch(&mut patched, patch),
            Self::Merge(patch, _) => merge_patch(&mut patched, patch),
            Self::Strategic(patch, _) => strategic_merge_patch(&mut patched, patch, schema),
            Self::Apply(..) => return Err(Status::internal("server-side apply is not a patch of a value")),
        }
        .map_err(Status::from)?;
        Ok(patched)
    }

    /// Applies a patch other than server-side apply to an object of a kind, and fits what comes of it.
    pub(super) fn fitted(
        &self,
        object: &Value,
        schema: &Schema,
        gvk: &GroupVersionKind,
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        let mut patched = self.apply_to(object, schema)?;
        if let Self::Strategic(..) = self {
            named_as(&mut patched, gvk);
        } else {
            decode::still(&patched, gvk)?;
            if schema.is_fixed() {
                keep_kind(&mut patched, object, gvk)?;
            }
        }
        decode::finish(patched, self.notices().to_vec(), schema, validation)
            .map_err(|error| self.misfit(object, schema, gvk, error))
    }

    /// 422: the patch could be applied, but what it makes of `object` is none of its kind. Shows what does not fit: what a
    /// strategic merge patch asks for, what the others made.
    fn misfit(&self, object: &Value, schema: &Schema, gvk: &GroupVersionKind, error: DecodeError) -> Status {
        let patched = self.apply_to(object, schema).unwrap_or_default();
        let text = match self {
            Self::Strategic(patch, _) => shown(&spent(patch)),
            _ => patched.to_string(),
        };
        let why = match (self, error) {
            (_, DecodeError::TooLarge(size)) => {
                return DecodeError::TooLarge(size).into_status(&gvk.kind, &gvk.version, &[]);
            }
            (Self::Strategic(..), error @ DecodeError::Type(_)) => {
                misconverted(&patched, schema).unwrap_or_else(|| error.to_string())
            }
            (_, error) => error.to_string(),
        };
        let mut errors = FieldErrors::new();
        errors.invalid(&Path::new("patch"), text, why);
        Status::invalid("", "", "", &errors.0)
    }
}

/// What a strategic merge patch makes is of the kind that it was applied to, whatever the patch says: kube-apiserver v1.36 converts
/// the result as the type that it had. What is no text is left for the decoder to refuse.
fn named_as(patched: &mut Value, gvk: &GroupVersionKind) {
    let Value::Object(patched) = patched else { return };
    for (key, name) in [("apiVersion", gvk.api_version()), ("kind", gvk.kind.to_string())] {
        if patched.get(key).is_none_or(Value::is_string) {
            patched.insert(key.to_owned(), Value::String(name));
        }
    }
}

/// What another patch made of an object of a fixed type is of its kind when it does not say so. Without a version nothing of it can be
/// read, not even its name, as kube-apiserver v1.36 has it.
fn keep_kind(patched: &mut Value, object: &Value, gvk: &GroupVersionKind) -> Result<(), Status> {
    if rk_api::meta::text(patched, &["apiVersion"]).is_empty() {
        return Err(undeterminable(rk_api::meta::name(object)));
    }
    if rk_api::meta::text(patched, &["kind"]).is_empty() {
        patched["kind"] = Value::String(gvk.kind.to_string());
    }
    Ok(())
}

/// Serves PATCH of the main resource.
pub(super) async fn patch(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let (code, object) = patch_object(call, body, None).await?;
    render::object(call, code, &object)
}

/// Patches the object, or one of the subresources that are part of it.
pub(super) async fn patch_object(
    call: &mut Call,
    body: Body,
    subresource: Option<&str>,
) -> Result<(StatusCode, Value), Status> {
    let options = WriteOptions::parse(call)?;
    let body = call.read(body).await?;
    let patch = match Patch::parse(call, &body, options.validation) {
        // What is not there is told before what is wrong with a patch of it; an applied configuration would make it.
        Err(status) if status.reason == Reason::BadRequest && !is_apply(call) => {
            call.present().await?;
            return Err(status);
        }
        patch => patch?,
    };
    match patch {
        Patch::Apply(config, notices) => apply(call, &options, config, notices, subresource).await,
        patch => plain(call, &options, &patch, subresource).await,
    }
}

/// Of which kind the client says that its body is.
fn media_type(call: &Call) -> &str {
    let header = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.split(';').next().unwrap_or_default().trim()
}

/// Whether the body is a configuration for server-side apply.
pub(super) fn is_apply(call: &Call) -> bool {
    media_type(call) == APPLY
}

async fn plain(
    call: &mut Call,
    options: &WriteOptions,
    patch: &Patch,
    subresource: Option<&str>,
) -> Result<(StatusCode, Value), Status> {
    let (schema, gvk, validation) = (call.resource.schema.clone(), call.resource.gvk.clone(), options.validation);
    let noticed = std::sync::Mutex::new(Vec::new());
    let compute = |present: &Value| {
        let decoded = patch.fitted(present, &schema, &gvk, validation)?;
        *noticed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = decoded.warnings;
        Ok(decoded.object)
    };
    let intent = Intent { compute: &compute, subresource, owned: false, conditional: false, uid: "" };
    let changed = change(call, options, &intent).await;
    call.warnings.extend(noticed.into_inner().unwrap_or_default());
    Ok((StatusCode::OK, changed?))
}

/// Server-side apply: creates what is not there.
async fn apply(
    call: &mut Call,
    options: &WriteOptions,
    config: Value,
    notices: Vec<String>,
    subresource: Option<&str>,
) -> Result<(StatusCode, Value), Status> {
    let (schema, gvk) = (call.resource.schema.clone(), call.resource.gvk.clone());
    let is_named = !rk_api::meta::name(&config).is_empty();
    let config = configuration(call, options, (config, notices), &schema, &gvk)?;
    let manager = call.field_manager()?;
    let api_version = gvk.api_version();
    let versions = Arc::clone(&call.versions);
    let request = managed::Request {
        schema: &schema,
        manager: &manager,
        api_version: &api_version,
        subresource: subresource.unwrap_or_default(),
        force: call.query.flag("force"),
        now: jiff::Timestamp::now(),
        has_status: call.resource.subresource("status").is_some(),
        status_resets: rk_api::strategy::status_resets(&call.resource),
        versions: &*versions,
    };
    let intent = Intent {
        compute: &|present| managed::apply(Some(present), &config, &request),
        subresource,
        owned: true,
        conditional: false,
        uid: "",
    };
    if subresource.is_some() {
        return Ok((StatusCode::OK, change(call, options, &intent).await?));
    }
    let make = |call: &Call| {
        if !is_named {
            return Err(undeterminable(&call.path.name));
        }
        let uid = rk_api::meta::uid(&config);
        if uid.is_empty() {
            return managed::apply(None, &config, &request);
        }
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        Err(Status::conflict(&call.resource, &call.path.name, &why))
    };
    change_or_create(call, options, &intent, make).await
}

/// An applied configuration of a kind, with what strict decoding says of it, fitted and found to be about what the path names.
pub(super) fn configuration(
    call: &mut Call,
    options: &WriteOptions,
    (config, notices): (Value, Vec<String>),
    schema: &Schema,
    gvk: &GroupVersionKind,
) -> Result<Value, Status> {
    check_kind(gvk, &config)?;
    let refused = |error: decode::DecodeError| error.into_status(&gvk.kind, &gvk.version, &[]);
    let twice = |error: decode::DecodeError| {
        let why = error.to_string();
        let why = why.trim_start_matches("strict decoding error: ");
        Status::bad_request(format!("error strict decoding YAML: error converting YAML to JSON: {why}"))
    };
    // Nobody can own a field that does not exist, however lenient the client is.
    managed::check(&config, schema)?;
    let mut config = decode::applied(config, schema).map_err(refused)?;
    identify(call, &mut config)?;
    call.warnings.extend(decode::remarks(notices, options.validation).map_err(twice)?);
    Ok(config)
}

/// An applied configuration must say what it is.
fn check_kind(gvk: &GroupVersionKind, config: &Value) -> Result<(), Status> {
    let (version, kind) = (rk_api::meta::text(config, &["apiVersion"]), rk_api::meta::text(config, &["kind"]));
    if version == gvk.api_version() && kind == gvk.kind {
        return Ok(());
    }
    // A group and version that cannot be read leave nothing of the kind either.
    let (version, kind) = if version.matches('/').count() > 1 { ("", "") } else { (version, kind) };
    let slash = if version.contains('/') { "" } else { "/" };
    Err(Status::bad_request(format!("invalid object type: {slash}{version}, Kind={kind}")))
}

/// The applied configuration must be of what the path names.
fn identify(call: &Call, config: &mut Value) -> Result<(), Status> {
    let named = !rk_api::meta::namespace(config).is_empty();
    super::write::fix_namespace(call, config)?;
    if !named {
        // It is known by its path: the client says nothing of it.
        unsaid(config, "namespace");
    }
    let name = rk_api::meta::name(config);
    if !name.is_empty() && name != call.path.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.path.name
        )));
    }
    Ok(())
}

/// Takes a field out of the metadata.
fn unsaid(object: &mut Value, field: &str) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove(field);
    }
}
