//! Rounds: what the containers of a pod do between two restarts of all of them (KEP-5532).
//!
//! Every container bears the number of the round that it was made in. The newest round is over when one of its containers ended in a
//! way that a rule of its own names: what still runs of it is killed, then the pod begins anew in the same sandbox, and its containers
//! bear the next number. Those of rounds before tell how often a container ran and what it said last, and decide nothing any more. So
//! the runtime alone tells how far a restart has come.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::spec;
use crate::runtime::{RuntimeContainer, RuntimePod, State};

/// Reason of the end of a container whose round is over, and of waiting for the next one.
pub const REASON: &str = "RestartingAllContainers";
/// Its message.
pub const MESSAGE: &str = "The container is removed because RestartAllContainers in place";

/// Where a round stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its containers do their work.
    Lasts,
    /// It is to end: what runs is killed, and the API is told.
    Ends,
    /// Nothing of it runs, and nothing of the next one was made yet.
    Over,
}

/// The newest round of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    number: u32,
    stage: Stage,
}

fn newest_number(runtime: &RuntimePod) -> u32 {
    runtime.containers.iter().map(|c| c.round).max().unwrap_or(0)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    spec::init_containers(pod).iter().chain(spec::app_containers(pod))
}

/// Whether the way in which an instance ended restarts all containers of its pod.
pub fn restarts_all(container: &Container, instance: &RuntimeContainer) -> bool {
    instance.state == State::Exited && spec::action_after(container, instance.exit_code) == Some(spec::RESTART_ALL)
}

/// Whether a rule of any container may restart all of them.
pub fn may_restart_all(pod: &Pod) -> bool {
    let mut rules = containers(pod).flat_map(|container| container.restart_policy_rules.iter().flatten());
    rules.any(|rule| rule.action == spec::RESTART_ALL)
}

impl Round {
    /// The newest round of a pod that goes on. `announced` is the last round whose end was carried out and told by this kubelet: after
    /// a restart of it both are done again.
    pub fn of(pod: &Pod, runtime: &RuntimePod, announced: Option<u32>) -> Self {
        let round = Self::settled(runtime);
        if round.sources(pod, runtime).is_empty() {
            return round;
        }
        let runs = containers(pod).any(|c| runtime.container(&c.name).is_some_and(RuntimeContainer::running));
        let stage = if announced == Some(round.number) && !runs { Stage::Over } else { Stage::Ends };
        Self { stage, ..round }
    }

    /// The newest round of a pod that begins nothing any more.
    pub fn settled(runtime: &RuntimePod) -> Self {
        Self { number: newest_number(runtime), stage: Stage::Lasts }
    }

    /// Its number, zero for the first.
    pub fn number(self) -> u32 {
        self.number
    }

    /// Whether it is to end and its end is not done.
    pub fn ends(self) -> bool {
        self.stage == Stage::Ends
    }

    /// Whether the next one may begin.
    pub fn is_over(self) -> bool {
        self.stage == Stage::Over
    }

    /// The number that a container bears which is made now.
    pub fn number_of_new(self) -> u32 {
        self.number.saturating_add(u32::from(self.is_over()))
    }

    /// Whether an instance is of a round that is over.
    pub fn is_past(self, instance: &RuntimeContainer) -> bool {
        instance.round < self.number_of_new()
    }

    /// The newest instance of a container in a sandbox, unless its round is over.
    pub fn container_in<'a>(self, runtime: &'a RuntimePod, name: &str, sandbox: &str) -> Option<&'a RuntimeContainer> {
        runtime.container_in(name, sandbox).filter(|c| !self.is_past(c))
    }

    /// The containers whose ends restart all, with the instances that ended so in this round.
    pub fn sources<'a>(self, pod: &'a Pod, runtime: &'a RuntimePod) -> Vec<(&'a Container, &'a RuntimeContainer)> {
        let ended = |container: &'a Container| {
            let last = runtime.container(&container.name)?;
            (last.round == self.number && restarts_all(container, last)).then_some((container, last))
        };
        containers(pod).filter_map(ended).collect()
    }

    /// What has to be killed before the next round begins: no ephemeral container is.
    pub fn left<'a>(self, pod: &'a Pod, runtime: &'a RuntimePod) -> Vec<&'a RuntimeContainer> {
        let ours = |name: &str| containers(pod).any(|c| c.name == name);
        let alive = |c: &RuntimeContainer| matches!(c.state, State::Running | State::Unknown);
        runtime.containers.iter().filter(|c| alive(c) && ours(&c.name)).collect()
    }
}
