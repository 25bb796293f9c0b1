//! Revisions of a DaemonSet's template: claimed, known by a hash, one for each template, and no more than are wanted.

use super::{Controller, selector_of};
use crate::claim::{apply, claim_all};
use crate::remove::remove;
use crate::{history, pods};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use rk_client::{Change, ObjectKey, controller_of};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Whether a revision came that its set owns already: the set made it, or somebody has more to do with it before the set looks at its
/// revisions (`addHistory` in `pkg/controller/daemon/daemon_controller.go`).
pub(super) fn is_owned_from_the_start(change: &Change<ControllerRevision>) -> bool {
    matches!(change, Change::Added(revision) if controller_of(&revision.metadata).is_some())
}

impl Controller {
    /// The set's revisions, each with a hash.
    pub(super) async fn revisions_of(&self, set: &DaemonSet) -> kube::Result<Vec<ControllerRevision>> {
        let candidates = pods::candidates(&self.revisions, &set.metadata);
        let owned = claim_all(&self.client, set, &selector_of(set), &self.revisions, candidates).await?;
        let mut known = Vec::with_capacity(owned.len());
        for revision in owned {
            known.push(self.with_hash(&revision).await?);
        }
        Ok(known)
    }

    /// A revision that somebody else made without a hash has its name for one.
    async fn with_hash(&self, revision: &ControllerRevision) -> kube::Result<ControllerRevision> {
        if history::hash_of(&revision.metadata).is_some() {
            return Ok(revision.clone());
        }
        let (uid, name) = (&revision.metadata.uid, &revision.metadata.name);
        let change = json!({"metadata": {"uid": uid, "labels": {(history::HASH_LABEL): name}}});
        self.revisions.patch(&ObjectKey::of(revision), &Patch::Merge(change)).await
    }

    /// Leaves `kept` alone of all revisions in `known` that hold its template. Pods of the others become its own and go on: they were made
    /// of the same template (`pkg/controller/daemon/update.go`).
    pub(super) async fn merge_doubles(
        &self,
        set: &DaemonSet,
        known: &[ControllerRevision],
        kept: &ControllerRevision,
    ) -> kube::Result<()> {
        let doubles = history::doubles(known, kept);
        if doubles.is_empty() {
            return Ok(());
        }
        let hash = history::hash_of(&kept.metadata).unwrap_or_default();
        let owned = self.pods.by_index(pods::BY_OWNER, set.metadata.uid.as_deref().unwrap_or_default());
        for pod in pods_of(&doubles, &owned, hash) {
            let change = json!({"metadata": {"uid": pod.metadata.uid, "labels": {(history::HASH_LABEL): hash}}});
            apply(&self.pods, pod.as_ref(), change).await?;
        }
        for double in doubles {
            remove(&self.revisions, double).await?;
        }
        Ok(())
    }

    /// Removes old revisions that no pod has and nobody wants to keep.
    pub(super) async fn truncate(&self, set: &DaemonSet, hash: &str) -> kube::Result<()> {
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let mut live: BTreeSet<String> = BTreeSet::from([hash.to_owned()]);
        for pod in self.pods.by_index(pods::BY_OWNER, uid) {
            live.extend(history::hash_of(&pod.metadata).map(str::to_owned));
        }
        let all: Vec<ControllerRevision> =
            self.revisions.by_index(pods::BY_OWNER, uid).iter().map(|r| ControllerRevision::clone(r)).collect();
        let in_use = |r: &&ControllerRevision| history::hash_of(&r.metadata).is_some_and(|h| live.contains(h));
        let live: Vec<String> = all.iter().filter(in_use).filter_map(|r| r.metadata.name.clone()).collect();
        history::truncate(&self.revisions, all, &live, set.spec.as_ref().and_then(|s| s.revision_history_limit)).await
    }
}

/// The pods among `owned` that were made from one of `doubles` and do not bear `hash` yet.
fn pods_of<'a>(doubles: &[&ControllerRevision], owned: &'a [Arc<Pod>], hash: &str) -> Vec<&'a Arc<Pod>> {
    let theirs: BTreeSet<&str> = doubles.iter().filter_map(|double| history::hash_of(&double.metadata)).collect();
    let is_theirs =
        |pod: &&Arc<Pod>| history::hash_of(&pod.metadata).is_some_and(|bears| bears != hash && theirs.contains(bears));
    owned.iter().filter(is_theirs).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::name;
    use super::super::plan::tests::pod;
    use super::*;

    fn revision(name: &str, number: i64, image: &str) -> ControllerRevision {
        let data = json!({"spec": {"template": {"$patch": "replace", "spec": {"containers": [
            {"name": "c", "image": image},
        ]}}}});
        let labels = json!({"controller-revision-hash": name});
        let revision = json!({"metadata": {"name": name, "labels": labels}, "data": data, "revision": number});
        serde_json::from_value(revision).expect("valid")
    }

    #[test]
    fn a_set_is_not_woken_by_a_revision_that_it_owns_from_the_start() {
        let free = Arc::new(revision("r", 1, "a"));
        let mut owned = ControllerRevision::clone(&free);
        let owner =
            json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true}]);
        owned.metadata.owner_references = Some(serde_json::from_value(owner).expect("valid"));
        let owned = Arc::new(owned);
        for (change, passed_over) in [
            (Change::Added(Arc::clone(&owned)), true),
            (Change::Added(Arc::clone(&free)), false),
            (Change::Updated { old: free, new: Arc::clone(&owned) }, false),
            (Change::Deleted(owned), false),
        ] {
            assert_eq!(is_owned_from_the_start(&change), passed_over, "{change:?}");
        }
    }

    #[test]
    fn pods_of_a_double_are_those_of_the_revision_that_is_kept() {
        let known = [revision("old", 1, "a"), revision("twin", 2, "b"), revision("kept", 3, "b")];
        let doubles = history::doubles(&known, &known[2]);
        assert_eq!(doubles.iter().map(|r| r.revision).collect::<Vec<_>>(), [2]);
        let owned: Vec<Arc<Pod>> =
            ["old", "twin", "kept", "other"].iter().map(|hash| pod(hash, hash, "Running", true)).collect();
        let found: Vec<String> = pods_of(&doubles, &owned, "kept").iter().map(|pod| name(pod)).collect();
        assert_eq!(found, ["twin"], "what was made of another template is rolled");
        // Somebody copied the label, too.
        assert!(pods_of(&doubles, &owned, "twin").is_empty());
        assert!(history::doubles(&known, &known[0]).is_empty());
    }
}
