//! AppArmor profiles of a pod's containers, which were annotations before they were fields (KEP-24).

use serde_json::{Map, Value, json};

use crate::meta::{at, text};

/// The annotation of a container's profile, without the container's name.
pub(super) const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
/// What to say of it.
pub(super) const OF_OLD: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
/// Longest name of a profile that a field takes, in bytes.
const LONGEST: usize = 4095;

/// A new pod: containers whose profile is an annotation get it as a field, unless it is the pod's anyway.
pub(super) fn sync(pod: &mut Value) {
    for (list, index, _, profile) in changes(pod) {
        let Some(profile) = profile else { continue };
        let container = pod.pointer_mut(&format!("/spec/{list}/{index}")).and_then(Value::as_object_mut);
        let Some(container) = container else { continue };
        let context = container.entry("securityContext").or_insert_with(|| Value::Object(Map::new()));
        if context.is_null() {
            *context = Value::Object(Map::new());
        }
        if let Some(context) = context.as_object_mut() {
            context.insert("appArmorProfile".into(), profile);
        }
    }
}

/// What to say of a new pod as its author wrote it: of annotations that say what no field says.
pub(super) fn warnings(pod: &Value) -> Vec<String> {
    let told = changes(pod).into_iter();
    told.map(|(_, _, name, _)| format!("metadata.annotations[{ANNOTATION}{name}]: {OF_OLD}")).collect()
}

/// The containers (list, index, name) whose annotation says what no field says, and the profile; none if it is no good one.
fn changes(pod: &Value) -> Vec<(&'static str, usize, String, Option<Value>)> {
    let annotations = at(pod, &["metadata", "annotations"]).as_object();
    let Some(annotations) = annotations.filter(|all| all.keys().any(|key| key.starts_with(ANNOTATION))) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if text(pod, &["spec", "os", "name"]) == "windows" {
        return found;
    }
    let of_pod = at(pod, &["spec", "securityContext", "appArmorProfile"]);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = at(pod, &["spec", list]).as_array().into_iter().flatten();
        for (index, container) in containers.enumerate() {
            let name = text(container, &["name"]);
            let annotation = annotations.get(&format!("{ANNOTATION}{name}")).and_then(Value::as_str);
            let own = at(container, &["securityContext", "appArmorProfile"]);
            let Some(annotation) = annotation.filter(|_| own.is_null()) else { continue };
            let profile = field(annotation);
            if profile.as_ref() != Some(of_pod) {
                found.push((list, index, name.to_owned(), profile));
            }
        }
    }
    found
}

/// The field that says what an annotation says, if it is a good one.
fn field(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let name = annotation.strip_prefix("localhost/")?;
            let good = !name.is_empty() && name.trim() == name && name.len() <= LONGEST;
            good.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_in_annotations_become_fields_and_deserve_a_word() {
        let key = |name: &str| format!("{ANNOTATION}{name}");
        let mut pod = json!({
            "metadata": {"annotations": {
                key("a"): "runtime/default", key("b"): "localhost/x", key("c"): "unconfined", key("d"): "localhost/",
                key("e"): "unconfined",
            }},
            "spec": {
                "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}},
                "initContainers": [{"name": "b", "securityContext": null}],
                "containers": [
                    {"name": "a"}, {"name": "c", "securityContext": {"privileged": false}}, {"name": "d"},
                    {"name": "e", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
                ],
            },
        });
        let said = |name: &str| format!("metadata.annotations[{}]: {OF_OLD}", key(name));
        // That of `a` is the pod's, and that of `e` has its field.
        assert_eq!(warnings(&pod), [said("b"), said("c"), said("d")]);
        sync(&mut pod);
        assert_eq!(
            pod["spec"]["initContainers"],
            json!([{"name": "b", "securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "x"}}}])
        );
        assert_eq!(
            pod["spec"]["containers"],
            json!([
                {"name": "a"}, {"name": "c", "securityContext": {"privileged": false, "appArmorProfile": {"type": "Unconfined"}}},
                {"name": "d"}, {"name": "e", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
            ])
        );
        assert_eq!(warnings(&pod), [said("d")], "what is a field now is told no more");
    }

    #[test]
    fn pods_of_another_system_are_left_alone() {
        let mut pod = json!({
            "metadata": {"annotations": {format!("{ANNOTATION}a"): "unconfined"}},
            "spec": {"os": {"name": "windows"}, "containers": [{"name": "a"}]},
        });
        let before = pod.clone();
        sync(&mut pod);
        assert_eq!((pod, warnings(&before)), (before.clone(), Vec::new()));
    }
}
