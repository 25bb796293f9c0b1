//! The loop that watches the node and its pods, and says which pod goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use rk_cri_api::v1 as cri;
use rk_figures::Ask;
use tokio::sync::mpsc;

use super::limits;
use super::local::FILES_AGE;
use super::orders::Order;
use super::rank::{Shortage, annotations, first, is_critical, message};
use super::soft::Patience;
use super::usage::PodUse;
use crate::context::Shared;
use crate::events::PodRef;
use crate::image_gc;
use crate::node::{Observed, Signal};
use crate::pod::spec;
use crate::runtime;
use crate::{SoftEviction, Thresholds};

/// How often the node is looked at.
const PERIOD: Duration = Duration::from_secs(10);
/// An evicted pod gets this long to go before the next one is chosen.
const BREATH: Duration = Duration::from_secs(20);

/// How long a pod has to end that must go at once, seconds: its containers are told all the same.
const AT_ONCE: i64 = 1;

/// How long the files of all pods together may keep the loop; what was counted before serves after that.
const PATIENCE: Duration = Duration::from_secs(10);

/// A shortage that must end now: the signal, the thresholds that it is measured by, and how long pods have, seconds.
#[derive(Clone, Copy)]
struct Verdict {
    signal: Signal,
    thresholds: Thresholds,
    grace: i64,
}

/// What was short when the node was looked at last.
#[derive(Default)]
struct Seen {
    patience: Patience,
    hard: Vec<Signal>,
    soft: Vec<Signal>,
    /// Seconds that pods were left, by UID, which ended anyway and were told to hurry.
    hurried: BTreeMap<String, i64>,
}

impl Seen {
    /// Whether a pod in this phase can still give something back when it is left so many seconds: one that hurries already, only if these
    /// are less than it was left before.
    fn may_go(&self, pod: &Pod, phase: Option<&str>, grace: i64) -> bool {
        let ends = pod.metadata.deletion_timestamp.is_some();
        let left = self.hurried.get(spec::uid(pod)).filter(|_| ends);
        !spec::terminal_phase(phase) && left.is_none_or(|left| grace < *left)
    }

    fn note(&mut self, pod: &Pod, grace: i64) {
        if pod.metadata.deletion_timestamp.is_some() {
            self.hurried.insert(spec::uid(pod).to_owned(), grace);
        }
    }
}

/// Watches for ever. Pods that must go are named to `wake`.
pub async fn evict_loop(context: Shared, wake: mpsc::Sender<runtime::Change>) {
    let mut seen = Seen::default();
    let images = image_gc::Sources { runtime: context.runtime.clone(), pods: context.pods.clone() };
    loop {
        tokio::time::sleep(PERIOD).await;
        let mut verdict = look(&context, &mut seen);
        if let Some(verdict) = verdict {
            let message = format!("Attempting to reclaim {}", Shortage::of(verdict.signal).resource());
            let node = PodRef::node(&context.options.node_name);
            context.recorder.warning(&node, "EvictionThresholdMet", message);
        }
        if verdict.is_some_and(|v| Shortage::of(v.signal).on_disk()) {
            // Images that nobody uses go before pods do.
            match image_gc::reclaim(&images).await {
                Ok(0) => {}
                Ok(_) => verdict = look(&context, &mut seen),
                Err(error) => tracing::warn!("removing unused images: {} {error}", error.call),
            }
        }
        let pods = context.pods.all();
        seen.hurried.retain(|uid, _| pods.iter().any(|pod| spec::uid(pod) == uid));
        let grace = verdict.map_or(AT_ONCE, |verdict| verdict.grace);
        let may_go = |pod: &&Arc<Pod>| {
            let phase = context.status.latest(spec::uid(pod)).and_then(|status| status.phase);
            seen.may_go(pod, phase.as_deref(), grace)
        };
        let running: Vec<&Arc<Pod>> = pods.iter().filter(may_go).collect();
        if verdict.is_none() && !running.iter().any(|p| limits::any(p)) {
            continue;
        }
        let used = match uses(&context, &running, verdict.map(|v| Shortage::of(v.signal))).await {
            Ok(used) => used,
            Err(error) => {
                tracing::warn!("what pods use is not known: {} {error}", error.call);
                continue;
            }
        };
        let mut gone = false;
        for (pod, used) in used.iter().filter(|(pod, _)| !is_critical(pod)) {
            if let Some((limit, message)) = limits::exceeded(pod, used) {
                gone |= order(&context, &wake, pod, Order::of_eviction(limit, message, AT_ONCE)).await;
                seen.note(pod, AT_ONCE);
            }
        }
        // What the pods' own limits have freed is counted before one goes for the others.
        let (Some(verdict), false) = (verdict, gone) else { continue };
        let shortage = Shortage::of(verdict.signal);
        if let Some((pod, used)) = first(shortage, &used) {
            let (free, all) = Observed::now(&context.options).of(verdict.signal).unwrap_or_default();
            let threshold = shown(verdict, all);
            let text = message(shortage, pod, used, &threshold, free);
            let order_of = Order::of_eviction(verdict.signal.as_str(), text, verdict.grace);
            let told = Order { annotations: annotations(shortage, pod, used), ..order_of };
            seen.note(pod, verdict.grace);
            if order(&context, &wake, pod, told).await {
                tokio::time::sleep(BREATH.max(Duration::from_secs(verdict.grace.unsigned_abs()))).await;
            }
        }
    }
}

/// The most urgent shortage for which a pod must go: one below a hard threshold, else one that was borne long enough.
fn look(context: &Shared, seen: &mut Seen) -> Option<Verdict> {
    let (hard, soft) = (context.options.eviction, &context.options.soft_eviction);
    let reclaim = context.options.minimum_reclaim;
    let observed = Observed::now(&context.options);
    seen.hard = observed.short_still(hard, reclaim, &seen.hard);
    seen.soft = observed.borne().short_still(soft.thresholds, reclaim, &seen.soft);
    context.shortages.saw(seen.hard.iter().chain(&seen.soft).copied().collect(), Instant::now());
    let borne = seen.patience.over(&seen.soft, Instant::now(), &soft.grace);
    most_urgent(&seen.hard, hard, &borne, soft)
}

/// The verdict on what is short: what is below a hard threshold, else what was borne long enough below a soft one.
fn most_urgent(short: &[Signal], hard: Thresholds, borne: &[Signal], soft: &SoftEviction) -> Option<Verdict> {
    if let Some(signal) = short.first() {
        return Some(Verdict { signal: *signal, thresholds: hard, grace: AT_ONCE });
    }
    borne.first().map(|signal| Verdict { signal: *signal, thresholds: soft.thresholds, grace: soft.pod_grace })
}

/// The threshold as upstream writes it: a share of the disk as its amount.
fn shown(verdict: Verdict, all: u64) -> String {
    let threshold = verdict.thresholds.of(verdict.signal);
    match Shortage::of(verdict.signal) {
        Shortage::Disk => threshold.of(all).to_string(),
        Shortage::Memory | Shortage::Inodes | Shortage::Pids => threshold.to_string(),
    }
}

async fn order(context: &Shared, wake: &mpsc::Sender<runtime::Change>, pod: &Pod, order: Order) -> bool {
    tracing::warn!(pod = %spec::describe(pod), "evicting a pod: {}", order.message);
    context.evictions.give(spec::uid(pod), order);
    wake.send(runtime::Change { uid: spec::uid(pod).to_owned(), states: None }).await.is_ok()
}

/// What the pods use. The disk is walked for those only that have limits of their own, unless it is short.
async fn uses<'a>(
    context: &Shared,
    pods: &[&'a Arc<Pod>],
    short: Option<Shortage>,
) -> Result<Vec<(&'a Pod, PodUse)>, runtime::RuntimeError> {
    let stats = context.runtime.container_stats().await?;
    let processes = if short == Some(Shortage::Pids) { processes(context).await? } else { HashMap::new() };
    let ask = Ask::new(FILES_AGE, PATIENCE);
    let of_one = |pod: &'a Arc<Pod>| {
        let mut used = of_runtime(spec::uid(pod), &stats);
        used.pids = processes.get(spec::uid(pod)).copied().unwrap_or(0);
        let walked = short.is_some_and(Shortage::on_disk) || limits::any(pod);
        async move {
            if walked {
                add_files(context, pod, &mut used, ask).await;
            }
            (pod.as_ref(), used)
        }
    };
    // At once: the patience is the same for all, and a pod with many files uses no other's up.
    Ok(join_all(pods.iter().copied().map(of_one)).await)
}

/// Adds what a pod has on disk besides its writable layers.
async fn add_files(context: &Shared, pod: &Arc<Pod>, used: &mut PodUse, ask: Ask) {
    let uid = spec::uid(pod);
    let volumes = context.volumes.ephemeral_stats(uid, ask).await;
    let files = context.local.of(uid, Some(pod), context.volumes.pod_dir(uid), ask).await;
    let of_volumes = volumes.iter().filter_map(|v| v.inodes).map(|[.., used]| used);
    let of_files = files.logs.values().chain([&files.own]).map(|taken| taken.inodes);
    used.inodes = of_volumes.chain(of_files).fold(used.inodes, u64::saturating_add);
    used.own_files = files.own.bytes;
    used.volumes = volumes.into_iter().filter_map(|v| Some((v.name, v.bytes.map(|[.., used]| used)?))).collect();
    for (container, taken) in files.logs {
        *used.disk.entry(container).or_default() += taken.bytes;
    }
}

/// Processes of each pod, by UID.
async fn processes(context: &Shared) -> Result<HashMap<String, u64>, runtime::RuntimeError> {
    let count = |stats: cri::PodSandboxStats| {
        let uid = stats.attributes?.metadata?.uid;
        let count = stats.linux?.process?.process_count?.value;
        Some((uid, count))
    };
    Ok(context.runtime.sandbox_stats().await?.into_iter().filter_map(count).collect())
}

fn of_runtime(uid: &str, stats: &[cri::ContainerStats]) -> PodUse {
    let (mut memory, mut disk, mut inodes) = (BTreeMap::new(), BTreeMap::new(), 0);
    for one in stats {
        let Some(labels) = one.attributes.as_ref().map(|a| &a.labels) else { continue };
        if labels.get(runtime::POD_UID).map(String::as_str) != Some(uid) {
            continue;
        }
        let name = labels.get(runtime::CONTAINER_NAME).cloned().unwrap_or_default();
        let held = one.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref()).map_or(0, |v| v.value);
        let layer = one.writable_layer.as_ref();
        inodes += layer.and_then(|w| w.inodes_used.as_ref()).map_or(0, |v| v.value);
        memory.insert(name.clone(), held);
        disk.insert(name, layer.and_then(|w| w.used_bytes.as_ref()).map_or(0, |v| v.value));
    }
    PodUse { memory, disk, inodes, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_ends_already_is_told_to_hurry_once() {
        let pod = |uid: &str, deleted: Option<&str>| -> Pod {
            let meta = serde_json::json!({"uid": uid, "deletionTimestamp": deleted});
            serde_json::from_value(serde_json::json!({"metadata": meta})).unwrap()
        };
        let (runs, ends) = (pod("runs", None), pod("ends", Some("2026-01-01T00:00:00Z")));
        let mut seen = Seen::default();
        // Again, where it is left less than before.
        for (grace, want) in [(40, true), (40, false), (60, false), (AT_ONCE, true), (AT_ONCE, false), (40, false)] {
            assert_eq!([&runs, &ends].map(|pod| seen.may_go(pod, Some("Running"), grace)), [true, want], "{grace}");
            assert_eq!([&runs, &ends].map(|pod| seen.may_go(pod, Some("Failed"), grace)), [false, false]);
            [&runs, &ends].into_iter().filter(|_| want).for_each(|pod| seen.note(pod, grace));
        }
    }

    #[test]
    fn what_must_go_at_once_has_a_second_and_what_was_borne_has_its_grace() {
        let soft = SoftEviction { pod_grace: 40, ..Default::default() };
        let verdict = |short: &[Signal], borne: &[Signal]| {
            most_urgent(short, Thresholds::default(), borne, &soft).map(|verdict| (verdict.signal, verdict.grace))
        };
        assert_eq!(verdict(&[], &[]), None);
        assert_eq!(verdict(&[], &[Signal::Disk]), Some((Signal::Disk, 40)));
        assert_eq!(verdict(&[Signal::Memory, Signal::Pids], &[Signal::Disk]), Some((Signal::Memory, 1)));
    }
}
