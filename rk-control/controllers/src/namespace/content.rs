//! Deleting everything in a namespace: pods first, then the rest.

use super::conditions::Progress;
use crate::discovery::{AnyMeta, Resource};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams};
use rk_client::{is_not_found, message, reason};
use std::time::Duration;

/// Deletes what there is and notes in `progress` what remains.
pub(super) async fn delete_all(client: &Client, namespace: &str, resources: &[Resource], progress: &mut Progress) {
    let deletable = |r: &&Resource| r.namespaced && r.can("delete");
    let is_pods = |r: &Resource| r.api.group.is_empty() && r.api.plural == "pods";
    // Pods may need the ConfigMaps, Secrets and policies around them until they are gone (KEP-5080).
    for resource in resources.iter().filter(deletable).filter(|r| is_pods(r)) {
        delete_resource(client, namespace, resource, progress).await;
    }
    // A group whose resources cannot be told holds back the end of the namespace, not what is known of it.
    if !progress.remaining.is_empty() || !progress.content_failures.is_empty() {
        return;
    }
    for resource in resources.iter().filter(deletable).filter(|r| !is_pods(r)) {
        delete_resource(client, namespace, resource, progress).await;
    }
}

async fn delete_resource(client: &Client, namespace: &str, resource: &Resource, progress: &mut Progress) {
    let api: Api<AnyMeta> = Api::namespaced_with(client.clone(), namespace, &resource.api);
    if let Err(error) = try_delete(&api, resource, progress).await
        && !is_not_found(&error)
        && reason(&error) != "MethodNotAllowed"
    {
        progress.content_failures.push(format!("{}: {}", resource.name(), message(&error)));
    }
}

async fn try_delete(api: &Api<AnyMeta>, resource: &Resource, progress: &mut Progress) -> kube::Result<()> {
    if !resource.can("list") {
        return Ok(());
    }
    if api.list(&ListParams::default().limit(1)).await?.items.is_empty() {
        return Ok(());
    }
    if resource.can("deletecollection") {
        api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
    } else {
        for object in api.list(&ListParams::default()).await?.items {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            api.delete(name, &DeleteParams::background())
                .await
                .map(|_| ())
                .or_else(|e| if is_not_found(&e) { Ok(()) } else { Err(e) })?;
        }
    }
    let left = api.list(&ListParams::default()).await?.items;
    if left.is_empty() {
        return Ok(());
    }
    let grace = left.iter().filter_map(|o| o.metadata.deletion_grace_period_seconds).max().unwrap_or(0);
    // A grace period is an upper bound: look again well before its end.
    progress.note_wait(Duration::from_secs(u64::try_from(grace).unwrap_or(0)).min(Duration::from_secs(1)));
    for finalizer in left.iter().flat_map(|o| o.metadata.finalizers.iter().flatten()) {
        *progress.finalizers.entry(finalizer.clone()).or_insert(0) += 1;
    }
    progress.remaining.insert(resource.name(), left.len());
    Ok(())
}
