//! Creating and deleting many pods of one owner.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rk_client::{Deletion, Informer, Object, ObjectKey, Recorder, is_namespace_terminating, is_not_found, message};
use std::sync::Arc;

/// Creates pods in batches of 1, 2, 4… and stops at the first batch with an error, so that a quota that is full
/// costs one request and not hundreds. Answers the first error.
pub(crate) async fn create_in_batches<O: Object>(
    owner: &O,
    informer: &Informer<Pod>,
    recorder: &Recorder,
    pods: Vec<Pod>,
) -> Option<kube::Error> {
    let mut rest = pods.as_slice();
    let mut size = 1;
    while !rest.is_empty() {
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
        if first_error.is_some() {
            return first_error;
        }
        rest = later;
        size *= 2;
    }
    None
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
