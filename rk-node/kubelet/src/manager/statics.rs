//! Static pods among the workers: two of one name never run side by side.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use super::Manager;
use crate::pod::worker::Desired;
use crate::pod::{requested, spec};
use crate::static_pods::{Asked, Shown, is_static, of_address, same_edition};

/// What a manifest's pod is to do.
#[derive(Debug, PartialEq)]
enum Turn {
    /// Run: nothing is in its way. If it ends, or its manifest was taken away and put back, it runs again afterwards.
    Run,
    /// Wait: another of its name runs or still ends.
    Wait,
    /// Go on.
    Stay,
}

fn turn(pod: &Pod, workers: &[Desired]) -> Turn {
    let same_name =
        |other: &Pod| spec::namespace(other) == spec::namespace(pod) && spec::name(other) == spec::name(pod);
    // Pods of the API are told from each other by their UIDs.
    let in_the_way = |other: &Desired| (other.gone() || is_static(other.pod())) && same_name(other.pod());
    let own = workers.iter().find(|desired| spec::uid(desired.pod()) == spec::uid(pod));
    match own {
        Some(Desired::Present(known)) if same_edition(known, pod) => Turn::Stay,
        Some(_) => Turn::Run,
        None if workers.iter().any(in_the_way) => Turn::Wait,
        None => Turn::Run,
    }
}

/// UIDs of the static pods that end.
fn ending(workers: &[Desired]) -> BTreeSet<String> {
    let ending = workers.iter().filter(|desired| desired.gone() && is_static(desired.pod()));
    ending.map(|desired| spec::uid(desired.pod()).to_owned()).collect()
}

/// Whether every source of manifests was read, and what they ask for has its workers by now.
fn is_taken_over(statics: &watch::Receiver<Asked>) -> bool {
    let whole = statics.borrow().whole;
    // Nobody tells any more when that is an error: what was told last is all there is.
    whole && !statics.has_changed().unwrap_or(false)
}

impl Manager {
    /// Runs what the manifests ask for now, and ends what they asked for before.
    pub(super) fn on_statics(&mut self) {
        let Asked { pods: wanted, whole, .. } = self.statics.borrow_and_update().clone();
        let unwanted = |desired: &Desired| {
            !desired.gone() && is_static(desired.pod()) && !wanted.contains_key(spec::uid(desired.pod()))
        };
        for desired in self.desired().into_iter().filter(unwanted) {
            self.gone(spec::uid(desired.pod()), None);
        }
        let mut workers = self.desired();
        let mut shown = Shown { ending: ending(&workers), whole, ..Default::default() };
        let mut wanted: Vec<(String, Arc<Pod>)> = wanted.into_iter().collect();
        // Of two of one name the node's own comes first, unless the other one runs.
        wanted.sort_by_key(|(_, pod)| of_address(pod));
        for (uid, pod) in wanted {
            match turn(&pod, &workers) {
                Turn::Wait => continue,
                Turn::Run => {
                    self.present((*pod).clone());
                    workers.push(Desired::Present(pod.clone()));
                }
                Turn::Stay => {}
            }
            shown.present.insert(uid, pod);
        }
        self.shown.send_if_modified(|known| known.update(shown));
        self.show();
    }

    /// Whether the API and every source of manifests were heard: what runs here and has no worker is nobody's then.
    pub(super) fn knows_all(&self) -> bool {
        self.synced && is_taken_over(&self.statics)
    }

    /// Tells a worker what its pod is now. One that is put back after it has ended had nothing of its own any more: it needs room
    /// again, and without room begins from nothing, with a worker that says so.
    pub(super) fn change(&mut self, uid: &str, pod: Pod) {
        let Some(handle) = self.workers.get(uid) else { return };
        let wanted = Desired::Present(Arc::new(pod));
        let back = wanted.put_back(&handle.began.borrow()) && !handle.refused;
        if back && !self.takes(handle) && self.admission(wanted.pod()).is_err() {
            return self.gone(uid, None);
        }
        if let Some(handle) = self.workers.get(uid) {
            let asked = requested::changes(handle.desired.borrow().pod(), wanted.pod());
            self.context.runtime.meters.resizes.requested(&asked);
            handle.desired.send_replace(wanted);
        }
    }

    /// What is wanted of every pod that has a worker.
    fn desired(&self) -> Vec<Desired> {
        self.workers.values().filter(|h| !h.task.is_finished()).map(|h| h.desired.borrow().clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Handle;
    use super::*;
    use crate::pod::worker::Stage;
    use crate::runtime::{CONFIG_SEEN, CONFIG_SOURCE};

    fn pod(uid: &str, namespace: &str) -> Arc<Pod> {
        let annotations = json!({CONFIG_SOURCE: "file", CONFIG_SEEN: "then"});
        let meta = json!({"name": "web", "namespace": namespace, "uid": uid, "annotations": annotations});
        Arc::new(serde_json::from_value(json!({"metadata": meta})).unwrap())
    }

    /// As [`pod`], from a manifest that was seen at another time.
    fn edition(uid: &str, seen: &str) -> Arc<Pod> {
        let mut pod = (*pod(uid, "default")).clone();
        pod.metadata.annotations.get_or_insert_default().insert(CONFIG_SEEN.into(), seen.into());
        Arc::new(pod)
    }

    fn of_api(uid: &str) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "a", "uid": uid}})).unwrap())
    }

    fn same_name_of_api(uid: &str) -> Arc<Pod> {
        let meta = json!({"name": "web", "namespace": "default", "uid": uid});
        Arc::new(serde_json::from_value(json!({"metadata": meta})).unwrap())
    }

    #[test]
    fn a_static_pod_waits_for_the_end_of_another_one_of_its_name() {
        let new = pod("2", "default");
        for (workers, want) in [
            (vec![], Turn::Run),
            (vec![Desired::Gone(pod("1", "default"))], Turn::Wait),
            (vec![Desired::Gone(pod("1", "other"))], Turn::Run),
            (vec![Desired::Present(pod("1", "default"))], Turn::Wait),
            (vec![Desired::Present(pod("1", "other"))], Turn::Run),
            (vec![Desired::Present(same_name_of_api("1"))], Turn::Run),
            (vec![Desired::Present(new.clone())], Turn::Stay),
            (vec![Desired::Gone(new.clone())], Turn::Run),
            (vec![Desired::Present(edition("2", "before"))], Turn::Run),
        ] {
            assert_eq!(turn(&new, &workers), want);
        }
    }

    #[tokio::test]
    async fn a_pod_that_is_put_back_returns_until_it_has_begun_again() {
        let (first, second) = (pod("1", "default"), edition("1", "later"));
        let (of_began, began) = watch::channel(first.clone());
        let handle = Handle {
            desired: watch::Sender::new(Desired::Present(first.clone())),
            wake: Arc::default(),
            states: watch::Sender::default(),
            task: tokio::spawn(async {}).abort_handle(),
            stage: watch::Sender::new(Stage::Syncing).subscribe(),
            began,
            refused: false,
            preempted: false,
            adopted: false,
        };
        assert!(!handle.returns(), "it runs");
        handle.desired.send_replace(Desired::Gone(first.clone()));
        assert!(!handle.returns(), "it ends for good");
        handle.desired.send_replace(Desired::Present(second.clone()));
        assert!(handle.returns(), "it ends to run again");
        of_began.send_replace(second);
        assert!(!handle.returns(), "it runs again");
        handle.desired.send_replace(Desired::Present(of_api("3")));
        assert!(!handle.returns(), "pods of the API are told from each other by their UIDs");
    }

    #[test]
    fn what_runs_is_nobodys_once_the_manifests_that_ask_for_it_could_have_workers() {
        let (tell, mut statics) = watch::channel(Asked::default());
        assert!(!is_taken_over(&statics), "an address has not answered");
        tell.send_replace(Asked { whole: true, ..Asked::default() });
        assert!(!is_taken_over(&statics), "what it answered was not looked at");
        statics.mark_unchanged();
        assert!(is_taken_over(&statics));
        drop(tell);
        assert!(is_taken_over(&statics));
    }

    #[test]
    fn only_static_pods_that_end_are_told_as_ending() {
        let workers =
            [Desired::Gone(pod("1", "default")), Desired::Present(pod("2", "default")), Desired::Gone(of_api("3"))];
        assert_eq!(ending(&workers), BTreeSet::from(["1".to_owned()]));
    }
}
