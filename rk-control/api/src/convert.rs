//! Conversion between the versions of a group.
//!
//! Two kinds are served in two versions: HorizontalPodAutoscaler (v1 is a view of v2) and Event (`events.k8s.io/v1` renames
//! fields of the core Event).

mod autoscaler;
mod event;

use serde_json::Value;

use crate::meta::{set, text};
use crate::resources::GroupVersionKind;
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

/// Moves a field to another name; absent stays absent.
fn rename(object: &mut crate::Object, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}
