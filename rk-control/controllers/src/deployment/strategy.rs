//! The two strategies: rolling update, and recreate.

use super::conditions::{self, PROGRESSING};
use super::status::is_complete;
use super::{Controller, Rollout, revision, rolling, scale, template};
use crate::{hash, pods};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rk_client::{
    BoxError, Deletion, ObjectKey, Outcome, Verbs, controller_ref, is_already_exists, is_controlled_by,
    is_namespace_terminating, message,
};

impl Controller {
    pub(super) async fn rolling_update(&self, rollout: &mut Rollout) -> Result<Outcome, BoxError> {
        self.ensure_new_set(rollout, true).await?;
        let (wanted, fences) = (rollout.wanted(), rollout.fences());
        let mut changed = false;
        if let Some(at) = rollout.new_set() {
            let size = rolling::new_set_size(&rollout.sizes(), wanted, true, fences);
            changed |= self.scale(rollout, at, size).await?;
        }
        if !changed {
            for (at, size) in rolling::shrink_old(&rollout.sizes(), wanted, fences) {
                self.scale(rollout, at, size).await?;
                changed = true;
            }
        }
        if !changed {
            self.clean_up_if_complete(rollout).await?;
        }
        self.sync_status(rollout).await
    }

    pub(super) async fn recreate(&self, rollout: &mut Rollout) -> Result<Outcome, BoxError> {
        self.ensure_new_set(rollout, false).await?;
        let new = rollout.new_set();
        let active_old: Vec<usize> = (0..rollout.sets.len())
            .filter(|at| Some(*at) != new && rollout.sets.get(*at).is_some_and(|s| template::replicas(s) > 0))
            .collect();
        for at in &active_old {
            self.scale(rollout, *at, 0).await?;
        }
        if !active_old.is_empty() || self.old_pods_run(rollout) {
            return self.sync_status(rollout).await;
        }
        self.ensure_new_set(rollout, true).await?;
        if let Some(at) = rollout.new_set() {
            self.scale(rollout, at, rollout.wanted()).await?;
        }
        self.clean_up_if_complete(rollout).await?;
        self.sync_status(rollout).await
    }

    fn old_pods_run(&self, rollout: &Rollout) -> bool {
        rollout.old_sets().any(|set| {
            let counted = set.status.as_ref().is_some_and(|s| s.replicas > 0);
            let owned = self.pods.by_index(pods::BY_OWNER, set.metadata.uid.as_deref().unwrap_or_default());
            counted || owned.iter().any(|pod| !pods::is_finished(pod))
        })
    }

    /// Finds the set of the current template, gives it its revision, and makes it if `create`.
    pub(super) async fn ensure_new_set(&self, rollout: &mut Rollout, create: bool) -> Result<(), BoxError> {
        let next = rollout.old_sets().map(revision::of).max().unwrap_or(0) + 1;
        match rollout.new_set() {
            Some(at) => self.update_new_set(rollout, at, next).await,
            None if create => self.create_new_set(rollout, next).await,
            None => Ok(()),
        }
    }

    async fn update_new_set(&self, rollout: &mut Rollout, at: usize, next: i64) -> Result<(), BoxError> {
        let Some(set) = rollout.sets.get(at) else { return Ok(()) };
        let annotations = revision::annotate(&rollout.deployment.metadata, &set.metadata, next);
        let min_ready = rollout.spec().min_ready_seconds;
        let differs = set.spec.as_ref().is_some_and(|s| s.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0));
        if set.metadata.annotations.as_ref() != Some(&annotations) || differs {
            let mut changed: ReplicaSet = set.clone();
            changed.metadata.annotations = Some(annotations);
            if let Some(spec) = &mut changed.spec {
                spec.min_ready_seconds = min_ready;
            }
            let written = self.sets.replace(&changed).await?;
            if let Some(slot) = rollout.sets.get_mut(at) {
                *slot = written;
            }
        }
        self.note_revision(rollout, at).await?;
        if rollout.deployment.status.as_ref().is_none_or(|s| conditions::get(s, PROGRESSING).is_none()) {
            let name = rollout.sets.get(at).and_then(|s| s.metadata.name.clone()).unwrap_or_default();
            self.note_progress(rollout, "True", "FoundNewReplicaSet", format!("Found new replica set {name:?}"))
                .await?;
        }
        Ok(())
    }

    async fn create_new_set(&self, rollout: &mut Rollout, next: i64) -> Result<(), BoxError> {
        let set = new_set(rollout, next);
        let name = set.metadata.name.clone().unwrap_or_default();
        let created = match self.sets.create(&set).await {
            Ok(created) => created,
            Err(error) if is_already_exists(&error) => {
                let existing: ReplicaSet = self.client.get(&ObjectKey::of(&set)).await?;
                let ours = is_controlled_by(
                    &existing.metadata,
                    rollout.deployment.metadata.uid.as_deref().unwrap_or_default(),
                );
                if !ours || !template::equal(&existing, &rollout.spec().template) {
                    // Another template hashed to this name: count the collision, the next run hashes differently.
                    let status = rollout.deployment.status.get_or_insert_default();
                    status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
                    rollout.deployment = self.deployments.replace_status(&rollout.deployment).await?;
                    return Err(error.into());
                }
                self.sets.observe(existing)
            }
            Err(error) if is_namespace_terminating(&error) => return Err(error.into()),
            Err(error) => {
                let text = format!("Failed to create new replica set {name:?}: {}", message(&error));
                self.recorder.warning(&rollout.deployment, "ReplicaSetCreateError", text.clone());
                self.note_progress(rollout, "False", "ReplicaSetCreateError", text).await?;
                return Err(error.into());
            }
        };
        let size = template::replicas(&created);
        if size > 0 {
            let text = format!("Scaled up replica set {name} from 0 to {size}");
            self.recorder.normal(&rollout.deployment, "ScalingReplicaSet", text);
        }
        rollout.sets.push(created);
        let at = rollout.sets.len() - 1;
        self.note_revision(rollout, at).await?;
        self.note_progress(rollout, "True", "NewReplicaSetCreated", format!("Created new replica set {name:?}")).await
    }

    async fn note_revision(&self, rollout: &mut Rollout, at: usize) -> Result<(), BoxError> {
        let Some(set) = rollout.sets.get(at) else { return Ok(()) };
        let revision = set.metadata.annotations.as_ref().and_then(|a| a.get(revision::REVISION)).cloned();
        let noted = rollout.deployment.metadata.annotations.as_ref().and_then(|a| a.get(revision::REVISION)).cloned();
        if noted != revision {
            let mut changed = rollout.deployment.clone();
            let annotations = changed.metadata.annotations.get_or_insert_default();
            match revision {
                Some(revision) => annotations.insert(revision::REVISION.to_owned(), revision),
                None => annotations.remove(revision::REVISION),
            };
            rollout.deployment = self.deployments.replace(&changed).await?;
        }
        Ok(())
    }

    async fn note_progress(
        &self,
        rollout: &mut Rollout,
        value: &str,
        reason: &str,
        text: String,
    ) -> Result<(), BoxError> {
        if rollout.spec().progress_deadline_seconds.is_none_or(|s| s == i32::MAX) {
            return Ok(());
        }
        let mut status = rollout.deployment.status.clone().unwrap_or_default();
        conditions::set(&mut status, PROGRESSING, value, reason, text, Timestamp::now());
        if rollout.deployment.status.as_ref() != Some(&status) {
            rollout.deployment.status = Some(status);
            rollout.deployment = self.deployments.replace_status(&rollout.deployment).await?;
        }
        Ok(())
    }

    async fn clean_up_if_complete(&self, rollout: &Rollout) -> Result<(), BoxError> {
        let status = rollout.deployment.status.clone().unwrap_or_default();
        if is_complete(&status, rollout.wanted(), rollout.deployment.metadata.generation) {
            self.clean_up(rollout).await?;
        }
        Ok(())
    }

    /// Removes the oldest empty sets beyond the history limit.
    pub(super) async fn clean_up(&self, rollout: &Rollout) -> Result<(), BoxError> {
        let Some(limit) = rollout.spec().revision_history_limit.and_then(|n| usize::try_from(n).ok()) else {
            return Ok(());
        };
        let mut old: Vec<&ReplicaSet> =
            rollout.old_sets().filter(|s| s.metadata.deletion_timestamp.is_none()).collect();
        old.sort_by_key(|set| revision::of(set));
        let excess = old.len().saturating_sub(limit);
        for set in old.into_iter().take(excess) {
            let status = set.status.clone().unwrap_or_default();
            let settled = status.replicas == 0
                && template::replicas(set) == 0
                && set.metadata.generation <= status.observed_generation;
            if settled {
                let how = Deletion::of_uid(set.metadata.uid.as_ref()).background();
                self.sets
                    .delete(&ObjectKey::of(set), &how)
                    .await
                    .or_else(|e| if rk_client::is_not_found(&e) { Ok(()) } else { Err(e) })?;
            }
        }
        Ok(())
    }
}

fn new_set(rollout: &Rollout, revision: i64) -> ReplicaSet {
    let spec = rollout.spec();
    let deployment = &rollout.deployment.metadata;
    let hash = hash::of_object(&spec.template, rollout.deployment.status.as_ref().and_then(|s| s.collision_count));
    let mut pod_template = spec.template.clone();
    let labels = pod_template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(template::HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(template::HASH_LABEL.to_owned(), hash.clone());
    let mut sizes = rollout.sizes();
    sizes.push(rolling::SetSize { is_new: true, ..rolling::SetSize::default() });
    let size = rolling::new_set_size(&sizes, rollout.wanted(), rollout.is_rolling(), rollout.fences());
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name.as_deref().unwrap_or_default())),
            namespace: deployment.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_ref(&rollout.deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(size),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(pod_template),
        }),
        status: None,
    };
    set.metadata.annotations = Some(revision::annotate(deployment, &set.metadata, revision));
    scale::note_size(&mut set, rollout.wanted(), rollout.wanted().saturating_add(rollout.fences().surge));
    set
}
