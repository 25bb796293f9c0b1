//! Carrying out what the plan says.

use super::model::Slot;
use super::plan::Action;
use super::{Controller, Revisions, pod};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::Patch;
use rk_client::{Deletion, ObjectKey, is_already_exists, is_not_found, message};

impl Controller {
    pub(super) async fn carry_out(
        &self,
        set: &StatefulSet,
        revisions: &Revisions,
        wanted: &[Slot],
        condemned: &[Slot],
        actions: Vec<Action>,
    ) -> kube::Result<()> {
        for slot in condemned {
            self.own_claims(set, slot, true).await?;
        }
        let find = |ordinal: i32| wanted.iter().chain(condemned).find(|s| s.ordinal == ordinal);
        for action in actions {
            match action {
                Action::Create { ordinal, updated } => self.create(set, revisions, ordinal, updated).await?,
                Action::Delete { ordinal, recreate } => {
                    if let Some(slot) = find(ordinal) {
                        self.delete(set, slot, recreate).await?;
                    }
                }
                Action::Check { ordinal } => {
                    if let Some(slot) = find(ordinal) {
                        self.check(set, slot).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a claim is in the way of a new pod; its change wakes the set.
    fn must_wait(&self, set: &StatefulSet, ordinal: i32) -> bool {
        let name = pod::name(set, ordinal);
        let claims = pod::claims(set, ordinal);
        let mut live = claims.iter().filter_map(|claim| self.claims.get(&ObjectKey::of(claim)));
        live.any(|claim| pod::is_leaving(set, &claim, &name))
    }

    async fn create(&self, set: &StatefulSet, revisions: &Revisions, ordinal: i32, updated: bool) -> kube::Result<()> {
        if self.must_wait(set, ordinal) {
            return Ok(());
        }
        self.ensure_claims(set, ordinal).await?;
        let (template, revision) = (revisions.template(updated, set), revisions.name(updated));
        let (set_name, name) = (set.metadata.name.as_deref().unwrap_or_default(), pod::name(set, ordinal));
        match self.pods.create(&pod::build(set, &template, &revision, ordinal)).await {
            Ok(_) => self.recorder.normal(
                set,
                "SuccessfulCreate",
                format!("create Pod {name} in StatefulSet {set_name} successful"),
            ),
            Err(error) => {
                if !rk_client::is_namespace_terminating(&error) {
                    let text = format!("create Pod {name} in StatefulSet {set_name} failed error: {}", message(&error));
                    self.recorder.warning(set, "FailedCreate", text);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    async fn delete(&self, set: &StatefulSet, slot: &Slot, recreate: bool) -> kube::Result<()> {
        let Some(pod) = &slot.pod else { return Ok(()) };
        let key = ObjectKey::of(pod.as_ref());
        let set_name = set.metadata.name.as_deref().unwrap_or_default();
        if recreate {
            let text = format!("StatefulSet {}/{set_name} is recreating failed Pod {}", key.namespace, key.name);
            self.recorder.warning(set, "RecreatingFailedPod", text);
        }
        match self.pods.delete(&key, &Deletion::of_uid(pod.metadata.uid.as_ref())).await {
            Ok(()) => self.recorder.normal(
                set,
                "SuccessfulDelete",
                format!("delete Pod {} in StatefulSet {set_name} successful", key.name),
            ),
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                let text =
                    format!("delete Pod {} in StatefulSet {set_name} failed error: {}", key.name, message(&error));
                self.recorder.warning(set, "FailedDelete", text);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn check(&self, set: &StatefulSet, slot: &Slot) -> kube::Result<()> {
        let Some(pod) = &slot.pod else { return Ok(()) };
        if !crate::pods::is_terminating(pod) && !pod::has_identity(set, pod, slot.ordinal) {
            self.pods
                .patch(&ObjectKey::of(pod.as_ref()), &Patch::Merge(pod::identity_labels(set, slot.ordinal)))
                .await?;
        }
        self.ensure_claims(set, slot.ordinal).await?;
        self.own_claims(set, slot, false).await
    }

    async fn ensure_claims(&self, set: &StatefulSet, ordinal: i32) -> kube::Result<()> {
        for mut claim in pod::claims(set, ordinal) {
            let key = ObjectKey::of(&claim);
            if self.claims.get(&key).is_some() {
                continue;
            }
            claim.metadata.owner_references = Some(pod::claim_owners(set, None, false)).filter(|o| !o.is_empty());
            let (name, set_name) = (pod::name(set, ordinal), set.metadata.name.as_deref().unwrap_or_default());
            match self.claims.create(&claim).await {
                Ok(_) => self.recorder.normal(
                    set,
                    "SuccessfulCreate",
                    format!("create Claim {} Pod {name} in StatefulSet {set_name} success", key.name),
                ),
                Err(error) if is_already_exists(&error) => {}
                Err(error) => {
                    let text = format!(
                        "create Claim {} for Pod {name} in StatefulSet {set_name} failed error: {}",
                        key.name,
                        message(&error)
                    );
                    self.recorder.warning(set, "FailedCreate", text);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Lets the retention policy take effect through owner references.
    async fn own_claims(&self, set: &StatefulSet, slot: &Slot, condemned: bool) -> kube::Result<()> {
        let Some(pod) = slot.pod.as_deref() else { return Ok(()) };
        let wanted = pod::claim_owners(set, Some(pod), condemned);
        for claim in pod::claims(set, slot.ordinal) {
            let Some(live) = self.claims.get(&ObjectKey::of(&claim)) else { continue };
            let before = live.metadata.owner_references.as_deref().unwrap_or_default();
            if let Some(after) = pod::owners_after(before, (&set.metadata, &pod.metadata), &wanted) {
                let mut changed = PersistentVolumeClaim::clone(&live);
                changed.metadata.owner_references = Some(after).filter(|o| !o.is_empty());
                self.claims.replace(&changed).await?;
            }
        }
        Ok(())
    }
}
