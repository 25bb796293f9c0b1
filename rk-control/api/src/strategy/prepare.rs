//! Objects on their way in, before validation.

use serde_json::{Value, json};

use super::traits::{self, Status, StatusMetadata};
use super::{generation, pod, service, special, status, volume};
use crate::meta::at;
use crate::resources::Resource;

/// Metadata that only the server writes: on an update it comes from the stored object.
const SYSTEM: [&str; 2] = ["creationTimestamp", "selfLink"];
/// What tells of an object's end. It may be left out; what is said of it when nothing has ended the object is refused by validation.
const END: [&str; 2] = ["deletionTimestamp", "deletionGracePeriodSeconds"];

/// Turns what a new object says in a form of its own into the one that is stored, as upstream's decoders do: its author owns that, and
/// nothing that [`prepare_for_create`] adds.
pub fn fold(resource: &Resource, object: &mut Value) {
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "Secret") => special::secret_data(object),
        ("apps", "DaemonSet") => special::template_generation(object, None),
        _ => {}
    }
}

/// Makes an object from a client ready to be created: resets status and server-owned metadata (generation, deletionTimestamp,
/// selfLink), sets `generation: 1` where the kind has one, drops the namespace of cluster-scoped objects. Name, uid and
/// creationTimestamp are the business of [`crate::meta::fill_system_fields`].
pub fn prepare_for_create(resource: &Resource, object: &mut Value) {
    let traits = traits::of(resource);
    // Of a custom kind it may be anything.
    if traits.status == Status::Reset
        && (at(object, &["status"]).is_object() || resource.custom.is_some())
        && let Some(object) = object.as_object_mut()
    {
        match status::initial(resource) {
            Some(fresh) => drop(object.insert("status".into(), fresh)),
            None => drop(object.remove("status")),
        }
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
            metadata.remove(key);
        }
        if let Some(generation) = generation::initial(traits.generation) {
            metadata.insert("generation".into(), json!(generation));
        }
        if !resource.namespaced() {
            metadata.remove("namespace");
        }
    }
    fold(resource, object);
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "Pod") => pod::create(object),
        ("", "Namespace") => {
            special::namespace_create(object);
            // Its name, by which it is labelled, may have been made up since it was completed.
            crate::defaults::apply(&resource.gvk, object);
        }
        ("", "PersistentVolume") => volume::create(object),
        ("", "PersistentVolumeClaim") => volume::sources(object, None),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => special::crd_create(object),
        ("apiregistration.k8s.io", "APIService") => special::api_service_create(object),
        ("batch", "Job") => special::job_create(object),
        _ => {}
    }
}

/// Makes `new` ready to replace `old`: keeps system metadata, freezes status on the main resource, freezes everything but
/// status on `status`, bumps generation when the spec changed.
pub fn prepare_for_update(resource: &Resource, subresource: Option<&str>, new: &mut Value, old: &Value) {
    let traits = traits::of(resource);
    keep_system_metadata(new, old, subresource.is_some());
    match subresource {
        None => {
            let keeps = matches!(traits.status, Status::Reset | Status::ResetOnUpdate);
            if keeps && resource.subresource("status").is_some() {
                take(new, old, "status");
            }
            match (&*resource.gvk.group, &*resource.gvk.kind) {
                ("", "Namespace") => keep_finalizers(new, old),
                ("", "Secret") => special::secret_data(new),
                ("", "Service") => service::update(new, old),
                ("", "PersistentVolumeClaim") => volume::sources(new, Some(old)),
                ("apiextensions.k8s.io", "CustomResourceDefinition") => special::crd_update(new),
                ("apps", "DaemonSet") => special::template_generation(new, Some(old)),
                ("certificates.k8s.io", "CertificateSigningRequest") => take(new, old, "spec"),
                _ => {}
            }
        }
        Some("status") => {
            status::keep_all_but_status(new, old, traits.status_metadata);
            match (&*resource.gvk.group, &*resource.gvk.kind) {
                ("apiextensions.k8s.io", "CustomResourceDefinition") => special::crd_status(new),
                ("certificates.k8s.io", "CertificateSigningRequest") => special::keep_approval(new, old),
                ("resource.k8s.io", "ResourceClaim") => special::drop_deallocated(new, old),
                ("", "Pod") => pod::keep_in_status(new, old),
                _ => {}
            }
        }
        Some("approval") => special::keep_all_but_conditions(new, old),
        Some("finalize") => keep_all_but_finalizers(new, old),
        Some("ephemeralcontainers") => pod::keep_all_but_ephemeral_containers(new, old),
        Some("resize") => pod::keep_all_but_resources(new, old),
        Some(_) => status::keep_all_but_status(new, old, StatusMetadata::Open),
    }
    generation::carry(traits.generation, new, old);
    if subresource != Some("status") && resource.gvk.kind == "Pod" {
        pod::update(new);
    }
}

/// The namespace controller alone removes spec finalizers.
fn keep_finalizers(new: &mut Value, old: &Value) {
    take(new, old, "spec");
}

/// `finalize` of a namespace changes `spec.finalizers` alone.
fn keep_all_but_finalizers(new: &mut Value, old: &Value) {
    let finalizers = at(new, &["spec", "finalizers"]).clone();
    take(new, old, "status");
    take(new, old, "spec");
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.remove("finalizers");
    if !finalizers.is_null() {
        spec.insert("finalizers".into(), finalizers);
    }
}

/// A top-level field as it was.
fn take(new: &mut Value, old: &Value, key: &str) {
    let Some(object) = new.as_object_mut() else { return };
    match old.get(key) {
        Some(value) => drop(object.insert(key.to_owned(), value.clone())),
        None => drop(object.remove(key)),
    }
}

fn keep_system_metadata(new: &mut Value, old: &Value, is_part: bool) {
    let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let old = at(old, &["metadata"]);
    for key in SYSTEM {
        match old.get(key) {
            Some(value) => drop(metadata.insert(key.to_owned(), value.clone())),
            None => drop(metadata.remove(key)),
        }
    }
    for key in END {
        match old.get(key) {
            Some(value) => drop(metadata.insert(key.to_owned(), value.clone())),
            None if is_part || metadata.get(key).is_some_and(Value::is_null) => drop(metadata.remove(key)),
            None => {}
        }
    }
    if metadata.get("uid").and_then(Value::as_str).unwrap_or_default().is_empty()
        && let Some(uid) = old.get("uid")
    {
        metadata.insert("uid".into(), uid.clone());
    }
}
