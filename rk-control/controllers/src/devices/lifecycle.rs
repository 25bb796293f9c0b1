//! The resourceclaim controller: claims come with their pods and are given back with them.

use super::claim::{self, Named};
use super::count::Count;
use super::make;
use super::release::{self, Fate};
use crate::context::Context;
use crate::pods;
use crate::remove::remove;
use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate};
use rk_api::meta::DEVICES_FINALIZER;
use rk_client::{
    BoxError, Change, Informer, ObjectKey, Outcome, Queue, Recorder, Verbs, is_not_found, message, owner_key,
};
use serde_json::json;
use std::fmt;
use std::sync::Arc;

/// Who applies the statuses of pods; upstream's.
const MANAGER: &str = "ResourceClaimController";

/// What one run looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Work {
    Pod(ObjectKey),
    Claim(ObjectKey),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Pod(key) => write!(f, "pod:{key}"),
            Work::Claim(key) => write!(f, "claim:{key}"),
        }
    }
}

struct Controller {
    client: kube::Client,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    templates: Informer<ResourceClaimTemplate>,
    recorder: Recorder,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        client: ctx.client.clone(),
        pods: ctx.informers.of(),
        claims: ctx.informers.of(),
        templates: ctx.informers.of(),
        recorder: ctx.recorders.of("resource_claim"),
    });
    claim::index_by_claim(&controller.pods);
    controller.claims.index(pods::BY_OWNER, |claim| pods::owner_values(&claim.metadata));
    let queue: Queue<Work> = Queue::default();
    controller.wake(&queue);
    ctx.work("resource_claim", queue, 10, move |work| {
        let controller = Arc::clone(&controller);
        async move {
            match work {
                Work::Pod(key) => controller.sync_pod(&key).await,
                Work::Claim(key) => controller.sync_claim(&key).await,
            }
        }
    });
}

/// Queues a pod that needs claims, or the claims that it needs no more.
fn look_at(queue: &Queue<Work>, pod: &Pod, is_gone: bool) {
    if is_gone || claim::is_done(pod) {
        claim::keys(pod).for_each(|key| queue.add(Work::Claim(key)));
    } else if !pods::is_terminating(pod) && claim::entries(pod).next().is_some() {
        queue.add(Work::Pod(ObjectKey::of(pod)));
    }
}

impl Controller {
    fn wake(&self, queue: &Queue<Work>) {
        let q = queue.clone();
        self.pods.on_change(move |change| {
            let pod = change.object();
            if let Some(replaced) = change.previous().filter(|old| old.metadata.uid != pod.metadata.uid) {
                look_at(&q, replaced, true);
            }
            look_at(&q, pod, matches!(change, Change::Deleted(_)));
        });
        let (q, users, count) = (queue.clone(), self.pods.clone(), Count::new());
        self.claims.on_change(move |change| {
            count.note(change);
            let key = ObjectKey::of(change.object().as_ref());
            users.by_index(claim::BY_CLAIM, &key.to_string()).iter().for_each(|pod| look_at(&q, pod, false));
            if !matches!(change, Change::Deleted(_)) {
                q.add(Work::Claim(key));
            }
        });
        let (q, users) = (queue.clone(), self.pods.clone());
        self.templates.on_change(move |change| {
            let template = ObjectKey::of(change.object().as_ref());
            let waits = |entry: &PodResourceClaim| entry.resource_claim_template_name.as_ref() == Some(&template.name);
            let waiting = users.in_namespace(&template.namespace).into_iter();
            waiting.filter(|pod| claim::entries(pod).any(waits)).for_each(|pod| look_at(&q, &pod, false));
        });
    }

    async fn sync_pod(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(pod) = self.pods.get(key).filter(|pod| pods::is_active(pod)) else { return Ok(Outcome::AwaitChange) };
        let mut made = Vec::new();
        for entry in claim::entries(&pod) {
            match self.ensure(&pod, entry).await {
                Ok(name) => made.extend(name.map(|name| (entry.name.clone(), name))),
                Err(why) => {
                    let why = format!("PodResourceClaim {}: {why}", entry.name);
                    self.recorder.warning(pod.as_ref(), "FailedResourceClaimCreation", why.clone());
                    return Err(why.into());
                }
            }
        }
        let pod = if made.is_empty() { pod } else { Arc::new(self.tell(&pod, &made).await?) };
        // Before a pod has a node its scheduler reserves for it.
        if pods::node_name(&pod).is_some() {
            self.reserve(&pod).await?;
        }
        Ok(Outcome::AwaitChange)
    }

    /// Sees to it that there is a claim for an entry that has a template. Answers its name if the pod does not tell of it yet.
    ///
    /// # Errors
    /// Why there is none, in upstream's words.
    async fn ensure(&self, pod: &Pod, entry: &PodResourceClaim) -> Result<Option<String>, String> {
        let is_there =
            |name: &str| self.claims.get(&claim::beside(pod, name)).is_some_and(|own| claim::is_for(pod, &own));
        match claim::named(pod, entry) {
            Named::Given(_) | Named::Unneeded => return Ok(None),
            Named::Made(name) if is_there(name) => return Ok(None),
            // Who lost its claim gets another.
            Named::Made(_) | Named::NotYet => {}
        }
        let Some(template) = entry.resource_claim_template_name.as_deref() else { return Ok(None) };
        let owned = self.claims.by_index(pods::BY_OWNER, pod.metadata.uid.as_deref().unwrap_or_default());
        // Made before an end that came before the pod could tell of it.
        if let Some(found) = owned.iter().find(|own| claim::is_of_entry(own, &entry.name)) {
            return Ok(found.metadata.name.clone());
        }
        let Some(found) = self.templates.get(&claim::beside(pod, template)) else {
            let missing = format!("resourceclaimtemplate.resource.k8s.io {template:?} not found");
            return Err(format!("resource claim template {template:?}: {missing}"));
        };
        let wanted = make::claim(pod, entry, &found);
        let made = self.claims.create(&wanted).await;
        let admin = if make::has_admin_access(&wanted.spec) { "true" } else { "false" };
        let status = if made.is_ok() { "success" } else { "failure" };
        rk_client::count("resourceclaim_controller_creates_total", &[("status", status), ("admin_access", admin)]);
        // The name that is missing after the first words is generated by the server.
        made.map(|claim| claim.metadata.name).map_err(|error| format!("create ResourceClaim : {}", message(&error)))
    }

    /// Has the pod's status tell of new claims; answers the pod.
    async fn tell(&self, pod: &Pod, made: &[(String, String)]) -> kube::Result<Pod> {
        let configuration = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod.metadata.name, "namespace": pod.metadata.namespace},
            "status": {"resourceClaimStatuses": claim::statuses(pod, made)},
        });
        self.pods.apply_status(&ObjectKey::of(pod), MANAGER, &configuration).await
    }

    /// Reserves what is allocated for a pod that came to its node without a scheduler that would have.
    async fn reserve(&self, pod: &Pod) -> Result<(), BoxError> {
        for entry in claim::entries(pod) {
            let Some((name, is_made)) = claim::named(pod, entry).claim() else { continue };
            let key = claim::beside(pod, name);
            let Some(claim) = self.claims.get(&key) else { continue };
            if is_made && !claim::is_for(pod, &claim) {
                let pod = ObjectKey::of(pod);
                return Err(format!("ResourceClaim {key} was not created for pod {pod} (pod is not owner)").into());
            }
            // Nobody new may come to a claim that goes.
            let goes = claim.metadata.deletion_timestamp.is_some();
            if goes || !claim::is_allocated(&claim) || claim::is_reserved_for(&claim, pod) {
                continue;
            }
            let mut claim = ResourceClaim::clone(&claim);
            let user = ResourceClaimConsumerReference {
                api_group: None,
                resource: "pods".to_owned(),
                name: pod.metadata.name.clone().unwrap_or_default(),
                uid: pod.metadata.uid.clone().unwrap_or_default(),
            };
            claim.status.get_or_insert_default().reserved_for.get_or_insert_default().push(user);
            self.claims.replace_status(&claim).await?;
        }
        Ok(())
    }

    async fn sync_claim(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(cached) = self.claims.get(key) else { return Ok(Outcome::AwaitChange) };
        let mut kept = Vec::new();
        for user in claim::users(&cached) {
            if self.holds(&key.namespace, user).await? {
                kept.push(user.clone());
            }
        }
        let is_unused = kept.is_empty();
        let release = release::plan(&cached, kept);
        let mut claim = ResourceClaim::clone(&cached);
        // Not patches: whoever reserved it in between is to be seen first.
        if let Some(status) = release.status {
            claim.status = Some(status);
            claim = self.claims.replace_status(&claim).await?;
        }
        if release.unprotect {
            let mut finalizers = claim.metadata.finalizers.take().unwrap_or_default();
            finalizers.retain(|own| own != DEVICES_FINALIZER);
            claim.metadata.finalizers = Some(finalizers).filter(|left| !left.is_empty());
            claim = self.claims.replace(&claim).await?;
        }
        if is_unused {
            self.remove_leftover(&claim).await?;
        }
        Ok(Outcome::AwaitChange)
    }

    /// Whether a reservation still holds.
    async fn holds(&self, namespace: &str, user: &ResourceClaimConsumerReference) -> kube::Result<bool> {
        let key = ObjectKey::new(namespace, user.name.as_str());
        match release::fate(user, self.pods.get(&key).as_deref()) {
            Fate::Stays => return Ok(true),
            Fate::Goes => return Ok(false),
            // A scheduler may reserve for a pod before this process learns of it.
            Fate::AskApi => {}
        }
        match self.client.get::<Pod>(&key).await {
            Ok(pod) => Ok(pod.metadata.uid.as_ref() == Some(&user.uid) && !claim::is_done(&pod)),
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes a claim that was made for a pod that is done but may stay for long. What pods leave that are gone is collected.
    async fn remove_leftover(&self, claim: &ResourceClaim) -> kube::Result<()> {
        let owner = owner_key::<Pod>(&claim.metadata).and_then(|key| self.pods.get(&key));
        let is_over = owner.is_some_and(|pod| claim::is_for(&pod, claim) && claim::is_done(&pod));
        if !is_over || claim.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        remove(&self.claims, claim).await
    }
}
