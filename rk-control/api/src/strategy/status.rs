//! What a fresh status is, and what the status subresource may touch.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::traits::StatusMetadata;
use crate::decode::{Form, fit};
use crate::managed::{FieldSet, SPEC};
use crate::meta::at;
use crate::resources::Resource;

static SPEC_AND_LABELS: LazyLock<FieldSet> =
    LazyLock::new(|| FieldSet::of_fields(&[&["spec"], &["metadata", "labels"]]));
static SPEC_AND_OWNERS: LazyLock<FieldSet> =
    LazyLock::new(|| FieldSet::of_fields(&[&["spec"], &["metadata", "ownerReferences"]]));
static SPEC_AND_METADATA: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of_fields(&[&["spec"], &["metadata"]]));

/// What [`keep_all_but_status`] takes back besides what nobody owns.
pub(super) fn resets(metadata: StatusMetadata) -> &'static FieldSet {
    match metadata {
        StatusMetadata::Open => &SPEC,
        StatusMetadata::KeepLabels => &SPEC_AND_LABELS,
        StatusMetadata::KeepOwners => &SPEC_AND_OWNERS,
        StatusMetadata::Frozen | StatusMetadata::Kept => &SPEC_AND_METADATA,
    }
}

/// The status of an object that no controller has seen.
pub(super) fn initial(resource: &Resource) -> Option<Value> {
    if resource.custom.is_some() {
        return None;
    }
    let schema = resource.schema.field("status")?;
    let mut status = match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "Namespace") => json!({"phase": "Active"}),
        ("", "Pod" | "PersistentVolume" | "PersistentVolumeClaim") => json!({"phase": "Pending"}),
        _ => json!({}),
    };
    // An empty object always fits; this writes what the kind always has.
    fit(&mut status, &schema, Form::Canonical).ok()?;
    Some(status)
}

/// Everything but the status from `old`; metadata as the kind allows.
pub(super) fn keep_all_but_status(new: &mut Value, old: &Value, metadata: StatusMetadata) {
    let (Some(object), Some(old_object)) = (new.as_object_mut(), old.as_object()) else { return };
    let (status, new_metadata) = (object.remove("status"), object.remove("metadata").unwrap_or_default());
    *object = old_object.clone();
    object.remove("status");
    object.extend(status.map(|s| ("status".to_owned(), s)));
    object.insert("metadata".into(), merged_metadata(new_metadata, at(old, &["metadata"]), metadata));
}

/// The old metadata with the managed fields of the new one.
fn with_managed_fields(old: &Value, new: &Value) -> Value {
    const KEY: &str = "managedFields";
    let mut metadata = old.clone();
    if let Some(members) = metadata.as_object_mut() {
        match new.get(KEY) {
            Some(entries) => drop(members.insert(KEY.to_owned(), entries.clone())),
            None => drop(members.remove(KEY)),
        }
    }
    metadata
}

pub(super) fn merged_metadata(mut new: Value, old: &Value, rule: StatusMetadata) -> Value {
    let kept: &[&str] = match rule {
        StatusMetadata::Open => &[],
        StatusMetadata::KeepLabels => &["labels"],
        StatusMetadata::KeepOwners => &["ownerReferences"],
        StatusMetadata::Frozen => &["ownerReferences", "labels", "annotations", "finalizers"],
        StatusMetadata::Kept => return with_managed_fields(old, &new),
    };
    if let Some(new) = new.as_object_mut() {
        for key in kept {
            match old.get(key) {
                Some(value) => drop(new.insert((*key).to_owned(), value.clone())),
                None => drop(new.remove(*key)),
            }
        }
    }
    new
}
