//! `resize`: what a pod (KEP-5419) and its containers (KEP-1287) ask for changes, and nothing else.

use serde_json::{Value, json};

use super::super::get::{entries, field, list, text};
use super::update::is_static;
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// Both lists whose containers have resources.
const LISTS: [&str; 2] = ["initContainers", "containers"];
/// Both lists of amounts.
const SIDES: [&str; 2] = ["requests", "limits"];

/// `resize`: amounts of cpu and memory change, the quality-of-service class does not.
pub(in super::super) fn resize_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if is_static(old) {
        return errors.forbidden(&Path::ROOT, "static pods cannot be resized");
    }
    if text(at(old, &["spec", "os"]), "name") == "windows" {
        return errors.forbidden(&Path::ROOT, "windows pods cannot be resized");
    }
    super::changed(new, old, errors);
    let path = Path::new("spec");
    if crate::strategy::qos_class(new) != crate::strategy::qos_class(old) {
        let class = text(at(new, &["status"]), "qosClass");
        errors.invalid(&path, class, "Pod QOS Class may not change as a result of resizing");
    }
    if !shows_resources(old) {
        errors.forbidden(&path, "Pod running on node without support for resize");
    }
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    as_a_whole(new, old, &path, errors);
    if !ordered(new, old, &path, errors) {
        return;
    }
    for kind in LISTS {
        let all = path.child(kind);
        for (index, (new, old)) in list(new, kind).iter().zip(list(old, kind)).enumerate() {
            let here = all.index(index);
            resized(new, old, &here, errors);
            if kind == "containers" {
                others(new, old, &path, "only cpu and memory resources are mutable", errors);
            } else {
                others(
                    new,
                    old,
                    &here,
                    "only cpu and memory resources for init or sidecar containers are mutable",
                    errors,
                );
                runs_once(new, old, &here, errors);
            }
        }
    }
}

/// Whether the node of the pod can resize: what a container that runs is held to is then in its status.
fn shows_resources(pod: &Value) -> bool {
    let statuses = list(at(pod, &["status"]), "containerStatuses");
    let running = statuses.iter().find(|status| !at(status, &["state", "running"]).is_null());
    running.is_none_or(|status| field(status, "resources").is_some())
}

/// What the pod asks for as a whole: amounts change, and never go.
fn as_a_whole(new: &Value, old: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let asked = |spec: &Value, side: &str, name: &str| !at(spec, &["resources", side, name]).is_null();
    let asks = |spec: &Value| SIDES.iter().any(|side| entries(at(spec, &["resources"]), side).next().is_some());
    if !asks(new) && !asks(old) {
        return;
    }
    let here = path.child("resources");
    if field(old, "resources").is_some() && field(new, "resources").is_none() {
        return errors.forbidden(&here, "pod-level resources cannot be removed");
    }
    for side in SIDES {
        if entries(at(old, &["resources"]), side).any(|(name, _)| !asked(new, side, name)) {
            errors.forbidden(&here.child(side), format!("pod-level resource {side} cannot be removed"));
        }
    }
    let rest =
        |spec: &Value| bare(&field(spec, "resources").map_or_else(|| json!({}), |own| json!({"resources": own})));
    if rest(new) != rest(old) {
        errors.forbidden(path, "only cpu and memory resources are mutable at pod-level");
    }
}

/// An init container that is no sidecar is never restarted for a resize: it would begin its work again.
fn runs_once(new: &Value, old: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let restarts = |policy: &Value| text(policy, "restartPolicy") == "RestartContainer";
    let changed = text(new, "restartPolicy") != "Always" && new != old;
    if changed && list(new, "resizePolicy").iter().any(restarts) {
        let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
        errors.forbidden(path, why);
    }
}

/// Whether both specs have the same containers in the same order; told when not.
fn ordered(new: &Value, old: &Value, path: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let before = errors.0.len();
    for kind in LISTS {
        let all = path.child(kind);
        let (new, old) = (list(new, kind), list(old, kind));
        if new.len() != old.len() {
            errors.forbidden(&all, format!("{kind} may not be added or removed on resize"));
            continue;
        }
        for (index, _) in
            new.iter().zip(old).enumerate().filter(|(_, (new, old))| text(new, "name") != text(old, "name"))
        {
            let why = format!("{kind} may not be renamed or reordered on resize");
            errors.forbidden(&all.index(index).child("name"), why);
        }
    }
    errors.0.len() == before
}

/// What a container asks for changes, and never goes.
fn resized(new: &Value, old: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("resources");
    for side in SIDES {
        let asked = |name: &str| !at(new, &["resources", side, name]).is_null();
        if entries(at(old, &["resources"]), side).any(|(name, _)| !asked(name)) {
            errors.forbidden(&path.child(side), format!("resource {side} cannot be removed"));
        }
    }
}

/// Told when containers differ in more than cpu and memory.
fn others(new: &Value, old: &Value, path: &Path<'_>, why: &str, errors: &mut FieldErrors) {
    if bare(new) != bare(old) {
        errors.forbidden(path, why);
    }
}

/// A container that asks for neither cpu nor memory; a list that is then empty is none.
fn bare(container: &Value) -> Value {
    let mut bare = container.clone();
    let Some(fields) = bare.as_object_mut() else { return bare };
    if let Some(resources) = fields.get_mut("resources").and_then(Value::as_object_mut) {
        for side in SIDES {
            if let Some(asked) = resources.get_mut(side).and_then(Value::as_object_mut) {
                asked.remove("cpu");
                asked.remove("memory");
            }
            if resources.get(side).and_then(Value::as_object).is_some_and(|asked| asked.is_empty()) {
                resources.remove(side);
            }
        }
    }
    if fields.get("resources").and_then(Value::as_object).is_some_and(|resources| resources.is_empty()) {
        fields.remove("resources");
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(new: &Value, old: &Value) -> Vec<String> {
        let mut errors = FieldErrors::new();
        if ordered(new, old, &Path::new("spec"), &mut errors) {
            let (new, old) = (&new["containers"][0], &old["containers"][0]);
            others(new, old, &Path::new("spec"), "only cpu and memory resources are mutable", &mut errors);
        }
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn containers_keep_their_names_their_order_and_all_but_cpu_and_memory() {
        let old = json!({"containers": [{"name": "a", "image": "i"}, {"name": "b"}]});
        assert_eq!(told(&old, &old), [""; 0]);
        let added = json!({"containers": [{"name": "a"}]});
        assert_eq!(
            told(&added, &old),
            ["spec.containers: Forbidden: containers may not be added or removed on resize"]
        );
        let renamed = json!({"containers": [{"name": "a"}, {"name": "c"}]});
        let why = "spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize";
        assert_eq!(told(&renamed, &old), [why]);
        let asks =
            |asked: Value| json!({"containers": [{"name": "a", "image": "i", "resources": asked}, {"name": "b"}]});
        assert_eq!(told(&asks(json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}})), &old), [""; 0]);
        let other = told(&asks(json!({"limits": {"example.com/gpu": "1"}})), &old);
        assert_eq!(other, ["spec: Forbidden: only cpu and memory resources are mutable"]);
        let mut policy = old.clone();
        policy["containers"][0]["resizePolicy"] = json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
        assert_eq!(told(&policy, &old), other);
    }
}
