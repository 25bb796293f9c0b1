//! Which pods of a target have a metric, and which of those count.

use super::plan::{Goal, Group, Measured};
use crate::pods;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What a pod uses of the processor says nothing for this long after its start, unless it is ready.
const WARMS_UP: SignedDuration = SignedDuration::from_mins(5);
/// Who stops being ready within this time after its start never was.
const FIRST_READY: SignedDuration = SignedDuration::from_secs(30);
/// Nobody can have a metric.
const NO_PODS: &str = "no pods returned by selector while calculating replica count";

/// A metric of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Thousandths.
    pub(super) used: i64,
    pub(super) at: Timestamp,
    /// Over how long it was measured.
    pub(super) window: SignedDuration,
}

/// By the names of pods.
pub(super) type Samples = HashMap<String, Sample>;

/// What is known of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It goes, or failed: nobody waits for it.
    Gone,
    Unready,
    Silent,
    /// It uses that much, in thousandths.
    Reporting(i64),
}

fn place(pod: &Pod, samples: &Samples, tells: impl Fn(&Pod, &Sample) -> bool) -> Place {
    if pods::is_terminating(pod) || pods::phase(pod) == "Failed" {
        return Place::Gone;
    }
    if pods::phase(pod) == "Pending" {
        return Place::Unready;
    }
    match samples.get(pod.metadata.name.as_deref().unwrap_or_default()) {
        None => Place::Silent,
        Some(sample) if tells(pod, sample) => Place::Reporting(sample.used),
        Some(_) => Place::Unready,
    }
}

/// Puts the pods of a target in groups. `tells` says whether a pod's sample counts, `requested` what a pod requests of what is measured,
/// in thousandths; that is asked for a goal in percents only.
pub(super) fn grouped(
    goal: Goal,
    pods: &[Arc<Pod>],
    samples: &Samples,
    tells: impl Fn(&Pod, &Sample) -> bool,
    requested: impl Fn(&Pod) -> Result<i64, String>,
) -> Result<Measured, String> {
    if pods.is_empty() {
        return Err(NO_PODS.to_owned());
    }
    let places: Vec<Place> = pods.iter().map(|pod| place(pod, samples, &tells)).collect();
    let strangers = strangers(pods, samples);
    if strangers.pods == 0 && !places.iter().any(|place| matches!(place, Place::Reporting(_))) {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let (mut reporting, mut silent, mut unready) = (Group::default(), Group::default(), Group::default());
    for (pod, place) in pods.iter().zip(places) {
        // Also of those that do not count: a request that is missing is told wherever it is.
        let requested = if matches!(goal, Goal::Utilization(_)) { requested(pod)? } else { 0 };
        let (group, used) = match place {
            Place::Gone => continue,
            Place::Unready => (&mut unready, 0),
            Place::Silent => (&mut silent, 0),
            Place::Reporting(used) => (&mut reporting, used),
        };
        group.pods += 1;
        group.used = group.used.saturating_add(used);
        group.requested = group.requested.saturating_add(requested);
    }
    if matches!(goal, Goal::Utilization(_)) && reporting.requested == 0 {
        return Err("no metrics returned matched known pods".to_owned());
    }
    Ok(Measured { goal, reporting, silent, unready, strangers })
}

/// What is told of pods that are not there.
fn strangers(pods: &[Arc<Pod>], samples: &Samples) -> Group {
    let known: HashSet<&str> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
    let strange = samples.iter().filter(|(name, _)| !known.contains(name.as_str()));
    strange.fold(Group::default(), |all, (_, sample)| Group {
        pods: all.pods + 1,
        used: all.used.saturating_add(sample.used),
        ..all
    })
}

/// How many pods share the work; fails where there are none at all.
pub(super) fn ready(pods: &[Arc<Pod>]) -> Result<i64, String> {
    if pods.is_empty() {
        return Err(format!("unable to calculate ready pods: {NO_PODS}"));
    }
    let ready = pods.iter().filter(|pod| pods::phase(pod) == "Running" && pods::is_ready(pod)).count();
    Ok(i64::try_from(ready).unwrap_or(i64::MAX))
}

/// Whether what a pod uses of the processor tells how busy it is: not what it takes to start.
pub(super) fn is_warm(pod: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let begun = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let (Some(ready), Some(begun)) = (pods::condition(pod, "Ready"), begun) else { return false };
    let turned = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    if now.duration_since(begun) < WARMS_UP {
        return ready.status != "False" && sample.at.duration_since(turned) >= sample.window;
    }
    ready.status != "False" || turned.duration_since(begun) >= FIRST_READY
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, phase: &str, ready: &str) -> Arc<Pod> {
        let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).expect("valid"))
    }

    fn samples(names: &[&str]) -> Samples {
        let sample = Sample { used: 100, at: Timestamp::UNIX_EPOCH, window: SignedDuration::ZERO };
        names.iter().map(|name| ((*name).to_owned(), sample)).collect()
    }

    #[test]
    fn what_is_missing_is_told_before_anything_is_reckoned() {
        let of = |goal, pods: &[Arc<Pod>], names: &[&str], requested: Result<i64, &str>| {
            let requested = |_: &Pod| requested.map_err(str::to_owned);
            grouped(goal, pods, &samples(names), |_, _| true, requested).map(|all| all.reporting)
        };
        let (a, gone) = (pod("a", "Running", "False"), pod("gone", "Failed", "False"));
        let (half, each) = (Goal::Utilization(50), Goal::Average(100));
        let error = |text: &str| Err(text.to_owned());
        assert_eq!(of(each, &[], &["a"], Ok(0)), error(NO_PODS));
        let silent = "did not receive metrics for targeted pods (pods might be unready)";
        for names in [vec![], vec!["gone"]] {
            assert_eq!(of(half, &[a.clone(), gone.clone()], &names, Err("no request")), error(silent), "{names:?}");
        }
        assert_eq!(of(half, &[a.clone(), gone], &["a"], Err("no request")), error("no request"));
        let matched = error("no metrics returned matched known pods");
        assert_eq!(of(half, std::slice::from_ref(&a), &["a"], Ok(0)), matched);
        assert_eq!(of(half, std::slice::from_ref(&a), &["stranger"], Ok(100)), matched);
        assert_eq!(of(each, std::slice::from_ref(&a), &["stranger"], Ok(0)), Ok(Group::default()));
        let counted = Group { pods: 1, used: 100, requested: 0 };
        assert_eq!(of(each, &[a], &["a"], Err("nobody asks")), Ok(counted), "who is not ready counts, too");
    }

    #[test]
    fn work_is_shared_by_who_runs_and_is_ready() {
        let pods = [
            pod("a", "Running", "True"),
            pod("b", "Running", "False"),
            pod("c", "Pending", "True"),
            pod("d", "Running", "True"),
        ];
        assert_eq!(ready(&pods), Ok(2));
        assert_eq!(ready(&[]), Err(format!("unable to calculate ready pods: {NO_PODS}")));
    }
}
