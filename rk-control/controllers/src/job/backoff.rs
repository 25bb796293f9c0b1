//! The back-off of a Job: the next pod waits the longer, the more pods failed since the last one succeeded.

use jiff::{SignedDuration, Timestamp};
use rk_client::ObjectKey;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);
/// So many failures make the longest wait; earlier ones need not be known.
const MOST_FAILURES: usize = 7;

/// How long after a failure, one of so many, the next pod must wait: 10 s, doubling with each of them.
pub(super) fn backoff_after(failures: usize) -> SignedDuration {
    let doublings = failures.clamp(1, MOST_FAILURES) - 1;
    let wait = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO)
}

/// How the pods of a Job ended, as far as its back-off goes by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ends {
    succeeded: Option<Timestamp>,
    /// The last failures since then, by uid of the pod.
    failed: BTreeMap<String, Timestamp>,
}

impl Ends {
    /// Notes that a pod succeeded: what failed until then is forgiven.
    pub(super) fn succeed(&mut self, at: Timestamp) {
        self.succeeded = self.succeeded.max(Some(at));
        self.trim();
    }

    /// Notes that a pod failed. The same pod counts once, with the latest time that was told.
    pub(super) fn fail(&mut self, uid: &str, at: Timestamp) {
        let known = self.failed.entry(uid.to_owned()).or_insert(at);
        *known = at.max(*known);
        self.trim();
    }

    /// Adds what others told.
    fn merge(&mut self, other: &Self) {
        other.succeeded.into_iter().for_each(|at| self.succeed(at));
        other.failed.iter().for_each(|(uid, at)| self.fail(uid, *at));
    }

    fn trim(&mut self) {
        self.failed.retain(|_, at| Some(*at) > self.succeeded);
        while self.failed.len() > MOST_FAILURES {
            let Some(first) = self.failed.iter().min_by_key(|(_, at)| **at).map(|(uid, _)| uid.clone()) else { return };
            self.failed.remove(&first);
        }
    }

    /// How much longer the next pod must wait after the last failure.
    pub(super) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let last = self.failed.values().max()?;
        let left = backoff_after(self.failed.len()) - now.duration_since(*last);
        (left > SignedDuration::ZERO).then(|| left.unsigned_abs())
    }
}

/// What is known of the Jobs that are not over, so that a back-off outlives the pods that it comes from. A restart forgets those that
/// are gone by then.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// With the uid of the Job.
    jobs: Mutex<HashMap<ObjectKey, (String, Ends)>>,
}

impl Memory {
    /// Remembers what is seen of a Job, and adds to it what was seen before.
    pub(super) fn complete(&self, key: &ObjectKey, uid: &str, seen: &mut Ends) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = jobs.get(key).filter(|(known, _)| known == uid) {
            seen.merge(known);
        }
        jobs.insert(key.clone(), (uid.to_owned(), seen.clone()));
    }

    /// The Job is over or gone, or another's.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn ends(succeeded: Option<i64>, failed: &[(&str, i64)]) -> Ends {
        let mut ends = Ends::default();
        failed.iter().for_each(|(uid, second)| ends.fail(uid, at(*second)));
        succeeded.into_iter().for_each(|second| ends.succeed(at(second)));
        ends
    }

    #[test]
    fn the_wait_doubles_up_to_ten_minutes() {
        let waits: Vec<i64> = (0..=8).map(|failures| backoff_after(failures).as_secs()).collect();
        assert_eq!(waits, [10, 10, 20, 40, 80, 160, 320, 600, 600]);
    }

    #[test]
    fn what_failed_since_the_last_success_makes_the_wait() {
        let seconds = |ends: Ends| ends.wait(at(100)).map(|left| left.as_secs());
        for (succeeded, failed, wait) in [
            (None, vec![], None),
            (None, vec![("a", 95)], Some(5)),
            (None, vec![("a", 90)], None),
            (None, vec![("a", 20), ("b", 95)], Some(15)),
            (Some(50), vec![("a", 20), ("b", 95)], Some(5)),
            (Some(95), vec![("a", 20), ("b", 95)], None),
        ] {
            assert_eq!(seconds(ends(succeeded, &failed)), wait, "{succeeded:?} {failed:?}");
        }
    }

    #[test]
    fn no_more_is_kept_than_lengthens_the_wait() {
        let mut ends = Ends::default();
        for second in 0..100 {
            ends.fail(&second.to_string(), at(second));
        }
        let kept: Vec<&Timestamp> = ends.failed.values().collect();
        assert_eq!((kept.len(), kept.iter().all(|time| **time >= at(93))), (MOST_FAILURES, true));
        assert_eq!(ends.wait(at(99)), Some(LONGEST));
    }

    #[test]
    fn a_back_off_outlives_the_pods_that_failed_and_ends_with_the_job() {
        let (memory, key) = (Memory::default(), ObjectKey::new("ns", "job"));
        let seen = |uid: &str, mut seen: Ends| {
            memory.complete(&key, uid, &mut seen);
            seen
        };
        seen("1", ends(None, &[("a", 90)]));
        assert_eq!(seen("1", ends(None, &[("a", 95), ("b", 92)])), ends(None, &[("a", 95), ("b", 92)]), "no pod twice");
        assert_eq!(seen("1", Ends::default()).wait(at(100)), Some(Duration::from_secs(15)), "both pods are gone");
        assert_eq!(seen("1", ends(Some(99), &[])).wait(at(100)), None);
        assert_eq!(seen("1", ends(None, &[("c", 98)])), ends(Some(99), &[]), "it failed before that");
        seen("1", ends(None, &[("d", 100)]));
        assert_eq!(seen("2", Ends::default()), Ends::default(), "another Job of that name");
        seen("2", ends(None, &[("e", 100)]));
        memory.forget(&key);
        assert_eq!(seen("2", Ends::default()), Ends::default());
    }
}
