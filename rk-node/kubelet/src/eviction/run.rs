//! The loop that watches the node and its pods, and says which pod goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use rk_cri_api::v1 as cri;
use tokio::sync::mpsc;

use super::limits;
use super::rank::{Shortage, first, is_critical, message};
use super::usage::{self, PodUse};
use crate::Thresholds;
use crate::context::Shared;
use crate::image_gc;
use crate::node::Observed;
use crate::pod::spec;
use crate::pod::status::EVICTED;
use crate::runtime;

/// How often the node is looked at.
const PERIOD: Duration = Duration::from_secs(10);
/// An evicted pod gets this long to go before the next one is chosen.
const BREATH: Duration = Duration::from_secs(20);

/// Pods that were told to go, by UID, with reason and message for their status. Clones share them.
#[derive(Clone, Default)]
pub struct Orders(Arc<Mutex<HashMap<String, (String, String)>>>);

impl Orders {
    /// Tells a pod to go.
    pub fn give(&self, uid: &str, reason: &str, message: String) {
        let order = (reason.to_owned(), message);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), order);
    }

    /// Reason and message for a pod that is to go; they are taken once.
    pub fn take(&self, uid: &str) -> Option<(String, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid)
    }
}

/// Watches for ever. Pods that must go are named to `wake`.
pub async fn evict_loop(context: Shared, wake: mpsc::Sender<String>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let pods = context.pods.all();
        let running: Vec<&Arc<Pod>> = pods.iter().filter(|p| runs(&context, p)).collect();
        let thresholds = context.options.eviction;
        let look = || Shortage::of(Observed::now(&context.options.dirs.kubelet).pressure(thresholds));
        let mut shortage = look();
        if shortage == Some(Shortage::Disk) {
            // Images that nobody uses go before pods do.
            match image_gc::reclaim(&context.runtime).await {
                Ok(0) => {}
                Ok(_) => shortage = look(),
                Err(error) => tracing::warn!("removing unused images: {} {error}", error.call),
            }
        }
        if shortage.is_none() && !running.iter().any(|p| limits::any(p)) {
            continue;
        }
        let used = match uses(&context, &running, shortage == Some(Shortage::Disk)).await {
            Ok(used) => used,
            Err(error) => {
                tracing::warn!("what pods use is not known: {} {error}", error.call);
                continue;
            }
        };
        let mut gone = false;
        for (pod, used) in used.iter().filter(|(pod, _)| !is_critical(pod)) {
            if let Some(message) = limits::exceeded(pod, used) {
                gone |= order(&context, &wake, pod, message).await;
            }
        }
        // What the pods' own limits have freed is counted before one goes for the others.
        let (Some(shortage), false) = (shortage, gone) else { continue };
        if let Some((pod, used)) = first(shortage, &used) {
            let observed = Observed::now(&context.options.dirs.kubelet);
            let (threshold, available) = bounds(shortage, thresholds, &observed);
            if order(&context, &wake, pod, message(shortage, pod, used, &threshold, available)).await {
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Whether a pod still holds anything on this node.
fn runs(context: &Shared, pod: &Pod) -> bool {
    let phase = context.status.latest(spec::uid(pod)).and_then(|s| s.phase);
    pod.metadata.deletion_timestamp.is_none() && !spec::terminal_phase(phase.as_deref())
}

async fn order(context: &Shared, wake: &mpsc::Sender<String>, pod: &Pod, message: String) -> bool {
    tracing::warn!(pod = %spec::describe(pod), "evicting a pod: {message}");
    context.evictions.give(spec::uid(pod), EVICTED, message);
    wake.send(spec::uid(pod).to_owned()).await.is_ok()
}

/// The threshold as upstream writes it, and what is available.
fn bounds(shortage: Shortage, thresholds: Thresholds, observed: &Observed) -> (String, u64) {
    match shortage {
        Shortage::Memory => (thresholds.memory.to_string(), observed.memory.unwrap_or_default().0),
        Shortage::Disk => {
            let (free, all) = observed.disk.unwrap_or_default();
            (thresholds.disk.of(all).max(thresholds.image_disk.of(all)).to_string(), free)
        }
    }
}

/// What the pods use. The disk is walked for those only that have limits of their own, unless it is short.
async fn uses<'a>(
    context: &Shared,
    pods: &[&'a Arc<Pod>],
    whole_disk: bool,
) -> Result<Vec<(&'a Pod, PodUse)>, runtime::RuntimeError> {
    let stats = context.runtime.container_stats().await?;
    let mut all = Vec::new();
    for pod in pods {
        let mut used = of_runtime(spec::uid(pod), &stats);
        if whole_disk || limits::any(pod) {
            let (dir, logs) = (context.volumes.pod_dir(spec::uid(pod)), context.options.dirs.pod_logs.clone());
            let of = (*pod).clone();
            // Walking trees blocks.
            let walked =
                tokio::task::spawn_blocking(move || (usage::volumes(&of, &dir), usage::logs(&of, &logs))).await;
            if let Ok((volumes, logs)) = walked {
                used.volumes = volumes;
                for (container, bytes) in logs {
                    *used.disk.entry(container).or_default() += bytes;
                }
            }
        }
        let pod: &'a Pod = pod;
        all.push((pod, used));
    }
    Ok(all)
}

fn of_runtime(uid: &str, stats: &[cri::ContainerStats]) -> PodUse {
    let (mut memory, mut disk) = (BTreeMap::new(), BTreeMap::new());
    for one in stats {
        let Some(labels) = one.attributes.as_ref().map(|a| &a.labels) else { continue };
        if labels.get(runtime::POD_UID).map(String::as_str) != Some(uid) {
            continue;
        }
        let name = labels.get(runtime::CONTAINER_NAME).cloned().unwrap_or_default();
        let held = one.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref()).map_or(0, |v| v.value);
        let layer = one.writable_layer.as_ref().and_then(|w| w.used_bytes.as_ref()).map_or(0, |v| v.value);
        memory.insert(name.clone(), held);
        disk.insert(name, layer);
    }
    PodUse { memory, disk, volumes: BTreeMap::new() }
}
