//! DefaultStorageClass and DefaultIngressClass: the class that an administrator marked as default.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::Request;

const STORAGE: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const INGRESS: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];

/// How new objects of a kind come to a class.
pub(super) struct Choice {
    /// Group and resource of the kind.
    chooser: (&'static str, &'static str),
    /// The field of the spec that tells the class.
    field: &'static str,
    /// The annotation that told it before there was the field.
    old: &'static str,
    /// Group and resource of the classes.
    classes: (&'static str, &'static str),
    /// What marks one of them as default.
    marks: &'static [&'static str],
}

/// Claims of storage.
pub(super) static OF_CLAIMS: Choice = Choice {
    chooser: ("", "persistentvolumeclaims"),
    field: "storageClassName",
    old: "volume.beta.kubernetes.io/storage-class",
    classes: ("storage.k8s.io", "storageclasses"),
    marks: STORAGE,
};
/// Ingresses.
pub(super) static OF_INGRESSES: Choice = Choice {
    chooser: ("networking.k8s.io", "ingresses"),
    field: "ingressClassName",
    old: "kubernetes.io/ingress.class",
    classes: ("networking.k8s.io", "ingressclasses"),
    marks: INGRESS,
};

fn is_default(class: &Value, annotations: &[&str]) -> bool {
    annotations.iter().any(|key| meta::text(class, &["metadata", "annotations", key]) == "true")
}

/// The newest of the default classes; among equals the first by name.
fn newest(classes: Vec<Value>, annotations: &[&str]) -> Option<String> {
    let mut defaults: Vec<Value> = classes.into_iter().filter(|class| is_default(class, annotations)).collect();
    defaults.sort_by(|a, b| {
        let created = |class| meta::text(class, &["metadata", "creationTimestamp"]);
        created(b).cmp(created(a)).then_with(|| meta::name(a).cmp(meta::name(b)))
    });
    defaults.first().map(|class| meta::name(class).to_owned())
}

/// Gives a new object that tells no class the default one, if there is one.
pub(super) async fn give(choice: &Choice, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
    let (group, resource) = choice.chooser;
    if !request.is(group, resource) || !request.creates() {
        return Ok(());
    }
    let chosen = !meta::at(object, &["spec", choice.field]).is_null()
        || !meta::at(object, &["metadata", "annotations", choice.old]).is_null();
    if chosen {
        return Ok(());
    }
    let (group, classes) = choice.classes;
    let classes = request.core.objects(group, "v1", classes, "").await?;
    if let Some(name) = newest(classes, choice.marks) {
        object["spec"][choice.field] = json!(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_default_is_taken_and_among_equals_the_first_by_name() {
        let marked = |key: &str, name: &str, minute: u32, default: &str| {
            let created = format!("2026-01-01T00:{minute:02}:00Z");
            json!({"metadata": {"name": name, "creationTimestamp": created, "annotations": {key: default}}})
        };
        let class = |name: &str, minute: u32, default: &str| marked(STORAGE[0], name, minute, default);
        for (classes, expected) in [
            (vec![], None),
            (vec![class("a", 1, "false"), class("b", 2, "yes")], None),
            (vec![class("a", 1, "true"), class("b", 2, "true"), class("c", 3, "false")], Some("b")),
            (vec![class("b", 2, "true"), class("a", 2, "true")], Some("a")),
        ] {
            assert_eq!(newest(classes, STORAGE).as_deref(), expected);
        }
        assert_eq!(newest(vec![class("a", 1, "true")], INGRESS), None);
        let older = marked("storageclass.beta.kubernetes.io/is-default-class", "a", 1, "true");
        assert_eq!(newest(vec![older], STORAGE).as_deref(), Some("a"));
    }
}
