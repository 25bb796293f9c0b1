//! A StatefulSet and its pods, reduced to what its rules speak about.

use crate::{history, pods};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// The condition of the pod at one ordinal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// There is no pod.
    Missing,
    /// Finished, which for these pods means that it must be made again.
    Finished,
    Terminating,
    /// Not running or not ready.
    Unhealthy,
    /// Ready, but not for long enough.
    Ready,
    Available,
}

/// One place of the set.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) ordinal: i32,
    pub(super) health: Health,
    /// Name of the revision that the pod was made from.
    pub(super) revision: Option<String>,
    pub(super) pod: Option<Arc<Pod>>,
}

/// The ordinal at the end of a pod's name.
pub(super) fn ordinal_of(set_name: &str, pod_name: &str) -> Option<i32> {
    let digits = pod_name.strip_prefix(set_name)?.strip_prefix('-')?;
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    digits.parse().ok()
}

pub(super) fn health(pod: &Pod, min_ready: i32, now: Timestamp) -> Health {
    if pods::is_terminating(pod) {
        return Health::Terminating;
    }
    if pods::is_finished(pod) {
        return Health::Finished;
    }
    if pods::phase(pod) != "Running" || !pods::is_ready(pod) {
        return Health::Unhealthy;
    }
    if pods::availability(pod, min_ready, now).0 { Health::Available } else { Health::Ready }
}

pub(super) fn revision_of(pod: &Pod) -> Option<String> {
    history::hash_of(&pod.metadata).map(str::to_owned)
}

pub(super) fn spec_of(set: &StatefulSet) -> StatefulSetSpec {
    set.spec.clone().unwrap_or_default()
}

pub(super) fn first_ordinal(spec: &StatefulSetSpec) -> i32 {
    spec.ordinals.as_ref().and_then(|o| o.start).unwrap_or(0)
}

/// Splits owned pods into the wanted places, in order, and the condemned ones, highest ordinal first.
pub(super) fn slots(set: &StatefulSet, owned: &[Arc<Pod>], now: Timestamp) -> (Vec<Slot>, Vec<Slot>) {
    let spec = spec_of(set);
    let (start, replicas) = (first_ordinal(&spec), spec.replicas.unwrap_or(1).max(0));
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let mut wanted: Vec<Slot> = (start..start.saturating_add(replicas))
        .map(|ordinal| Slot { ordinal, health: Health::Missing, revision: None, pod: None })
        .collect();
    let mut condemned = Vec::new();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    for pod in owned {
        let Some(ordinal) = pod.metadata.name.as_deref().and_then(|n| ordinal_of(name, n)) else { continue };
        let slot = Slot {
            ordinal,
            health: health(pod, min_ready, now),
            revision: revision_of(pod),
            pod: Some(Arc::clone(pod)),
        };
        match wanted.iter_mut().find(|s| s.ordinal == ordinal) {
            Some(place) => *place = slot,
            None => condemned.push(slot),
        }
    }
    condemned.sort_by_key(|slot| std::cmp::Reverse(slot.ordinal));
    (wanted, condemned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_are_read_strictly() {
        for (name, expected) in [
            ("web-0", Some(0)),
            ("web-12", Some(12)),
            ("web-01", None),
            ("web-", None),
            ("web-x", None),
            ("db-1", None),
            ("web-1-2", None),
        ] {
            assert_eq!(ordinal_of("web", name), expected, "{name}");
        }
    }
}
