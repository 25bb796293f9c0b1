//! Setting dependents free before their owner goes.

use super::{Collector, ORPHAN};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use rk_client::{BoxError, Outcome};
use serde_json::json;

impl Collector {
    /// Removes the owner from all of its dependents, then lets it go.
    pub(super) async fn attempt_orphan(&self, uid: &str) -> Result<Outcome, BoxError> {
        let Some(node) = self.graph().get(uid).cloned() else { return Ok(Outcome::AwaitChange) };
        let served = self.discovery.served().await?;
        for dependent_uid in &node.dependents {
            let Some(dependent) = self.graph().get(dependent_uid).cloned() else { continue };
            let Some(api) = self.api(&served, &dependent) else { continue };
            let Some(live) = api.get_opt(&dependent.name).await? else { continue };
            if live.metadata.uid.as_ref() != Some(dependent_uid) {
                continue;
            }
            let references = live.metadata.owner_references.clone().unwrap_or_default();
            let kept: Vec<&OwnerReference> = references.iter().filter(|r| r.uid != uid).collect();
            if kept.len() != references.len() {
                self.patch_meta(&api, &live.metadata, json!({"ownerReferences": kept})).await?;
            }
        }
        let Some(api) = self.api(&served, &node) else { return Ok(Outcome::AwaitChange) };
        match api.get_opt(&node.name).await? {
            Some(live) if live.metadata.uid.as_deref() == Some(uid) => {
                self.drop_finalizer(&api, &live.metadata, ORPHAN).await
            }
            _ => Ok(Outcome::AwaitChange),
        }
    }
}
