//! Rolling back to an earlier revision through the annotation of the retired `rollback` subresource.

use super::{Controller, Rollout, revision, template};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use rk_client::BoxError;

impl Controller {
    /// Carries out a requested rollback; answers whether there was one.
    pub(super) async fn roll_back(&self, rollout: &mut Rollout) -> Result<bool, BoxError> {
        let Some(mut target) = revision::number::<i64>(&rollout.deployment.metadata, revision::ROLLBACK_TO) else {
            return Ok(false);
        };
        if target == 0 {
            let mut revisions: Vec<i64> = rollout.sets.iter().map(revision::of).collect();
            revisions.sort_unstable();
            target = revisions.iter().rev().nth(1).copied().unwrap_or(0);
        }
        let mut deployment = rollout.deployment.clone();
        if let Some(annotations) = &mut deployment.metadata.annotations {
            annotations.remove(revision::ROLLBACK_TO);
        }
        match rollout.sets.iter().find(|set| target != 0 && revision::of(set) == target) {
            None => {
                let text = if target == 0 {
                    "Unable to find last revision."
                } else {
                    "Unable to find the revision to rollback to."
                };
                self.recorder.warning(&deployment, "DeploymentRollbackRevisionNotFound", text);
            }
            Some(set) if template::equal(set, &rollout.spec().template) => {
                let text = format!(
                    "The rollback revision contains the same template as current deployment {:?}",
                    deployment.metadata.name.as_deref().unwrap_or_default()
                );
                self.recorder.warning(&deployment, "DeploymentRollbackTemplateUnchanged", text);
            }
            Some(set) => {
                restore(&mut deployment, set);
                let text = format!(
                    "Rolled back deployment {:?} to revision {target}",
                    deployment.metadata.name.as_deref().unwrap_or_default()
                );
                self.recorder.normal(&deployment, "DeploymentRollback", text);
            }
        }
        rollout.deployment = self.deployments.replace(&deployment).await?;
        Ok(true)
    }
}

/// Gives a Deployment the annotations and the template of the ReplicaSet of an earlier revision.
fn restore(deployment: &mut Deployment, set: &ReplicaSet) {
    deployment.metadata.annotations = Some(revision::annotations_of_rollback(&deployment.metadata, &set.metadata));
    let back = set.spec.as_ref().and_then(|s| s.template.clone());
    let (Some(spec), Some(mut back)) = (&mut deployment.spec, back) else { return };
    if let Some(labels) = back.metadata.as_mut().and_then(|m| m.labels.as_mut()) {
        labels.remove(template::HASH_LABEL);
    }
    spec.template = back;
}
