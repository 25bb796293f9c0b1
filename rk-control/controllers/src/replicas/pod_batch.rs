//! Creating and deleting many pods of one owner.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use rk_client::{Deletion, Informer, Object, ObjectKey, Recorder, is_namespace_terminating, is_not_found, message};
use std::sync::Arc;

/// Most pods made at once: enough to keep the store busy, and not so many that an owner who is gone gets hundreds in vain.
const LARGEST: usize = 64;

/// Creates pods in batches of 1, 2, 4… and stops at the first batch with an error, so that a quota that is full
/// costs one request and not hundreds; and before the batch at which their owner, one of `owners`, wants them no more.
/// Answers how many were made.
///
/// # Errors
/// The first of its batch.
pub(crate) async fn create_in_batches<O: Object>(
    owner: &O,
    owners: &Informer<O>,
    informer: &Informer<Pod>,
    recorder: &Recorder,
    pods: Vec<Pod>,
) -> kube::Result<usize> {
    let key = ObjectKey::of(owner);
    let mut rest = pods.as_slice();
    let mut size = 1;
    while !rest.is_empty() && still_wants(owner.meta(), owners.get(&key).as_ref().map(|now| now.meta())) {
        let (batch, later) = rest.split_at(size.min(rest.len()));
        let results = join_all(batch.iter().map(|pod| informer.create(pod))).await;
        let mut first_error = None;
        for result in results {
            match result {
                Ok(pod) => recorder.normal(owner, "SuccessfulCreate", format!("Created pod: {}", pod.name_any())),
                Err(error) => {
                    tell_failure(owner, recorder, &error);
                    first_error.get_or_insert(error);
                }
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        rest = later;
        size = LARGEST.min(size * 2);
    }
    Ok(pods.len() - rest.len())
}

/// Whether an owner, as it is `now`, wants what it wanted `then`: it is there, and nobody changed it or deletes it.
fn still_wants(then: &ObjectMeta, now: Option<&ObjectMeta>) -> bool {
    let said = |meta: &ObjectMeta| (meta.uid.clone(), meta.generation, meta.deletion_timestamp.is_some());
    now.is_some_and(|now| said(now) == said(then))
}

/// An event of a pod that could not be made; a namespace that ends needs none.
fn tell_failure<O: Object>(owner: &O, recorder: &Recorder, error: &kube::Error) {
    if !is_namespace_terminating(error) {
        recorder.warning(owner, "FailedCreate", format!("Error creating: {}", message(error)));
    }
}

/// Deletes pods gracefully, all of them even if some fail. Answers the first error.
pub(crate) async fn delete_pods<O: Object>(
    owner: &O,
    informer: &Informer<Pod>,
    recorder: &Recorder,
    pods: &[Arc<Pod>],
) -> Option<kube::Error> {
    let deletions = pods.iter().map(|pod| async move {
        let key = ObjectKey::of(pod.as_ref());
        (key.name.clone(), informer.delete(&key, &Deletion::of_uid(pod.metadata.uid.as_ref())).await)
    });
    let mut first_error = None;
    for (name, result) in join_all(deletions).await {
        match result {
            Ok(()) => recorder.normal(owner, "SuccessfulDelete", format!("Deleted pod: {name}")),
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                recorder.warning(owner, "FailedDelete", format!("Error deleting: {}", message(&error)));
                first_error.get_or_insert(error);
            }
        }
    }
    first_error
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_order_holds_until_its_owner_is_changed_deleted_or_gone() {
        let meta = |more: serde_json::Value| -> ObjectMeta {
            let mut meta = json!({"name": "web", "uid": "1", "generation": 2, "resourceVersion": "7"});
            for (key, value) in more.as_object().cloned().unwrap_or_default() {
                meta[key] = value;
            }
            serde_json::from_value(meta).expect("valid metadata")
        };
        let then = meta(json!({}));
        for (now, wanted) in [
            (json!({}), true),
            // Its status was written.
            (json!({"resourceVersion": "8", "labels": {"a": "b"}}), true),
            (json!({"generation": 3}), false),
            (json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), false),
            // Another of the same name.
            (json!({"uid": "2"}), false),
        ] {
            assert_eq!(still_wants(&then, Some(&meta(now.clone()))), wanted, "{now}");
        }
        assert!(!still_wants(&then, None));
    }
}
