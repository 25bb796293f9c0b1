//! Ends of containers, as figures count them: each once, when it is told first.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodStatus};

use super::spec::Kind;

/// The ends that `now` tells and `before` did not.
pub fn newly_told<'a>(before: &PodStatus, now: &'a PodStatus) -> Vec<(Kind, &'a ContainerStateTerminated)> {
    let lists = [
        (Kind::Init, &before.init_container_statuses, &now.init_container_statuses),
        (Kind::App, &before.container_statuses, &now.container_statuses),
        (Kind::Ephemeral, &before.ephemeral_container_statuses, &now.ephemeral_container_statuses),
    ];
    let mut new = Vec::new();
    for (kind, before, now) in lists {
        for status in now.iter().flatten() {
            let same_name = before.iter().flatten().filter(|old| old.name == status.name);
            let known: Vec<&ContainerStateTerminated> = same_name.flat_map(ends).collect();
            let unknown = ends(status).filter(|end| !known.iter().any(|old| is_same(old, end)));
            new.extend(unknown.map(|end| (kind, end)));
        }
    }
    new
}

fn ends(status: &ContainerStatus) -> impl Iterator<Item = &ContainerStateTerminated> {
    [&status.last_state, &status.state].into_iter().flatten().filter_map(|state| state.terminated.as_ref())
}

/// A run ends once, whatever is learned of that later; an end that nobody saw has no run to be known by.
fn is_same(one: &ContainerStateTerminated, other: &ContainerStateTerminated) -> bool {
    one.container_id == other.container_id && (one.container_id.is_some() || one.exit_code == other.exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(state: Value, last: Value) -> PodStatus {
        let container = json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": state, "lastState": last});
        serde_json::from_value(json!({"containerStatuses": [container]})).expect("a status")
    }

    #[test]
    fn every_end_of_a_container_is_told_first_once() {
        let end = |id: &str, code: i32| json!({"terminated": {"containerID": id, "exitCode": code, "reason": "Error"}});
        let running = || json!({"running": {}});
        let steps = [
            (status(running(), Value::Null), vec![]),
            (status(end("a", 139), Value::Null), vec![139]),
            // It runs again: the same end is told in another place.
            (status(running(), end("a", 139)), vec![]),
            (status(running(), end("b", 139)), vec![139]),
            // More is known of it, in place of the unknown.
            (status(end("b", 1), Value::Null), vec![]),
            // Two at once: it was not looked at between them.
            (status(end("d", 1), end("c", 2)), vec![2, 1]),
            // Nobody saw it.
            (status(json!({"terminated": {"exitCode": 137}}), end("d", 1)), vec![137]),
            (status(running(), json!({"terminated": {"exitCode": 137}})), vec![]),
        ];
        let mut before = PodStatus::default();
        for (now, wanted) in steps {
            let told = newly_told(&before, &now);
            assert_eq!(told.iter().map(|(_, end)| end.exit_code).collect::<Vec<_>>(), wanted, "{now:?}");
            assert!(told.iter().all(|(kind, _)| *kind == Kind::App));
            before = now;
        }
    }
}
