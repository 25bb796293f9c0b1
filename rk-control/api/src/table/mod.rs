//! Objects as rows of a `meta.k8s.io/v1` Table (what `kubectl get` asks for).

use jiff::Timestamp;
use serde_json::Value;

use crate::resources::Resource;

/// What each row carries besides its cells (the `includeObject` parameter).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// PartialObjectMetadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
    /// Nothing.
    None,
}

/// `columnDefinitions` of a resource.
pub fn columns(resource: &Resource) -> Value {
    let _ = resource;
    todo!()
}

/// One row: `{"cells": […], "object": …}`. Ages are relative to `now`.
pub fn row(resource: &Resource, object: &Value, include: IncludeObject, now: Timestamp) -> Value {
    let _ = (resource, object, include, now);
    todo!()
}

/// A whole Table. `list_meta` is the list's (or object's) metadata; only resourceVersion, continue and remainingItemCount are kept.
pub fn table<'a>(
    resource: &Resource,
    items: impl Iterator<Item = &'a Value>,
    list_meta: &Value,
    include: IncludeObject,
    now: Timestamp,
) -> Value {
    let _ = (resource, items, list_meta, include, now);
    todo!()
}

/// An object's metadata alone, as `meta.k8s.io/v1` PartialObjectMetadata.
pub fn partial_metadata(object: &Value) -> Value {
    let _ = object;
    todo!()
}
