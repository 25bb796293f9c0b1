//! What was short of late, between who looks for the sake of pods and who tells of the node: a pod that goes at once ends its shortage
//! before the node's status is due, and the scheduler would never hear of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::pressure::Pressure;

/// When memory, disk and PIDs were short last. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shortages(Arc<Mutex<[Option<Instant>; 3]>>);

impl Shortages {
    /// Notes what is short now.
    pub fn saw(&self, seen: Pressure, now: Instant) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (short, last) in [seen.memory, seen.disk, seen.pids].into_iter().zip(last.iter_mut()) {
            if short {
                *last = Some(now);
            }
        }
    }

    /// What is told as short: a shortage for `period` after it was seen last, so that the scheduler does not send pods in and out.
    pub fn told(&self, period: Duration, now: Instant) -> Pressure {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [memory, disk, pids] = last.map(|at| at.is_some_and(|at| now.saturating_duration_since(at) < period));
        Pressure { memory, disk, pids }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_that_somebody_saw_is_told_for_a_while() {
        let (evicting, telling) = {
            let shortages = Shortages::default();
            (shortages.clone(), shortages)
        };
        let (start, period) = (Instant::now(), Duration::from_secs(300));
        let after = |seconds| telling.told(period, start + Duration::from_secs(seconds));
        assert_eq!(after(0), Pressure::default());
        let disk = Pressure { disk: true, ..Default::default() };
        evicting.saw(disk, start);
        telling.saw(Pressure::default(), start + Duration::from_secs(3));
        assert_eq!((after(3), after(299), after(300)), (disk, disk, Pressure::default()));
        evicting.saw(Pressure { memory: true, ..Default::default() }, start + Duration::from_secs(200));
        assert_eq!(after(250), Pressure { memory: true, disk: true, pids: false });
        assert_eq!(after(400), Pressure { memory: true, ..Default::default() });
    }
}
