//! The way down: node agent, containers, other services, everything else.

use crate::Millis;

/// How long each phase may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// `rk-node` ends the pods in order of priority, each with its grace.
    pub node: Millis,
    /// Containers that are left get a signal to end, then are killed.
    pub containers: Millis,
    /// The other services.
    pub services: Millis,
    /// All processes that are still there.
    pub sweep: Millis,
}

/// What is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    /// `rk-node` runs.
    pub node: bool,
    /// Some container runs.
    pub containers: bool,
    /// Some other service runs.
    pub services: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Tell `rk-node` to stop.
    StopNode,
    /// Tell all containers to stop.
    TerminateContainers,
    /// Kill all containers.
    KillContainers,
    /// Tell the other services to stop.
    StopServices,
    /// Tell every process to stop.
    TerminateAll,
    /// Kill every process.
    KillAll,
    /// Nothing runs any more: unmount, sync, end the machine.
    Finish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Begin,
    Node { until: Millis },
    Containers { until: Millis },
    Killing { until: Millis },
    Services { until: Millis },
    Sweep { until: Millis },
    Done,
}

/// Time that killed containers get to be gone; the kernel needs some to tear down namespaces.
const AFTER_KILL: Millis = 2_000;

/// A machine going down. Every phase has an end, so the whole has.
#[derive(Debug)]
pub struct Shutdown {
    deadlines: Deadlines,
    phase: Phase,
}

impl Shutdown {
    /// A shutdown that has not begun.
    pub fn new(deadlines: Deadlines) -> Shutdown {
        Shutdown { deadlines, phase: Phase::Begin }
    }

    /// Goes on as far as what is there and the time allow.
    pub fn advance(&mut self, now: Millis, seen: Observed) -> Vec<Step> {
        let mut steps = Vec::new();
        // Each turn moves to a later phase or stops: at most seven.
        while let Some(next) = self.next(now, seen, &mut steps) {
            self.phase = next;
        }
        steps
    }

    /// When [`Shutdown::advance`] must be called again at the latest.
    pub fn next_deadline(&self) -> Option<Millis> {
        match self.phase {
            Phase::Begin | Phase::Done => None,
            Phase::Node { until }
            | Phase::Containers { until }
            | Phase::Killing { until }
            | Phase::Services { until }
            | Phase::Sweep { until } => Some(until),
        }
    }

    fn next(&self, now: Millis, seen: Observed, steps: &mut Vec<Step>) -> Option<Phase> {
        let over = self.next_deadline().is_some_and(|until| until <= now);
        let Deadlines { node, containers, services, sweep } = self.deadlines;
        let services_phase = |steps: &mut Vec<Step>| {
            steps.push(Step::StopServices);
            Some(Phase::Services { until: now + services })
        };
        match self.phase {
            Phase::Begin => {
                steps.push(Step::StopNode);
                Some(Phase::Node { until: now + node })
            }
            Phase::Node { .. } if (!seen.node || over) && seen.containers => {
                steps.push(Step::TerminateContainers);
                Some(Phase::Containers { until: now + containers })
            }
            Phase::Node { .. } if !seen.node || over => services_phase(steps),
            Phase::Containers { .. } | Phase::Killing { .. } if !seen.containers => services_phase(steps),
            Phase::Containers { .. } if over => {
                steps.push(Step::KillContainers);
                Some(Phase::Killing { until: now + AFTER_KILL })
            }
            Phase::Killing { .. } if over => services_phase(steps),
            Phase::Services { .. } if !seen.services || over => {
                steps.push(Step::TerminateAll);
                Some(Phase::Sweep { until: now + sweep })
            }
            Phase::Sweep { .. } if over => {
                steps.extend([Step::KillAll, Step::Finish]);
                Some(Phase::Done)
            }
            _ => None,
        }
    }
}
