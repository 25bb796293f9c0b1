//! Pods and the pod templates of workloads.

mod affinity;
mod annotations;
mod claims;
mod container;
mod dns;
mod env;
mod gated;
mod mounts;
mod probe;
mod resize;
mod restart;
mod security;
mod spec;
mod status;
mod system;
mod update;
mod volume;
mod windows;

use serde_json::Value;

use super::get::{list, text};
use super::metadata;
use crate::meta::at;
use crate::status::{FieldErrors, Path};
use crate::strategy;

pub(super) use affinity::{node_selector, tolerations};
pub(crate) use claims::needed;
pub(super) use resize::resize_update;
pub(super) use status::status_update;
pub(super) use update::{ephemeral_update, update};

/// What may run again after it ends, and where a spec stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A pod of its own.
    Pod,
    /// The template of a workload.
    Template,
}

/// Pod.
pub(super) fn pod(object: &Value, errors: &mut FieldErrors) {
    let (metadata, spec) = (at(object, &["metadata"]), at(object, &["spec"]));
    let path = Path::new("spec");
    annotations::check(metadata, spec, &Path::new("metadata").child("annotations"), errors);
    spec::spec(spec, &path, Owner::Pod, errors);
    volume::own_claims(text(metadata, "name"), spec, &path, errors);
    volume::tokens(spec, &path, errors);
}

/// A Pod of which a part changes: what was wrong with it before is not told again, so that a rule that is younger than the Pod is no bar
/// to what it has nothing to do with.
fn changed(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let told = |object: &Value| {
        let mut errors = FieldErrors::new();
        pod(object, &mut errors);
        errors
    };
    errors.extend(strategy::news(told(new), || told(old)));
}

/// A new Pod has no ephemeral containers, and says of its profiles one thing.
pub(super) fn create(object: &Value, errors: &mut FieldErrors) {
    annotations::agree(at(object, &["metadata"]), at(object, &["spec"]), &Path::new("spec"), errors);
    if !list(at(object, &["spec"]), "ephemeralContainers").is_empty() {
        errors.forbidden(&Path::new("spec").child("ephemeralContainers"), "cannot be set on create");
    }
}

/// PodTemplate.
pub(super) fn pod_template(object: &Value, errors: &mut FieldErrors) {
    template(at(object, &["template"]), &Path::new("template"), errors);
}

/// The template of a workload: metadata and spec.
pub(super) fn template(template: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    metadata::labels(at(template, &["metadata", "labels"]), &path.child("labels"), errors);
    metadata::annotations(at(template, &["metadata", "annotations"]), &path.child("annotations"), errors);
    annotations::check(at(template, &["metadata"]), at(template, &["spec"]), &path.child("annotations"), errors);
    let path = path.child("spec");
    spec::spec(at(template, &["spec"]), &path, Owner::Template, errors);
    annotations::agree(at(template, &["metadata"]), at(template, &["spec"]), &path, errors);
    if !list(at(template, &["spec"]), "ephemeralContainers").is_empty() {
        errors.forbidden(&path.child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Binding: only a Node is a target.
pub(super) fn binding(object: &Value, errors: &mut FieldErrors) {
    let target = at(object, &["target"]);
    let path = Path::new("target");
    let kind = text(target, "kind");
    if !kind.is_empty() && kind != "Node" {
        errors.unsupported_as_listed(&path.child("kind"), kind, &["Node", "<empty>"]);
    }
    if text(target, "name").is_empty() {
        errors.required(&path.child("name"), "");
    }
}
