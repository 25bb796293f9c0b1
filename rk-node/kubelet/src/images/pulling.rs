//! For how long images of each pod were pulled.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Of one pod.
#[derive(Default)]
struct Spent {
    /// When the pull began that has not come to its end; attempts that fail are parts of it.
    since: Option<Instant>,
    whole: Duration,
}

/// Times of pulls, by UID of the pod.
#[derive(Default)]
pub struct Pulling(Mutex<HashMap<String, Spent>>);

impl Pulling {
    fn pods(&self) -> MutexGuard<'_, HashMap<String, Spent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An image is to be pulled.
    pub fn began(&self, uid: &str, at: Instant) {
        self.pods().entry(uid.to_owned()).or_default().since.get_or_insert(at);
    }

    /// It is here.
    pub fn ended(&self, uid: &str, at: Instant) {
        if let Some(spent) = self.pods().get_mut(uid)
            && let Some(since) = spent.since.take()
        {
            spent.whole += at.saturating_duration_since(since);
        }
    }

    /// What pulls of a pod took that have come to their end.
    pub fn of(&self, uid: &str) -> Duration {
        self.pods().get(uid).map_or(Duration::ZERO, |spent| spent.whole)
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.pods().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_counts_from_its_first_attempt_until_the_image_is_here() {
        let (pulling, start) = (Pulling::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        pulling.ended("p", after(1));
        assert_eq!(pulling.of("p"), Duration::ZERO, "none began");
        for (began, ended) in [(0, None), (5, Some(7)), (20, Some(21)), (30, None)] {
            pulling.began("p", after(began));
            ended.into_iter().for_each(|at| pulling.ended("p", after(at)));
        }
        assert_eq!((pulling.of("p"), pulling.of("q")), (Duration::from_secs(8), Duration::ZERO));
        pulling.forget("p");
        assert_eq!(pulling.of("p"), Duration::ZERO);
    }
}
