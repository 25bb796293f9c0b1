//! DefaultStorageClass and DefaultIngressClass: the class that an administrator marked as default.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::Request;

const STORAGE: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const INGRESS: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];
const OLD_STORAGE: &str = "volume.beta.kubernetes.io/storage-class";
const OLD_INGRESS: &str = "kubernetes.io/ingress.class";

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

pub(super) async fn storage(request: &Request<'_>, claim: &mut Value) -> Result<(), Status> {
    if !request.is("", "persistentvolumeclaims") || !request.creates() {
        return Ok(());
    }
    let chosen = !meta::at(claim, &["spec", "storageClassName"]).is_null()
        || !meta::at(claim, &["metadata", "annotations", OLD_STORAGE]).is_null();
    if chosen {
        return Ok(());
    }
    let classes = request.core.objects("storage.k8s.io", "v1", "storageclasses", "").await?;
    if let Some(name) = newest(classes, STORAGE) {
        claim["spec"]["storageClassName"] = json!(name);
    }
    Ok(())
}

pub(super) async fn ingress(request: &Request<'_>, ingress: &mut Value) -> Result<(), Status> {
    if !request.is("networking.k8s.io", "ingresses") || !request.creates() {
        return Ok(());
    }
    let chosen = !meta::at(ingress, &["spec", "ingressClassName"]).is_null()
        || !meta::at(ingress, &["metadata", "annotations", OLD_INGRESS]).is_null();
    if chosen {
        return Ok(());
    }
    let classes = request.core.objects("networking.k8s.io", "v1", "ingressclasses", "").await?;
    if let Some(name) = newest(classes, INGRESS) {
        ingress["spec"]["ingressClassName"] = json!(name);
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
