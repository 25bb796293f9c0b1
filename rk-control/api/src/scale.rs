//! The `scale` subresource: an `autoscaling/v1` Scale as a view of a workload.

use serde_json::{Value, json};

use crate::custom::ScalePaths;
use crate::managed::{self, FieldSet};
use crate::meta::{self, at};
use crate::resources::Resource;
use crate::selector::LabelSelector;
use crate::status::{FieldErrors, Path, Status, precondition_missed};
use crate::strategy;

/// The Scale of a workload (Deployment, ReplicaSet, StatefulSet, ReplicationController).
///
/// # Errors
/// The resource has no scale, or its selector is malformed.
pub fn view(resource: &Resource, object: &Value) -> Result<Value, Status> {
    if resource.subresource("scale").is_none() {
        return Err(Status::unknown_path());
    }
    if let Some(paths) = resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        return Ok(custom_view(paths, object));
    }
    let selector = at(object, &["spec", "selector"]);
    let selector = match (&*resource.gvk.kind, selector.as_object()) {
        ("ReplicationController", Some(labels)) => LabelSelector::from_labels(labels),
        _ => LabelSelector::from_object(selector).map_err(Status::internal)?,
    };
    let number = |path: &[&str]| at(object, path).as_i64().unwrap_or(0);
    Ok(scale(object, number(&["spec", "replicas"]), number(&["status", "replicas"]), &selector.to_string()))
}

fn scale(object: &Value, wanted: i64, present: i64, selector: &str) -> Value {
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.pointer(&format!("/metadata/{key}")) {
            metadata[key] = value.clone();
        }
    }
    let mut scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {}, "status": {"replicas": present},
    });
    if wanted != 0 {
        scale["spec"]["replicas"] = json!(wanted);
    }
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}

fn follow<'a>(object: &'a Value, path: &[String]) -> &'a Value {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if path.is_empty() { &Value::Null } else { at(object, &path) }
}

fn custom_view(paths: &ScalePaths, object: &Value) -> Value {
    let number = |path: &[String]| follow(object, path).as_i64().unwrap_or(0);
    let selector = follow(object, &paths.selector).as_str().unwrap_or_default();
    scale(object, number(&paths.spec), number(&paths.status), selector)
}

/// Whether an object of a custom kind has the replicas that its Scale is to show; other kinds have them always.
///
/// # Errors
/// 500 when it has none.
pub fn check_replicas(resource: &Resource, object: &Value) -> Result<(), Status> {
    let Some(paths) = resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) else {
        return Ok(());
    };
    if follow(object, &paths.spec).is_null() {
        let path = format!(".{}", paths.spec.join("."));
        return Err(Status::internal(format!("the spec replicas field {path:?} does not exist")));
    }
    Ok(())
}

/// Writes a Scale's `spec.replicas` into a copy of the workload. Checks name, namespace, and the resource version and UID when given.
///
/// # Errors
/// An invalid Scale (422), a stale one (409), a Scale of something else (400), version zero of a kind whose changes name theirs (422), a
/// resource without scale.
pub fn apply(resource: &Resource, object: &Value, scale: &Value) -> Result<Value, Status> {
    if resource.subresource("scale").is_none() {
        return Err(Status::unknown_path());
    }
    let name = meta::name(object);
    let namespace = meta::namespace(scale);
    if !namespace.is_empty() && namespace != meta::namespace(object) {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    match meta::name(scale) {
        "" => {
            return Err(Status::bad_request(format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )));
        }
        given if given != name => {
            return Err(Status::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    let replicas = at(scale, &["spec", "replicas"]).as_i64().unwrap_or(0);
    if replicas < 0 {
        return Err(negative(resource, name, replicas));
    }
    let (given, own) = (meta::uid(scale), meta::uid(object));
    if !given.is_empty() && given != own {
        let why = precondition_missed("UID", given, own);
        let what = format!("{}/scale", resource.plural);
        return Err(Status::conflict_on((&*resource.gvk.group, what.as_str()), name, &why));
    }
    let version = meta::resource_version(scale);
    // Of kinds that are changed at a known version alone, nothing means any version here, and zero does not.
    if version == "0" && !strategy::allow_unconditional_update(resource) {
        return Err(Status::unversioned(resource, name));
    }
    if !matches!(version, "" | "0") && version != meta::resource_version(object) {
        return Err(Status::modified(resource, name));
    }
    let mut changed = object.clone();
    if let Some(paths) = resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        let path: Vec<&str> = paths.spec.iter().map(String::as_str).collect();
        meta::set(&mut changed, &path, replicas);
        return Ok(changed);
    }
    if let Some(spec) = changed.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("replicas".into(), json!(replicas));
    }
    Ok(changed)
}

/// 422: no workload has less than nothing. Of a custom one its own field is named.
fn negative(resource: &Resource, name: &str, replicas: i64) -> Status {
    let mut errors = FieldErrors::new();
    match resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        Some(paths) => {
            let place = format!(".{}", paths.spec.join("."));
            errors.invalid(&Path::new(&place), replicas, "should be a non-negative integer");
            Status::invalid(&resource.gvk.group, &resource.gvk.kind, name, &errors.0)
        }
        None => {
            errors.invalid(&Path::new("spec").child("replicas"), replicas, "must be greater than or equal to 0");
            Status::invalid("autoscaling", "Scale", name, &errors.0)
        }
    }
}

/// The path of the replicas in a workload; `None` for a resource without scale.
#[must_use]
pub fn replicas(resource: &Resource) -> Option<FieldSet> {
    resource.subresource("scale")?;
    let Some(paths) = resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) else {
        return Some(FieldSet::of_fields(&[&["spec", "replicas"]]));
    };
    let path: Vec<&str> = paths.spec.iter().map(String::as_str).collect();
    Some(FieldSet::of_fields(&[path.as_slice()]))
}

/// Server-side apply of a Scale: who owns the workload's replicas owns the Scale's, and the other way round. `request` speaks of the
/// Scale; `places` tells the path of the replicas ([`replicas`]) in each version of the workload that its owners may speak.
///
/// # Errors
/// As [`managed::apply`] and [`apply`].
pub fn server_side_apply(
    resource: &Resource,
    object: &Value,
    config: &Value,
    request: &managed::Request<'_>,
    places: &dyn Fn(&str) -> Option<FieldSet>,
) -> Result<Value, Status> {
    let mut live = view(resource, object)?;
    managed::scale::show(&mut live, object, places)?;
    let applied = managed::apply(Some(&live), config, request)?;
    let mut changed = apply(resource, object, &applied)?;
    managed::scale::take_back(&mut changed, &applied, &resource.api_version(), places)?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{GroupVersionKind, Registry};
    use crate::schema::Schema;

    fn deployment() -> Value {
        json!({"metadata": {"name": "d", "namespace": "n", "uid": "u", "resourceVersion": "5"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"b": "2", "a": "1"}}}, "status": {"replicas": 2}})
    }

    #[test]
    fn a_workload_shows_its_scale() {
        let registry = Registry::builtin();
        let scale = view(registry.get("apps", "v1", "deployments").unwrap(), &deployment()).unwrap();
        assert_eq!(scale["spec"], json!({"replicas": 3}));
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "a=1,b=2"}));
        assert!(view(registry.get("apps", "v1", "daemonsets").unwrap(), &deployment()).is_err());
    }

    #[test]
    fn a_scale_changes_replicas_alone_and_only_when_fresh() {
        let registry = Registry::builtin();
        let resource = registry.get("apps", "v1", "deployments").unwrap();
        let changed =
            apply(resource, &deployment(), &json!({"metadata": {"name": "d"}, "spec": {"replicas": 7}})).unwrap();
        assert_eq!(changed["spec"]["replicas"], 7);
        for (scale, code) in [
            (json!({"metadata": {"name": "d", "resourceVersion": "4"}, "spec": {}}), 409),
            (json!({"metadata": {"name": "d", "uid": "v"}, "spec": {}}), 409),
            (json!({"metadata": {"name": "e"}, "spec": {}}), 400),
            (json!({"metadata": {"name": "d", "namespace": "other"}, "spec": {}}), 400),
            (json!({"spec": {"replicas": 1}}), 400),
            (json!({"metadata": {"name": "d", "uid": "v"}, "spec": {"replicas": -1}}), 422),
        ] {
            assert_eq!(apply(resource, &deployment(), &scale).unwrap_err().code, code, "{scale}");
        }
        let any = json!({"metadata": {"name": "d", "resourceVersion": "0"}, "spec": {"replicas": 8}});
        assert_eq!(apply(resource, &deployment(), &any).unwrap()["spec"]["replicas"], 8, "zero is any version");
    }

    #[test]
    fn applying_a_scale_takes_replicas_by_force_alone() {
        let registry = Registry::builtin();
        let resource = registry.get("apps", "v1", "deployments").unwrap();
        let schema = Schema::of_kind(&GroupVersionKind::new("autoscaling", "v1", "Scale")).unwrap();
        let mut live = deployment();
        live["metadata"]["managedFields"] = json!([{"manager": "owner", "operation": "Update", "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
        let request = managed::Request {
            schema: &schema,
            manager: "scaler",
            api_version: "autoscaling/v1",
            subresource: "scale",
            force: false,
            now: "2024-01-02T03:04:05Z".parse().unwrap(),
            has_status: true,
            status_resets: &managed::SPEC,
            versions: &managed::OneVersion,
        };
        let places = |version: &str| replicas(resource).filter(|_| version == "apps/v1");
        let config = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": "d", "namespace": "n"}, "spec": {"replicas": 5}});
        let refused = server_side_apply(resource, &live, &config, &request, &places).unwrap_err();
        assert_eq!(
            refused.message,
            "Apply failed with 1 conflict: conflict with \"owner\" using autoscaling/v1: .spec.replicas"
        );
        let forced = managed::Request { force: true, ..request };
        let taken = server_side_apply(resource, &live, &config, &forced, &places).unwrap();
        assert_eq!(taken["spec"]["replicas"], 5);
        assert_eq!(
            taken["metadata"]["managedFields"],
            json!([{"manager": "scaler", "operation": "Apply", "apiVersion": "apps/v1", "subresource": "scale",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}])
        );
        // Who leaves out what it owned alone takes it away.
        let nothing =
            json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d", "namespace": "n"}});
        let left = server_side_apply(resource, &taken, &nothing, &request, &places).unwrap();
        assert_eq!((&left["spec"]["replicas"], left["metadata"].get("managedFields")), (&json!(0), None));
    }
}
