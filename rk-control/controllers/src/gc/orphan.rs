//! Setting dependents free before their owner goes.

use super::delete::UNSERVED;
use super::{Collector, LISTING, ORPHAN};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use rk_client::{BoxError, Outcome};
use serde_json::json;

impl Collector {
    /// Removes the owner from all of its dependents, then lets it go.
    pub(super) async fn attempt_orphan(&self, uid: &str) -> Result<Outcome, BoxError> {
        if !self.knows_dependents() {
            return Ok(Outcome::RequeueAfter(LISTING));
        }
        let Some(node) = self.graph().get(uid).cloned() else { return Ok(Outcome::AwaitChange) };
        let served = self.discovery.served().await?;
        for dependent_uid in &node.dependents {
            let Some(dependent) = self.graph().get(dependent_uid).cloned() else { continue };
            let Some(api) = self.api(&served, &dependent) else {
                // Without its owner it would be garbage as soon as its kind is told of again; a kind that is not served has no objects.
                if served.failed.is_empty() {
                    continue;
                }
                return Ok(Outcome::RequeueAfter(UNSERVED));
            };
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
        let Some(api) = self.api(&served, &node) else { return Ok(Outcome::RequeueAfter(UNSERVED)) };
        match api.get_opt(&node.name).await? {
            Some(live) if live.metadata.uid.as_deref() == Some(uid) => {
                self.drop_finalizer(&api, &live.metadata, ORPHAN).await
            }
            _ => Ok(Outcome::AwaitChange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FOREGROUND;
    use super::super::graph::Kind;
    use super::*;
    use std::sync::Arc;
    use std::time::Instant;

    /// A collector that knows of an owner on its way out, and of nothing else.
    fn knowing_owner(finalizer: &str) -> Collector {
        let collector = Collector::of_nothing();
        let kind = Arc::new(Kind { api_version: "example.com/v1".to_owned(), kind: "Thing".to_owned() });
        let owner = json!({"name": "a", "namespace": "n", "uid": "owner", "finalizers": [finalizer],
            "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let work = collector.graph().observe(&kind, &serde_json::from_value(owner).expect("valid"));
        assert_eq!([work.deletions, work.orphans].concat(), ["owner"]);
        collector
    }

    #[tokio::test]
    async fn an_owner_whose_kind_nobody_serves_at_the_moment_is_let_go_later() {
        let outcome = knowing_owner(ORPHAN).attempt_orphan("owner").await.expect("an outcome");
        assert_eq!(outcome, Outcome::RequeueAfter(UNSERVED));
    }

    #[tokio::test]
    async fn an_owner_is_let_go_by_a_collector_that_has_read_all_that_it_may_own() {
        let id = ("example.com".to_owned(), "things".to_owned());
        for finalizer in [ORPHAN, FOREGROUND] {
            let collector = knowing_owner(finalizer);
            collector.lists().wait_for(id.clone(), Instant::now());
            for expected in [LISTING, UNSERVED] {
                let outcome = match finalizer {
                    ORPHAN => collector.attempt_orphan("owner").await,
                    _ => collector.attempt_delete("owner").await,
                };
                assert_eq!(outcome.expect("an outcome"), Outcome::RequeueAfter(expected), "{finalizer}");
                collector.lists().settle(&id);
            }
        }
    }
}
