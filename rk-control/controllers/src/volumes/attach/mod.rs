//! Attaches volumes of CSI drivers to the nodes whose pods use them, and detaches them when the node has let them go.
//!
//! What is wanted is a VolumeAttachment, which the driver's attacher carries out. A run looks at one node: at what its pods use, at the
//! attachments that are there, and at what the node says it still has mounted. Attachments under other names than its own are nobody's
//! business here.

mod plan;

use super::{protect, volume};
use crate::context::Context;
use crate::pods;
use crate::remove::remove;
use k8s_openapi::api::core::v1::{AttachedVolume, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Patch;
use plan::{Idle, Wish};
use rk_client::{
    BoxError, Change, Deletion, Informer, ObjectKey, Outcome, Queue, Recorder, is_already_exists, is_conflict,
    is_not_found,
};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Index of attachments by node.
const BY_NODE: &str = "node";
/// Index of attachments by persistent volume.
const BY_VOLUME: &str = "volume";

/// An attachment of this controller's making: its object, its volume's name, and the volume's name in the node's status, which is empty
/// when the volume's object is gone and the node does not speak of it.
type Known = (Arc<VolumeAttachment>, String, String);

struct Attacher {
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    drivers: Informer<CSIDriver>,
    attachments: Informer<VolumeAttachment>,
    recorder: Recorder,
    queue: Queue<ObjectKey>,
    /// Since when attachments are needed by nobody, and whether the nodes said since then that they do.
    unneeded: Mutex<HashMap<String, (Instant, bool)>>,
    /// Attachments that cannot be made while another node has the volume, and their nodes: their pods were told of it.
    refused: Mutex<HashMap<String, String>>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let attacher = Arc::new(Attacher {
        nodes: ctx.informers.of(),
        pods: ctx.informers.of(),
        claims: ctx.informers.of(),
        volumes: ctx.informers.of(),
        drivers: ctx.informers.of(),
        attachments: ctx.informers.of(),
        recorder: ctx.recorders.of("attachdetach-controller"),
        queue: Queue::default(),
        unneeded: Mutex::default(),
        refused: Mutex::default(),
    });
    pods::index_by_node(&attacher.pods);
    protect::index_by_claim(&attacher.pods);
    attacher.attachments.index(BY_NODE, |attachment| vec![attachment.spec.node_name.clone()]);
    attacher
        .attachments
        .index(BY_VOLUME, |attachment| attachment.spec.source.persistent_volume_name.clone().into_iter().collect());
    subscribe(&attacher);
    // One worker: two could give one volume to two nodes.
    ctx.work("attachdetach", attacher.queue.clone(), 1, move |key| {
        let attacher = Arc::clone(&attacher);
        async move { attacher.sync(&key).await }
    });
}

/// Queues the nodes that a change may concern.
fn subscribe(attacher: &Arc<Attacher>) {
    let q = attacher.queue.clone();
    attacher.pods.on_change(move |change| {
        let seen = change.previous().into_iter().chain([change.object()]);
        let users = seen.filter(|pod| !protect::claims_of(pod).is_empty());
        users.filter_map(|pod| pods::node_name(pod)).for_each(|node| q.add(ObjectKey::cluster(node)));
    });
    let q = attacher.queue.clone();
    attacher.nodes.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let own = Arc::clone(attacher);
    attacher.claims.on_change(move |change| own.wake_users(&ObjectKey::of(change.object().as_ref())));
    let own = Arc::clone(attacher);
    attacher.volumes.on_change(move |change| {
        if let Some(claim) = volume::claim_key(change.object()) {
            own.wake_users(&claim);
        }
        if matches!(change, Change::Deleted(_)) || change.object().metadata.deletion_timestamp.is_some() {
            let name = change.object().metadata.name.as_deref().unwrap_or_default();
            let left = own.attachments.by_index(BY_VOLUME, name);
            left.iter().for_each(|a| own.queue.add(ObjectKey::cluster(a.spec.node_name.clone())));
        }
    });
    let own = Arc::clone(attacher);
    attacher.drivers.on_change(move |_| {
        own.nodes.list().iter().for_each(|node| own.queue.add(ObjectKey::of(node.as_ref())));
    });
    let own = Arc::clone(attacher);
    attacher.attachments.on_change(move |change| own.attachment_changed(change));
}

impl Attacher {
    fn wake_users(&self, claim: &ObjectKey) {
        for pod in protect::users(&self.pods, claim) {
            if let Some(node) = pods::node_name(&pod) {
                self.queue.add(ObjectKey::cluster(node));
            }
        }
    }

    fn attachment_changed(&self, change: &Change<VolumeAttachment>) {
        let attachment = change.object();
        self.queue.add(ObjectKey::cluster(attachment.spec.node_name.clone()));
        let Some(volume) = self.volume_of(attachment) else { return };
        let Some(claim) = volume::claim_key(&volume) else { return };
        if matches!(change, Change::Deleted(_)) {
            // Another node may have waited for it.
            return self.wake_users(&claim);
        }
        let error = |a: &VolumeAttachment| a.status.as_ref().and_then(|s| s.attach_error.clone());
        let Some(failed) =
            error(attachment).filter(|e| change.previous().is_none_or(|old| error(old).as_ref() != Some(e)))
        else {
            return;
        };
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let why = failed.message.unwrap_or_default();
        let here = |pod: &&Arc<Pod>| pods::node_name(pod) == Some(attachment.spec.node_name.as_str());
        for pod in protect::users(&self.pods, &claim).iter().filter(here) {
            let text = format!("AttachVolume.Attach failed for volume {name:?} : {why}");
            self.recorder.warning(pod.as_ref(), "FailedAttachVolume", text);
        }
    }

    fn volume_of(&self, attachment: &VolumeAttachment) -> Option<Arc<PersistentVolume>> {
        let name = attachment.spec.source.persistent_volume_name.clone()?;
        self.volumes.get(&ObjectKey::cluster(name))
    }

    /// The volume behind a claim, once both speak of each other.
    fn bound(&self, claim: &ObjectKey) -> Option<Arc<PersistentVolume>> {
        let claim = self.claims.get(claim)?;
        let bound = claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
        let name = claim.spec.as_ref()?.volume_name.clone().filter(|name| bound && !name.is_empty())?;
        let volume = self.volumes.get(&ObjectKey::cluster(name))?;
        let uid = volume.spec.as_ref()?.claim_ref.as_ref()?.uid.as_ref();
        (uid.is_some() && uid == claim.metadata.uid.as_ref()).then_some(volume)
    }

    /// Whether volumes of the driver are attached at all. One without an object of its own does not say otherwise.
    fn attaches(&self, driver: &str) -> bool {
        let known = self.drivers.get(&ObjectKey::cluster(driver));
        known.is_none_or(|driver| driver.spec.attach_required != Some(false))
    }

    /// What the pods of a node need there.
    fn wishes(&self, node: &str) -> Vec<Wish> {
        let mut wishes: Vec<Wish> = Vec::new();
        let all = self.pods.by_index(pods::BY_NODE, node);
        for pod in all.into_iter().filter(|pod| !pods::is_finished(pod)) {
            let used = protect::claims_of(&pod);
            let new = used.iter().filter_map(|claim| plan::wish(self.bound(claim)?.as_ref(), node, claim));
            for wish in new.filter(|wish| self.attaches(&wish.driver)) {
                let at = wishes.iter().position(|known| known.attachment == wish.attachment).unwrap_or_else(|| {
                    wishes.push(wish);
                    wishes.len() - 1
                });
                wishes.get_mut(at).into_iter().for_each(|wish| wish.pods.push(Arc::clone(&pod)));
            }
        }
        wishes
    }

    /// The attachments of a node that are of this controller's making; `object` is the node's, unless that is gone.
    fn known(&self, node: &str, object: Option<&Node>) -> Vec<Known> {
        let all = self.attachments.by_index(BY_NODE, node);
        let own = all.into_iter().filter_map(|attachment| {
            let volume = attachment.spec.source.persistent_volume_name.clone()?;
            let unique = match self.volume_of(&attachment) {
                Some(persistent) => plan::names(&persistent, node)
                    .filter(|(name, _)| attachment.metadata.name.as_ref() == Some(name))
                    .map(|(_, unique)| unique),
                None => plan::of_lost(&attachment, object),
            };
            Some((attachment, volume, unique?))
        });
        own.collect()
    }

    /// Whether a volume that nobody needs on the node may be taken from it. One whose object is not there may be just not seen yet.
    fn may_detach(&self, node: Option<&Node>, attachment: &VolumeAttachment, unique: &str) -> bool {
        let idle = self.idle(attachment.metadata.name.as_deref().unwrap_or_default());
        let sure = idle.waited >= plan::SETTLE || self.volume_of(attachment).is_some();
        // What a driver does not attach any more is mounted as it is: the node goes on without.
        sure && (!self.attaches(&attachment.spec.attacher) || plan::may_detach(node, unique, idle))
    }

    /// Whether an attachment that is needed stands in the way of the one that could be carried out.
    fn is_stranded(&self, attachment: &VolumeAttachment, wishes: &[Wish]) -> bool {
        let wish = wishes.iter().find(|wish| Some(&wish.attachment) == attachment.metadata.name.as_ref());
        wish.is_some_and(|wish| plan::is_stranded(attachment, self.volume_of(attachment).as_deref(), wish))
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let node = self.nodes.get(key);
        if node.as_ref().is_some_and(|node| !plan::is_managed(node)) {
            return Ok(Outcome::AwaitChange);
        }
        let wishes = self.wishes(&key.name);
        let known = self.known(&key.name, node.as_deref());
        let name = |attachment: &VolumeAttachment| attachment.metadata.name.clone().unwrap_or_default();
        let needed =
            |known: &&Known| wishes.iter().any(|wish| Some(&wish.attachment) == known.0.metadata.name.as_ref());
        let (stay, idle): (Vec<&Known>, Vec<&Known>) = known.iter().partition(needed);
        let (leave, held): (Vec<&Known>, Vec<&Known>) =
            idle.iter().copied().partition(|(a, _, unique)| self.may_detach(node.as_deref(), a, unique));
        self.remember(&key.name, node.as_deref(), &idle);
        self.forget_refused(&key.name, &wishes);
        if let Some(node) = &node {
            // Before a volume goes, so that nobody counts on it.
            let named = |known: &&Known| !known.2.is_empty();
            let there: Vec<&Known> = stay.iter().chain(&held).copied().filter(named).collect();
            self.tell(node, &wishes, &there).await?;
        }
        let stranded: Vec<&Known> = stay.iter().copied().filter(|known| self.is_stranded(&known.0, &wishes)).collect();
        for (attachment, ..) in leave {
            self.detach(attachment).await?;
        }
        // What is made in the place of a stranded one is made once that is gone: its end wakes the node.
        for (attachment, ..) in stranded {
            self.give_way(attachment).await?;
        }
        if node.is_some() {
            for wish in wishes.iter().filter(|wish| !known.iter().any(|(a, ..)| name(a) == wish.attachment)) {
                self.attach(&key.name, wish).await?;
            }
        }
        Ok(if held.is_empty() { Outcome::AwaitChange } else { Outcome::RequeueAfter(plan::SETTLE) })
    }

    /// What is known of an attachment since nobody needs it.
    fn idle(&self, attachment: &str) -> Idle {
        let unneeded = self.unneeded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = unneeded.get(attachment);
        known.map_or_else(Idle::default, |(since, used)| Idle { waited: since.elapsed(), used: *used })
    }

    /// Begins to count for those of a node that nobody needs, and forgets those of it that are gone or needed again.
    fn remember(&self, node: &str, object: Option<&Node>, idle: &[&Known]) {
        let mut unneeded = self.unneeded.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = idle.iter().filter_map(|(a, ..)| a.metadata.name.clone()).collect();
        let elsewhere = |name: &String| {
            let known = self.attachments.get(&ObjectKey::cluster(name.clone()));
            known.is_some_and(|a| a.spec.node_name != node)
        };
        unneeded.retain(|name, _| names.contains(name) || elsewhere(name));
        for (attachment, _, unique) in idle {
            let name = attachment.metadata.name.clone().unwrap_or_default();
            let (_, used) = unneeded.entry(name).or_insert_with(|| (Instant::now(), false));
            *used |= object.is_some_and(|node| plan::is_in_use(node, unique));
        }
    }

    /// Forgets what nobody on the node waits for any more.
    fn forget_refused(&self, node: &str, wishes: &[Wish]) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|name, of| of.as_str() != node || wishes.iter().any(|wish| wish.attachment == *name));
    }

    /// Tells the pods of a node once that their volume is another node's.
    fn refuse(&self, node: &str, wish: &Wish) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.insert(wish.attachment.clone(), node.to_owned()).is_some() {
            return;
        }
        let there =
            |pod: &&Arc<Pod>| pods::node_name(pod).is_some_and(|other| other != node) && !pods::is_finished(pod);
        let users = protect::users(&self.pods, &wish.claim);
        let others: Vec<String> = users.iter().filter(there).filter_map(|pod| pod.metadata.name.clone()).collect();
        for pod in wish.pods.iter().filter(|pod| pods::is_active(pod)) {
            self.recorder.warning(pod.as_ref(), "FailedAttachVolume", plan::taken(&wish.volume, &others));
        }
    }

    /// Says in the node's status what is attached, and to pods that theirs is now.
    async fn tell(&self, node: &Node, wishes: &[Wish], known: &[&Known]) -> kube::Result<()> {
        let before = node.status.as_ref().and_then(|s| s.volumes_attached.clone()).unwrap_or_default();
        let now = plan::attached(known.iter().map(|(a, _, unique)| (unique.clone(), &**a)));
        if before == now {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"status": {"volumesAttached": now}}));
        match self.nodes.patch_status(&ObjectKey::of(node), &patch).await {
            Err(error) if !is_not_found(&error) => return Err(error),
            _ => {}
        }
        let is_new = |unique: &str| {
            let named = |volume: &AttachedVolume| volume.name == unique;
            now.iter().any(named) && !before.iter().any(named)
        };
        for (attachment, volume, _) in known.iter().filter(|(_, _, unique)| is_new(unique)) {
            let wish = wishes.iter().find(|wish| Some(&wish.attachment) == attachment.metadata.name.as_ref());
            for pod in wish.into_iter().flat_map(|wish| &wish.pods) {
                let text = format!("AttachVolume.Attach succeeded for volume {volume:?} ");
                self.recorder.normal(pod.as_ref(), "SuccessfulAttachVolume", text);
            }
        }
        Ok(())
    }

    async fn detach(&self, attachment: &VolumeAttachment) -> kube::Result<()> {
        if attachment.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        remove(&self.attachments, attachment).await
    }

    /// Removes a stranded attachment as it is known here: one that is carried out meanwhile stays, and wakes its node by that.
    async fn give_way(&self, attachment: &VolumeAttachment) -> kube::Result<()> {
        let meta = &attachment.metadata;
        if meta.deletion_timestamp.is_some() {
            return Ok(());
        }
        let how = Deletion { resource_version: meta.resource_version.clone(), ..Deletion::of_uid(meta.uid.as_ref()) };
        match self.attachments.delete(&ObjectKey::of(attachment), &how).await {
            Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks for an attachment, unless the volume is another node's alone: its end there wakes this one.
    async fn attach(&self, node: &str, wish: &Wish) -> kube::Result<()> {
        let elsewhere = |a: &Arc<VolumeAttachment>| a.spec.node_name != node && a.spec.attacher == wish.driver;
        if !wish.shared && self.attachments.by_index(BY_VOLUME, &wish.volume).iter().any(elsewhere) {
            self.refuse(node, wish);
            return Ok(());
        }
        let source = VolumeAttachmentSource {
            persistent_volume_name: Some(wish.volume.clone()),
            ..VolumeAttachmentSource::default()
        };
        let attachment = VolumeAttachment {
            metadata: ObjectMeta { name: Some(wish.attachment.clone()), ..ObjectMeta::default() },
            spec: VolumeAttachmentSpec { attacher: wish.driver.clone(), node_name: node.to_owned(), source },
            status: None,
        };
        match self.attachments.create(&attachment).await {
            Err(error) if !is_already_exists(&error) => Err(error),
            _ => Ok(()),
        }
    }
}
