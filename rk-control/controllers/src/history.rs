//! ControllerRevisions: former pod templates of DaemonSets and StatefulSets.

use crate::hash;
use crate::remove::remove;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::Patch;
use rk_client::{Informer, Object, ObjectKey, controller_ref, is_already_exists};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Label of a DaemonSet's revision, and of the pods made from a revision.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
/// Label of a StatefulSet's revision.
pub(crate) const REVISION_HASH: &str = "controller.kubernetes.io/hash";

/// The hash of a DaemonSet's revision, or of the revision that a pod was made from.
pub(crate) fn hash_of(meta: &ObjectMeta) -> Option<&str> {
    meta.labels.as_ref()?.get(HASH_LABEL).map(String::as_str)
}

/// The patch that brings a template back, which is what a revision stores.
pub(crate) fn data_of(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".to_owned(), json!("replace"));
    }
    json!({"spec": {"template": template}})
}

/// The template that a revision stores.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

fn same_data(revision: &ControllerRevision, data: &Value) -> bool {
    // Compared as templates: the server may have filled or dropped what is empty.
    let wanted = data.pointer("/spec/template").cloned().and_then(|mut t| {
        t.as_object_mut()?.remove("$patch");
        serde_json::from_value::<PodTemplateSpec>(t).ok()
    });
    wanted.is_some() && template_of(revision) == wanted
}

/// The others among `revisions` that store the same template as `kept`.
pub(crate) fn doubles<'a>(
    revisions: &'a [ControllerRevision],
    kept: &ControllerRevision,
) -> Vec<&'a ControllerRevision> {
    let Some(template) = template_of(kept) else { return Vec::new() };
    let is_double = |other: &&ControllerRevision| {
        other.metadata.name != kept.metadata.name && template_of(other).as_ref() == Some(&template)
    };
    revisions.iter().filter(is_double).collect()
}

/// Finds the revision of a template among `revisions`, or makes it with its hash under `label`. `collisions` counts names that were taken by other
/// content; the caller stores it.
pub(crate) async fn ensure<O: Object>(
    informer: &Informer<ControllerRevision>,
    (owner, label): (&O, &str),
    template: &PodTemplateSpec,
    revisions: &[ControllerRevision],
    collisions: &mut Option<i32>,
) -> kube::Result<ControllerRevision> {
    let data = data_of(template);
    let next = revisions.iter().map(|r| r.revision).max().unwrap_or(0) + 1;
    if let Some(known) = revisions.iter().filter(|r| same_data(r, &data)).max_by_key(|r| r.revision) {
        if known.revision + 1 == next {
            return Ok(known.clone());
        }
        // A rollback: the old revision becomes the newest.
        return informer.patch(&ObjectKey::of(known), &Patch::Merge(json!({"revision": next}))).await;
    }
    loop {
        let revision = new_revision((owner, label), template, &data, next, *collisions);
        match informer.create(&revision).await {
            Err(error) if is_already_exists(&error) => *collisions = Some(collisions.unwrap_or(0).saturating_add(1)),
            other => return other,
        }
    }
}

fn new_revision<O: Object>(
    (owner, label): (&O, &str),
    template: &PodTemplateSpec,
    data: &Value,
    number: i64,
    collisions: Option<i32>,
) -> ControllerRevision {
    let hash = hash::of_object(data, collisions);
    let labels = template.metadata.as_ref().and_then(|m| m.labels.clone());
    let mut labels: BTreeMap<String, String> = labels.unwrap_or_default();
    labels.insert(label.to_owned(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", owner.meta().name.as_deref().unwrap_or_default())),
            namespace: owner.meta().namespace.clone(),
            labels: Some(labels),
            annotations: owner.meta().annotations.clone(),
            owner_references: Some(vec![controller_ref(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data.clone())),
        revision: number,
    }
}

/// Removes the oldest revisions beyond the limit that are not `live`.
pub(crate) async fn truncate(
    informer: &Informer<ControllerRevision>,
    mut revisions: Vec<ControllerRevision>,
    live: &[String],
    limit: Option<i32>,
) -> kube::Result<()> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    revisions.retain(|r| r.metadata.name.as_ref().is_some_and(|n| !live.contains(n)));
    revisions.sort_by_key(|r| r.revision);
    let excess = revisions.len().saturating_sub(limit);
    for revision in revisions.iter().take(excess) {
        remove(informer, revision).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients tell by its bytes whether a revision is that of a template: keys in order, nothing that the API does not write, nothing left out.
    #[test]
    fn a_revision_holds_the_very_text_of_its_template() {
        let template = r#"{"metadata":{"labels":{"daemonset-name":"d"}},"spec":{"containers":[{"image":"i","imagePullPolicy":"IfNotPresent","name":"app","ports":[{"containerPort":9376,"protocol":"TCP"}],"resources":{},"securityContext":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}"#;
        let read: PodTemplateSpec = serde_json::from_str(template).expect("valid");
        let rest = template.strip_prefix('{').expect("an object");
        assert_eq!(data_of(&read).to_string(), format!(r#"{{"spec":{{"template":{{"$patch":"replace",{rest}}}}}"#));
    }

    #[test]
    fn a_template_survives_its_revision() {
        let template: PodTemplateSpec = serde_json::from_value(
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
        )
        .expect("valid");
        let revision =
            ControllerRevision { data: Some(RawExtension(data_of(&template))), ..ControllerRevision::default() };
        assert_eq!(template_of(&revision).as_ref(), Some(&template));
        assert!(same_data(&revision, &data_of(&template)));
        let mut other = template.clone();
        other.metadata.get_or_insert_default().annotations = Some(BTreeMap::from([("x".to_owned(), "y".to_owned())]));
        assert!(!same_data(&revision, &data_of(&other)));
    }
}
