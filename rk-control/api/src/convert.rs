//! Conversion between the versions of a group.
//!
//! Two kinds are served in two versions: HorizontalPodAutoscaler (v1 is a view of v2) and Event (`events.k8s.io/v1` renames
//! fields of the core Event).

mod autoscaler;
mod event;

use serde_json::Value;

use crate::meta::{set, text};
use crate::resources::{GroupVersionKind, Resource};
use crate::status::Status;

/// Turns an object into another version of the same kind. `to` equal to the object's own version is free.
///
/// # Errors
/// A pair of versions that this crate cannot convert between.
pub fn convert(mut object: Value, to: &GroupVersionKind) -> Result<Value, Status> {
    let target = to.api_version();
    let from = text(&object, &["apiVersion"]).to_owned();
    if from == target {
        return Ok(object);
    }
    match (&*to.kind, &*from, &*target) {
        ("Event", "v1", "events.k8s.io/v1") => event::from_core(&mut object),
        ("Event", "events.k8s.io/v1", "v1") => event::to_core(&mut object),
        ("HorizontalPodAutoscaler", "autoscaling/v1", "autoscaling/v2") => autoscaler::v1_to_v2(&mut object),
        ("HorizontalPodAutoscaler", "autoscaling/v2", "autoscaling/v1") => autoscaler::v2_to_v1(&mut object),
        // The same shape under another name: versions of a group that differ in nothing.
        _ if from.split('/').next() == target.split('/').next() => {}
        _ => {
            return Err(Status::internal(format!("no conversion of {} from {from} to {target}", to.kind)));
        }
    }
    set(&mut object, &["apiVersion"], target);
    Ok(object)
}

/// Turns an object of a served version into the version in which it is stored.
///
/// # Errors
/// As [`convert`].
pub fn to_hub(object: Value, resource: &Resource) -> Result<Value, Status> {
    if resource.is_hub() {
        return Ok(object);
    }
    refuse_webhook(resource)?;
    let (group, version) = resource.hub.clone();
    convert(object, &GroupVersionKind::new(group, version, resource.gvk.kind.clone()))
}

/// Turns a stored object into a served version.
///
/// # Errors
/// As [`convert`].
pub fn from_hub(object: Value, resource: &Resource) -> Result<Value, Status> {
    if resource.is_hub() {
        return Ok(object);
    }
    refuse_webhook(resource)?;
    let mut object = convert(object, &resource.gvk)?;
    if let Some(custom) = &resource.custom {
        custom.complete(&mut object, &resource.schema);
    }
    Ok(object)
}

/// Versions that a webhook converts between are not served rather than served wrong.
fn refuse_webhook(resource: &Resource) -> Result<(), Status> {
    match &resource.custom {
        Some(custom) if custom.converts_by_webhook => Err(Status::internal(format!(
            "conversion webhook for {}, Kind={} failed: this server calls no conversion webhooks; ask for version {} or set \
             spec.conversion.strategy to None",
            resource.gvk.group, resource.gvk.kind, resource.hub.1
        ))),
        _ => Ok(()),
    }
}

/// Moves a field to another name; absent stays absent.
fn rename(object: &mut crate::Object, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}
