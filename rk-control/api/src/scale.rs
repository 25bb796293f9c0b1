//! The `scale` subresource: an `autoscaling/v1` Scale as a view of a workload.

use serde_json::Value;

use crate::resources::Resource;
use crate::status::Status;

/// The Scale of a workload (Deployment, ReplicaSet, StatefulSet, ReplicationController).
///
/// # Errors
/// The resource has no scale.
pub fn view(resource: &Resource, object: &Value) -> Result<Value, Status> {
    let _ = (resource, object);
    todo!()
}

/// Writes a Scale's `spec.replicas` into a copy of the workload. Checks name, namespace, and the resource version and UID when given.
///
/// # Errors
/// An invalid Scale (422), a stale one (409), a resource without scale.
pub fn apply(resource: &Resource, object: &Value, scale: &Value) -> Result<Value, Status> {
    let _ = (resource, object, scale);
    todo!()
}
