//! What is told of containers of a pod that has ended though nobody saw how they did.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};

use super::spec;
use crate::runtime::UNKNOWN_REASON;

/// Exit code of a container whose end nobody saw.
const KILLED: i32 = 137;
/// Last words of all containers of a pod together, bytes.
const MOST_WORDS: usize = 12 * 1024;
/// Why its end is not known when its pod is over.
pub const WHEN_TERMINATED: &str = "The container could not be located when the pod was terminated";
/// Why the end of an instance is not known that ran when it was seen last; its pod goes on.
pub const WHEN_DELETED: &str =
    "The container could not be located when the pod was deleted.  The container used to be Running";
/// Why no more is known of an init container whose pod went on.
const WHEN_FOLLOWED: &str = "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally";

/// The end of a container that nobody saw.
pub fn unseen(message: &str) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: KILLED,
        reason: Some(UNKNOWN_REASON.into()),
        message: Some(message.to_owned()),
        ..Default::default()
    }
}

/// The end of an init container that was followed by others, and of which nobody knows more.
pub fn forgotten() -> ContainerStateTerminated {
    ContainerStateTerminated {
        reason: Some("Completed".to_owned()),
        message: Some(WHEN_FOLLOWED.to_owned()),
        ..Default::default()
    }
}

/// Gives every container of a pod that is over an end, but for those whose turn cannot have come.
pub fn settle(pod: &Pod, init: &mut [ContainerStatus], app: &mut [ContainerStatus]) {
    if initialized(pod, init, app) {
        app.iter_mut().for_each(end);
    }
    let tried = init.iter().rposition(has_begun).map_or(1, |last| last + 1);
    init.iter_mut().take(tried).for_each(end);
}

/// Cuts last words so that those of all containers of the pod together are no longer than upstream lets them be.
pub fn cut_last_words<'a>(pod: &Pod, statuses: impl Iterator<Item = &'a mut ContainerStatus>) {
    let containers = spec::init_containers(pod).len() + spec::app_containers(pod).len();
    let share = MOST_WORDS / (containers + spec::ephemeral_containers(pod).len()).max(1);
    let states = statuses.flat_map(|status| [&mut status.state, &mut status.last_state]).flatten();
    for end in states.filter_map(|state| state.terminated.as_mut()) {
        if let Some(message) = end.message.as_mut().filter(|message| message.len() > share) {
            let cut = (0..=share).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(cut);
        }
    }
}

fn end(status: &mut ContainerStatus) {
    if status.state.as_ref().is_none_or(|state| state.terminated.is_none()) {
        status.state = Some(ContainerState { terminated: Some(unseen(WHEN_TERMINATED)), ..Default::default() });
        status.ready = false;
    }
}

/// Whether a container does anything but wait, or has done so before.
fn has_begun(status: &ContainerStatus) -> bool {
    let ended = |state: &ContainerState| state.terminated.is_some();
    status.last_state.as_ref().is_some_and(ended) || status.state.as_ref().is_none_or(|state| state.waiting.is_none())
}

/// Whether the app containers of a pod have had their turn.
fn initialized(pod: &Pod, init: &[ContainerStatus], app: &[ContainerStatus]) -> bool {
    let Some(last) = spec::init_containers(pod).last() else { return true };
    let done = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        match spec::is_sidecar(last) {
            true => state.is_some_and(|s| s.running.is_some()) && status.started == Some(true),
            false => state.and_then(|s| s.terminated.as_ref()).is_some_and(|end| end.exit_code == 0),
        }
    };
    app.iter().any(has_begun) || init.iter().any(|status| status.name == last.name && done(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn statuses(states: &[(&str, Value)]) -> Vec<ContainerStatus> {
        let status = |(name, state): &(&str, Value)| {
            let told =
                json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state});
            serde_json::from_value(told).unwrap()
        };
        states.iter().map(status).collect()
    }

    fn ends(statuses: &[ContainerStatus]) -> Vec<Option<i32>> {
        let end = |status: &ContainerStatus| status.state.as_ref()?.terminated.as_ref().map(|end| end.exit_code);
        statuses.iter().map(end).collect()
    }

    #[test]
    fn containers_of_a_pod_share_the_room_for_last_words() {
        for (number, want) in [(1, 4096), (3, 4096), (4, 3072), (5, 2456)] {
            let names: Vec<Value> = (0..number).map(|at| json!({"name": format!("c{at}")})).collect();
            let pod: Pod = serde_json::from_value(json!({"spec": {"containers": names}})).unwrap();
            let said = json!({"terminated": {"exitCode": 1, "message": "\u{e9}".repeat(2048)}});
            let mut told = statuses(&[("c0", said.clone()), ("c1", json!({"running": {}}))]);
            told[1].last_state = serde_json::from_value(said).unwrap();
            cut_last_words(&pod, told.iter_mut());
            let words = |state: &Option<ContainerState>| {
                let end = state.as_ref().and_then(|state| state.terminated.as_ref());
                end.and_then(|end| end.message.as_ref()).map(String::len)
            };
            assert_eq!([words(&told[0].state), words(&told[1].last_state)], [Some(want), Some(want)], "{number}");
        }
    }

    #[test]
    fn containers_of_a_pod_that_is_over_have_ended_but_for_those_whose_turn_cannot_have_come() {
        let (waits, runs) = (json!({"waiting": {"reason": "ErrImagePull"}}), json!({"running": {}}));
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        let pod = |init: Value| -> Pod {
            serde_json::from_value(
                json!({"spec": {"initContainers": init, "containers": [{"name": "a"}, {"name": "b"}]}}),
            )
            .unwrap()
        };
        let two = json!([{"name": "i"}, {"name": "j"}]);
        let sidecar = json!([{"name": "i", "restartPolicy": "Always"}]);
        let (lost, none) = (Some(137), None);
        for (init, of_init, of_app, want_init, want_app) in [
            (json!([]), vec![], vec![waits.clone(), ended(3)], vec![], vec![lost, Some(3)]),
            (two.clone(), vec![waits.clone(), waits.clone()], vec![waits.clone()], vec![lost, none], vec![none]),
            (two.clone(), vec![ended(0), runs.clone()], vec![waits.clone()], vec![Some(0), lost], vec![none]),
            (two.clone(), vec![ended(0), ended(0)], vec![waits.clone()], vec![Some(0), Some(0)], vec![lost]),
            (two, vec![ended(0), waits.clone()], vec![runs.clone()], vec![Some(0), none], vec![lost]),
            (sidecar, vec![ended(0)], vec![waits.clone()], vec![Some(0)], vec![none]),
        ] {
            let named = |names: [&'static str; 2], states: &[Value]| {
                statuses(&names.into_iter().zip(states.iter().cloned()).collect::<Vec<_>>())
            };
            let (mut inits, mut apps) = (named(["i", "j"], &of_init), named(["a", "b"], &of_app));
            settle(&pod(init.clone()), &mut inits, &mut apps);
            assert_eq!((ends(&inits), ends(&apps)), (want_init, want_app), "{init} {of_init:?} {of_app:?}");
        }
    }
}
