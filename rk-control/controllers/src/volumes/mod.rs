//! Persistent volumes: binding claims to them, attaching them to nodes, and keeping both while they are used.

mod attach;
mod claim;
mod ephemeral;
mod matching;
mod protect;
mod recycle;
mod volume;

pub(crate) use attach::register as register_attach;
pub(crate) use ephemeral::register as register_ephemeral;
pub(crate) use protect::{register_attributes_classes, register_claims, register_volumes};

use crate::context::Context;
use crate::pods;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use rk_client::{Change, Informer, ObjectKey, Queue, Recorder};
use std::fmt;
use std::sync::Arc;

/// What one run looks at. Claims and volumes share a queue, so that one worker sees both sides of a binding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Work {
    Claim(ObjectKey),
    Volume(String),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Claim(key) => write!(f, "claim {key}"),
            Work::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

struct Binder {
    client: kube::Client,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
    recorder: Recorder,
    queue: Queue<Work>,
}

fn is_default_class(class: &StorageClass) -> bool {
    let note = |name: &str| class.metadata.annotations.as_ref().and_then(|a| a.get(name)).is_some_and(|v| v == "true");
    note("storageclass.kubernetes.io/is-default-class") || note("storageclass.beta.kubernetes.io/is-default-class")
}

/// Starts the binder.
pub(crate) fn register(ctx: &Context) {
    let binder = Arc::new(Binder {
        client: ctx.client.clone(),
        claims: ctx.informers.of(),
        volumes: ctx.informers.of(),
        classes: ctx.informers.of(),
        pods: ctx.informers.of(),
        recorder: ctx.recorders.of("persistentvolume-controller"),
        queue: Queue::default(),
    });
    protect::index_by_claim(&binder.pods);
    let q = binder.queue.clone();
    binder.pods.on_change(move |change| {
        let pod = change.object();
        if let Some(name) = recycle::volume_of(pod) {
            q.add(Work::Volume(name));
        }
        // Claims that wait for a consumer tell that they have one.
        if change.previous().is_none() && pods::node_name(pod).is_none() {
            protect::claims_of(pod).into_iter().for_each(|key| q.add(Work::Claim(key)));
        }
    });
    let (q, volumes) = (binder.queue.clone(), binder.volumes.clone());
    let growth = ctx.recorders.of("volume_expand");
    binder.claims.on_change(move |change| {
        let claim = change.object();
        let key = ObjectKey::of(claim.as_ref());
        if change.previous().is_some_and(|old| claim::grows(old, claim)) {
            growth.normal(claim.as_ref(), "ExternalExpanding", "waiting for an external controller to expand this PVC");
        }
        if matches!(change, Change::Deleted(_)) {
            // Also those that were promised to it before it could learn of them.
            let promised = volumes.list().into_iter().filter(|v| volume::claim_key(v).as_ref() == Some(&key));
            promised.filter_map(|v| v.metadata.name.clone()).for_each(|name| q.add(Work::Volume(name)));
        }
        q.add(Work::Claim(key));
        if let Some(name) = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).filter(|n| !n.is_empty()) {
            q.add(Work::Volume(name));
        }
    });
    let (q, claims) = (binder.queue.clone(), binder.claims.clone());
    binder.volumes.on_change(move |change| {
        let volume = change.object();
        q.add(Work::Volume(volume.metadata.name.clone().unwrap_or_default()));
        if let Some(key) = volume::claim_key(volume) {
            q.add(Work::Claim(key));
        } else {
            claims
                .list()
                .iter()
                .filter(|c| volume::may_suit(volume, c))
                .for_each(|c| q.add(Work::Claim(ObjectKey::of(c.as_ref()))));
        }
    });
    let (q, claims) = (binder.queue.clone(), binder.claims.clone());
    binder.classes.on_change(move |_| claims.list().iter().for_each(|c| q.add(Work::Claim(ObjectKey::of(c.as_ref())))));
    // One worker: two could promise one volume twice.
    ctx.work("volumes", binder.queue.clone(), 1, move |work| {
        let binder = Arc::clone(&binder);
        async move {
            match work {
                Work::Claim(key) => binder.sync_claim(&key).await,
                Work::Volume(name) => binder.sync_volume(&name).await,
            }
        }
    });
}
