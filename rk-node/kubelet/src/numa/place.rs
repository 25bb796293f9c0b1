//! Asking and giving, for one pod.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::hint::{Hint, Hints};
use super::machine::Numa;
use super::policy::{Scope, TopologyPolicy, TopologyRules};
use crate::admission::Refusal;
use crate::pod::spec;

/// Who gives a resource: CPUs, memory, devices. It works on a draft that is thrown away when the pod is refused.
pub trait Provider {
    /// Which nodes would do for a container.
    fn hints(&self, pod: &Pod, container: &Container) -> Hints;
    /// Which nodes would do for all containers of the pod.
    fn pod_hints(&self, pod: &Pod) -> Hints;
    /// Gives a container its share, from these nodes as far as can be.
    fn allocate(&mut self, pod: &Pod, container: &Container, hint: &Hint) -> Result<(), Refusal>;
}

/// How often containers asked for something of their own, and how often they did not get it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pinned {
    /// All of them.
    pub requests: u64,
    /// Those who did not.
    pub errors: u64,
}

impl Pinned {
    /// Counts what came of one.
    pub fn note<T>(&mut self, given: Result<T, Refusal>) -> Result<T, Refusal> {
        self.requests += 1;
        self.errors += u64::from(given.is_err());
        given
    }
}

/// Reason of a refusal by the nodes that a pod would need.
pub const NOT_ALIGNED: &str = "TopologyAffinityError";

fn not_aligned() -> Refusal {
    (NOT_ALIGNED.to_owned(), "Resources cannot be allocated with Topology locality".to_owned())
}

/// Gives the containers of a pod what they ask for, or says why not.
pub fn place(
    pod: &Pod,
    rules: &TopologyRules,
    numa: &Numa,
    providers: &mut [&mut dyn Provider],
) -> Result<(), Refusal> {
    // What a pod asks for as a whole belongs to no container: such pods are taken as they come.
    let asks_as_a_whole = pod.spec.as_ref().is_some_and(|s| s.resources.is_some());
    let rules = if asks_as_a_whole { TopologyRules { policy: TopologyPolicy::None, ..*rules } } else { *rules };
    let asked = |hints: Vec<Hints>| rules.decide(numa, &hints).ok_or_else(not_aligned);
    let whole = match rules.scope {
        Scope::Pod => Some(asked(providers.iter().map(|provider| provider.pod_hints(pod)).collect())?),
        Scope::Container => None,
    };
    for container in spec::init_containers(pod).iter().chain(spec::app_containers(pod)) {
        let hint = match whole {
            Some(hint) => hint,
            None => asked(providers.iter().map(|provider| provider.hints(pod, container)).collect())?,
        };
        for provider in providers.iter_mut() {
            provider.allocate(pod, container, &hint)?;
        }
    }
    Ok(())
}

/// What a pod needs of a resource at most at one time, by what each container does.
pub fn at_most(pod: &Pod, of: impl Fn(&Container) -> u64) -> u64 {
    let (mut sidecars, mut peak) = (0_u64, 0_u64);
    for container in spec::init_containers(pod) {
        let wants = of(container);
        peak = peak.max(sidecars.saturating_add(wants));
        if spec::is_sidecar(container) {
            sidecars = sidecars.saturating_add(wants);
        }
    }
    spec::app_containers(pod).iter().map(of).fold(sidecars, u64::saturating_add).max(peak)
}
