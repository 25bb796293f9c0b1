//! Which containers of a pod have ended under the eyes of its worker.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use crate::meters::Lives;
use crate::pod::container_status::terminated;
use crate::pod::spec;
use crate::runtime::{RuntimePod, State};

/// The ended containers that are counted already; none before the first look.
#[derive(Debug, Default)]
pub struct Exits(Option<BTreeSet<String>>);

impl Exits {
    /// Counts each container that has ended since the last look, once. What had ended before the first one ended under another's eyes.
    pub fn count(&mut self, pod: &Pod, runtime: &RuntimePod, lives: &Lives) {
        let ended = || runtime.containers.iter().filter(|container| container.state == State::Exited);
        if let Some(counted) = &self.0 {
            for container in ended().filter(|container| !counted.contains(&container.id)) {
                let end = terminated(container);
                let kind = spec::kind_name(pod, &container.name);
                lives.ended(kind, end.exit_code, end.reason.as_deref().unwrap_or_default());
            }
        }
        self.0 = Some(ended().map(|container| container.id.clone()).collect());
    }
}

#[cfg(test)]
mod tests {
    use rk_cri_api::v1 as cri;
    use serde_json::json;

    use super::*;
    use crate::runtime::RuntimeContainer;

    /// A container that runs, or one that has ended with a code and a reason.
    fn container(name: &str, id: &str, end: Option<(i32, &str)>) -> RuntimeContainer {
        let state =
            if end.is_some() { cri::ContainerState::ContainerExited } else { cri::ContainerState::ContainerRunning };
        let (exit_code, reason) = end.unwrap_or_default();
        let status = cri::ContainerStatus {
            id: id.to_owned(),
            metadata: Some(cri::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            state: state as i32,
            exit_code,
            reason: reason.to_owned(),
            ..Default::default()
        };
        RuntimeContainer::from_status(status, "s".into())
    }

    #[test]
    fn each_end_is_counted_once_by_kind_code_and_reason() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}],
            "ephemeralContainers": [{"name": "e"}],
        }}))
        .unwrap();
        let (lives, mut exits) = (Lives::default(), Exits::default());
        let mut look = |containers: &[&RuntimeContainer]| {
            let containers = containers.iter().map(|container| (*container).clone()).collect();
            exits.count(&pod, &RuntimePod { containers, ..Default::default() }, &lives);
            let told = lives.counters()[0].read().into_iter();
            told.map(|(key, count)| format!("{} {count}", key.join(" "))).collect::<Vec<_>>()
        };
        let (old, runs) = (container("a", "0", Some((1, "Error"))), container("a", "1", None));
        let initial = container("i", "2", Some((0, "")));
        assert!(look(&[&old, &runs]).is_empty(), "what had ended before the first look");
        assert_eq!(look(&[&old, &runs, &initial]), ["init_container 0 Completed 1"]);
        let (killed, helper) = (container("a", "1", Some((137, "OOMKilled"))), container("e", "3", Some((2, ""))));
        let want = ["container 137 OOMKilled 1", "ephemeral_container 2 Error 1", "init_container 0 Completed 1"];
        for _ in 0..2 {
            assert_eq!(look(&[&old, &killed, &initial, &helper]), want);
        }
        let again = container("a", "4", Some((137, "OOMKilled")));
        assert_eq!(look(&[&again, &killed])[0], "container 137 OOMKilled 2");
    }
}
