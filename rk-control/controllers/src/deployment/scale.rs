//! Writing the sizes of ReplicaSets.

use super::{Controller, Rollout, proportional, revision, template};
use k8s_openapi::api::apps::v1::ReplicaSet;
use rk_client::BoxError;

impl Controller {
    /// Sets the size of one ReplicaSet and notes the Deployment's size beside it; answers whether the size changed.
    pub(super) async fn scale(&self, rollout: &mut Rollout, at: usize, size: i32) -> Result<bool, BoxError> {
        let (wanted, max) = (rollout.wanted(), rollout.wanted().saturating_add(rollout.fences().surge));
        let Some(set) = rollout.sets.get(at) else { return Ok(false) };
        let before = template::replicas(set);
        let noted = |name| revision::number::<i32>(&set.metadata, name);
        if before == size && noted(revision::DESIRED) == Some(wanted) && noted(revision::MAX) == Some(max) {
            return Ok(false);
        }
        let mut changed: ReplicaSet = set.clone();
        note_size(&mut changed, wanted, max);
        if let Some(spec) = &mut changed.spec {
            spec.replicas = Some(size);
        }
        let written = self.sets.replace(&changed).await?;
        if before != size {
            let direction = if before < size { "up" } else { "down" };
            let name = written.metadata.name.as_deref().unwrap_or_default();
            let text = format!("Scaled {direction} replica set {name} from {before} to {size}");
            self.recorder.normal(&rollout.deployment, "ScalingReplicaSet", text);
        }
        if let Some(slot) = rollout.sets.get_mut(at) {
            *slot = written;
        }
        Ok(before != size)
    }

    /// Handles a change of `spec.replicas`, also in the middle of a rollout.
    pub(super) async fn scale_proportionally(&self, rollout: &mut Rollout) -> Result<(), BoxError> {
        let status_replicas = rollout.deployment.status.as_ref().and_then(|s| s.replicas).unwrap_or(0);
        let sizes = proportional::sizes(
            &rollout.sizes(),
            rollout.wanted(),
            rollout.is_rolling(),
            rollout.fences(),
            status_replicas,
        );
        for (at, size) in sizes {
            self.scale(rollout, at, size).await?;
        }
        Ok(())
    }
}

pub(super) fn note_size(set: &mut ReplicaSet, wanted: i32, max: i32) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(revision::DESIRED.to_owned(), wanted.to_string());
    annotations.insert(revision::MAX.to_owned(), max.to_string());
}
