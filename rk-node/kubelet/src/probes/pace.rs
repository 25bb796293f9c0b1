//! What the probes of all pods share, so that there is no storm of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Commands of probes that run at once: each is a few processes, a stage of the shim's and two pipes.
const EXECS: usize = 32;

/// When this kubelet began, and turns for probes that are commands. Clones share them.
#[derive(Clone)]
pub struct ProbePace {
    began: Instant,
    execs: Arc<Semaphore>,
}

impl Default for ProbePace {
    /// From now on.
    fn default() -> Self {
        Self { began: Instant::now(), execs: Arc::new(Semaphore::new(EXECS)) }
    }
}

impl ProbePace {
    /// How long the first probe of a container waits that runs for `age`.
    pub fn first_wait(&self, period: Duration, age: Duration) -> Duration {
        spread(period, age, self.began.elapsed(), rand::random())
    }

    /// A turn to run a command, kept until it is dropped. After `patience` the probe runs without one: commands of others that hang
    /// may not keep it from telling.
    pub async fn turn(&self, patience: Duration) -> Option<OwnedSemaphorePermit> {
        tokio::time::timeout(patience, self.execs.clone().acquire_owned()).await.ok()?.ok()
    }
}

/// After a restart of the kubelet all of its containers are found at once: as upstream, each probe waits for a share (0 to 1) of its
/// period then. What was started since then came one by one.
fn spread(period: Duration, age: Duration, uptime: Duration, share: f64) -> Duration {
    if uptime < period && age > uptime { period.mul_f64(share.clamp(0.0, 1.0)) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_that_a_restart_finds_are_spread_over_their_period() {
        let seconds = Duration::from_secs;
        for (period, age, uptime, wait) in [
            (10, 3600, 1, 5),
            (10, 3600, 9, 5),
            // The kubelet runs for long, or the container was started by it.
            (10, 3600, 10, 0),
            (10, 3, 5, 0),
            (60, 3, 5, 0),
        ] {
            let found = spread(seconds(period), seconds(age), seconds(uptime), 0.5);
            assert_eq!(found, seconds(wait), "period {period}, age {age}, uptime {uptime}");
        }
        let pace = ProbePace::default();
        let waits = (0..1000).map(|_| pace.first_wait(seconds(10), seconds(3600)));
        let mut of_second = [0; 10];
        for wait in waits {
            of_second[wait.as_secs().min(9) as usize] += 1;
        }
        assert!(of_second.iter().all(|probes| (30..300).contains(probes)), "{of_second:?}");
    }

    #[tokio::test]
    async fn few_commands_of_probes_run_at_once_and_none_waits_for_ever() {
        let (pace, soon) = (ProbePace::default(), Duration::from_millis(20));
        let mut turns = Vec::new();
        while let Some(turn) = pace.turn(soon).await {
            turns.push(turn);
        }
        assert_eq!(turns.len(), EXECS);
        turns.pop();
        assert!(pace.clone().turn(soon).await.is_some());
    }
}
