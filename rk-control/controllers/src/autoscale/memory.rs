//! What is remembered of autoscalers from turn to turn.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use rk_api::selector::LabelSelector;
use rk_client::ObjectKey;
use std::collections::HashMap;
use std::sync::Arc;

/// Kept of each list: more than there are turns in the longest window, an hour.
const MOST: usize = 512;

/// A number of pods, and since when it is known.
pub(super) type Noted = (Timestamp, i32);

/// What was recommended and done for one autoscaler, oldest first.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Sizes that metrics asked for, before any limit.
    pub(super) recommended: Vec<Noted>,
    /// Pods that were added.
    pub(super) grown: Vec<Noted>,
    /// Pods that were taken away.
    pub(super) shrunk: Vec<Noted>,
}

impl Past {
    /// Of an autoscaler that is new here the size that it finds counts as recommended.
    pub(super) fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommended.is_empty() {
            self.recommended.push((now, current));
        }
    }

    /// Notes what metrics ask for; forgets what is older than `keep`.
    pub(super) fn recommend(&mut self, wanted: i32, keep: SignedDuration, now: Timestamp) {
        note(&mut self.recommended, wanted, keep, now);
    }

    /// Notes a change of size; forgets those that are older than `keep`.
    pub(super) fn rescaled(&mut self, from: i32, to: i32, keep: SignedDuration, now: Timestamp) {
        let list = if to > from { &mut self.grown } else { &mut self.shrunk };
        note(list, to.saturating_sub(from).saturating_abs(), keep, now);
    }
}

fn note(list: &mut Vec<Noted>, number: i32, keep: SignedDuration, now: Timestamp) {
    list.retain(|(at, _)| now.duration_since(*at) <= keep);
    if list.len() >= MOST {
        list.remove(0);
    }
    list.push((now, number));
}

#[derive(Debug, Default)]
struct Entry {
    /// Of the autoscaler: another one may have its name.
    uid: Option<String>,
    past: Past,
    /// Of its target's pods, as it was last told.
    selector: Option<LabelSelector>,
}

/// All autoscalers that had a turn.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<ObjectKey, Entry>);

impl Memory {
    /// The autoscaler is gone.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }

    fn entry(&mut self, scaler: &HorizontalPodAutoscaler) -> &mut Entry {
        let entry = self.0.entry(ObjectKey::of(scaler)).or_default();
        if entry.uid != scaler.metadata.uid {
            *entry = Entry { uid: scaler.metadata.uid.clone(), ..Entry::default() };
        }
        entry
    }

    /// The past of an autoscaler, not of another that had its name.
    pub(super) fn past(&mut self, scaler: &HorizontalPodAutoscaler) -> &mut Past {
        &mut self.entry(scaler).past
    }

    /// Notes the selector of an autoscaler's target; answers the autoscalers, in order, whose targets' selectors choose any of these pods
    /// of its namespace: more than one would undo what the others do.
    pub(super) fn selecting(
        &mut self,
        scaler: &HorizontalPodAutoscaler,
        selector: &LabelSelector,
        pods: &[Arc<Pod>],
    ) -> Vec<ObjectKey> {
        self.entry(scaler).selector = Some(selector.clone());
        let namespace = scaler.metadata.namespace.as_deref().unwrap_or_default();
        let here = self.0.iter().filter(|(key, _)| key.namespace == namespace);
        let chooses = |entry: &Entry| {
            entry.selector.as_ref().is_some_and(|selector| pods.iter().any(|pod| is_selected(selector, pod)))
        };
        let mut keys: Vec<ObjectKey> = here.filter(|(_, entry)| chooses(entry)).map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys
    }
}

/// Whether a selector chooses a pod.
pub(super) fn is_selected(selector: &LabelSelector, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.matches_values(|key| labels.and_then(|all| all.get(key)).map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scaler(name: &str, uid: &str) -> HorizontalPodAutoscaler {
        let target = json!({"kind": "Deployment", "name": "d"});
        let meta = json!({"namespace": "n", "name": name, "uid": uid});
        serde_json::from_value(json!({"metadata": meta, "spec": {"maxReplicas": 3, "scaleTargetRef": target}}))
            .expect("valid")
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let (mut memory, now) = (Memory::default(), Timestamp::UNIX_EPOCH);
        let after = |seconds| now.saturating_add(SignedDuration::from_secs(seconds)).expect("a time");
        let keep = SignedDuration::from_secs(60);
        let past = memory.past(&scaler("a", "1"));
        past.begin(4, now);
        past.begin(5, now);
        past.recommend(6, keep, after(60));
        assert_eq!(past.recommended, [(now, 4), (after(60), 6)]);
        past.recommend(7, keep, after(61));
        assert_eq!(past.recommended, [(after(60), 6), (after(61), 7)]);
        for _ in 0..2 * MOST {
            past.rescaled(1, 3, keep, now);
        }
        past.rescaled(3, 1, keep, now);
        assert_eq!((past.grown.len(), past.shrunk.as_slice()), (MOST, [(now, 2)].as_slice()));
        assert!(memory.past(&scaler("a", "2")).recommended.is_empty(), "another took its name");
        memory.forget(&ObjectKey::new("n", "a"));
        assert!(memory.0.is_empty());
    }

    #[test]
    fn autoscalers_of_the_same_pods_are_told_by_name() {
        let pod = |labels: serde_json::Value| -> Arc<Pod> {
            Arc::new(serde_json::from_value(json!({"metadata": {"labels": labels}})).expect("valid"))
        };
        let both: [Arc<Pod>; 1] = [pod(json!({"app": "web", "tier": "front"}))];
        let (app, tier) = (LabelSelector::parse("app=web"), LabelSelector::parse("tier=front"));
        let (app, tier) = (app.expect("valid"), tier.expect("valid"));
        let mut memory = Memory::default();
        let names = |keys: Vec<ObjectKey>| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(names(memory.selecting(&scaler("b", "1"), &app, &both)), "n/b");
        assert_eq!(names(memory.selecting(&scaler("a", "2"), &tier, &both)), "n/a n/b");
        assert_eq!(names(memory.selecting(&scaler("a", "2"), &tier, &[pod(json!({"tier": "front"}))])), "n/a");
        assert_eq!(names(memory.selecting(&scaler("a", "2"), &tier, &[])), "");
        memory.forget(&ObjectKey::new("n", "a"));
        assert_eq!(names(memory.selecting(&scaler("b", "1"), &app, &both)), "n/b");
    }
}
