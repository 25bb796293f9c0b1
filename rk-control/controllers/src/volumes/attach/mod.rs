//! Attaches volumes of CSI drivers to the nodes whose pods use them, and detaches them when the node has let them go.
//!
//! What is wanted is a VolumeAttachment, which the driver's attacher carries out. A run looks at one node: at what its pods use, at the
//! attachments that are there, and at what the node says it still has mounted. Attachments under other names than its own are nobody's
//! business here.

mod plan;

use super::{protect, volume};
use crate::context::Context;
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{AttachedVolume, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Patch;
use plan::Wish;
use rk_client::{
    BoxError, Change, Deletion, Informer, ObjectKey, Outcome, Queue, Recorder, is_already_exists, is_not_found,
};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Index of attachments by node.
const BY_NODE: &str = "node";
/// How often a volume is looked at that its node does not let go.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// An attachment of this controller's making: its object, its volume's name, and the volume's name in the node's status.
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
    /// Since when attachments that their nodes do not let go are needed by nobody.
    unneeded: Mutex<HashMap<String, Instant>>,
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
    });
    pods::index_by_node(&attacher.pods);
    attacher.attachments.index(BY_NODE, |attachment| vec![attachment.spec.node_name.clone()]);
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
    });
    let own = Arc::clone(attacher);
    attacher.drivers.on_change(move |_| {
        own.nodes.list().iter().for_each(|node| own.queue.add(ObjectKey::of(node.as_ref())));
    });
    let own = Arc::clone(attacher);
    attacher.attachments.on_change(move |change| own.attachment_changed(change));
}

impl Attacher {
    /// The pods that use a claim.
    fn users(&self, claim: &ObjectKey) -> Vec<Arc<Pod>> {
        let all = self.pods.in_namespace(&claim.namespace);
        all.into_iter().filter(|pod| protect::claims_of(pod).contains(claim)).collect()
    }

    fn wake_users(&self, claim: &ObjectKey) {
        for pod in self.users(claim) {
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
        for pod in self.users(&claim).iter().filter(here) {
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

    /// What the pods of a node need there, and whether one of them ended so late that it must be looked at again.
    fn wishes(&self, node: &str) -> (Vec<Wish>, bool) {
        let now = Timestamp::now();
        let (mut wishes, mut ending): (Vec<Wish>, bool) = (Vec::new(), false);
        for pod in self.pods.by_index(pods::BY_NODE, node) {
            if !plan::holds_volumes(&pod, now) {
                continue;
            }
            let used = protect::claims_of(&pod);
            ending |= pods::is_finished(&pod) && !used.is_empty();
            let new = used.iter().filter_map(|claim| plan::wish(self.bound(claim)?.as_ref(), node, claim));
            for wish in new.filter(|wish| self.attaches(&wish.driver)) {
                let at = wishes.iter().position(|known| known.attachment == wish.attachment).unwrap_or_else(|| {
                    wishes.push(wish);
                    wishes.len() - 1
                });
                wishes.get_mut(at).into_iter().for_each(|wish| wish.pods.push(Arc::clone(&pod)));
            }
        }
        (wishes, ending)
    }

    /// The attachments of a node that are of this controller's making.
    fn known(&self, node: &str) -> Vec<Known> {
        let all = self.attachments.by_index(BY_NODE, node);
        let own = all.into_iter().filter_map(|attachment| {
            let volume = self.volume_of(&attachment)?;
            let (name, unique) = plan::names(&volume, node)?;
            let same = attachment.metadata.name.as_ref() == Some(&name);
            same.then_some((attachment, volume.metadata.name.clone()?, unique))
        });
        own.collect()
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let node = self.nodes.get(key);
        if node.as_ref().is_some_and(|node| !plan::is_managed(node)) {
            return Ok(Outcome::AwaitChange);
        }
        let (wishes, ending) = self.wishes(&key.name);
        let known = self.known(&key.name);
        let name = |attachment: &VolumeAttachment| attachment.metadata.name.clone().unwrap_or_default();
        let needed =
            |known: &&Known| wishes.iter().any(|wish| Some(&wish.attachment) == known.0.metadata.name.as_ref());
        let (stay, idle): (Vec<&Known>, Vec<&Known>) = known.iter().partition(needed);
        // What a driver does not attach any more is mounted as it is: the node goes on without.
        let (leave, held): (Vec<&Known>, Vec<&Known>) = idle.into_iter().partition(|(a, _, unique)| {
            !self.attaches(&a.spec.attacher) || plan::may_detach(node.as_deref(), unique, self.waited(&name(a)))
        });
        self.remember(&key.name, &held);
        if let Some(node) = &node {
            // Before a volume goes, so that nobody counts on it.
            let there: Vec<&Known> = stay.iter().chain(&held).copied().collect();
            self.tell(node, &wishes, &there).await?;
        }
        for (attachment, ..) in leave {
            self.detach(attachment).await?;
        }
        if node.is_some() {
            for wish in wishes.iter().filter(|wish| !known.iter().any(|(a, ..)| name(a) == wish.attachment)) {
                self.attach(&key.name, wish).await?;
            }
        }
        Ok(match (ending, held.is_empty()) {
            (true, _) => Outcome::RequeueAfter(plan::SETTLE),
            (false, false) => Outcome::RequeueAfter(LOOK_AGAIN),
            (false, true) => Outcome::AwaitChange,
        })
    }

    /// How long nobody has needed an attachment.
    fn waited(&self, attachment: &str) -> Duration {
        let unneeded = self.unneeded.lock().unwrap_or_else(PoisonError::into_inner);
        unneeded.get(attachment).map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Begins to count for those of a node that are held, and forgets those of it that are gone or needed again.
    fn remember(&self, node: &str, held: &[&Known]) {
        let mut unneeded = self.unneeded.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = held.iter().filter_map(|(a, ..)| a.metadata.name.clone()).collect();
        let elsewhere = |name: &String| {
            let known = self.attachments.get(&ObjectKey::cluster(name.clone()));
            known.is_some_and(|a| a.spec.node_name != node)
        };
        unneeded.retain(|name, _| names.contains(name) || elsewhere(name));
        for name in names {
            unneeded.entry(name).or_insert_with(Instant::now);
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
        let how = Deletion::of_uid(attachment.metadata.uid.as_ref());
        match self.attachments.delete(&ObjectKey::of(attachment), &how).await {
            Err(error) if !is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks for an attachment, unless the volume is another node's alone: its end there wakes this one.
    async fn attach(&self, node: &str, wish: &Wish) -> kube::Result<()> {
        let of_volume = |a: &Arc<VolumeAttachment>| a.spec.source.persistent_volume_name.as_ref() == Some(&wish.volume);
        let elsewhere =
            |a: &Arc<VolumeAttachment>| of_volume(a) && a.spec.node_name != node && a.spec.attacher == wish.driver;
        if !wish.shared && self.attachments.list().iter().any(elsewhere) {
            let there =
                |pod: &&Arc<Pod>| pods::node_name(pod).is_some_and(|other| other != node) && !pods::is_finished(pod);
            let users = self.users(&wish.claim);
            let others: Vec<String> = users.iter().filter(there).filter_map(|pod| pod.metadata.name.clone()).collect();
            for pod in wish.pods.iter().filter(|pod| pods::is_active(pod)) {
                self.recorder.warning(pod.as_ref(), "FailedAttachVolume", plan::taken(&wish.volume, &others));
            }
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
