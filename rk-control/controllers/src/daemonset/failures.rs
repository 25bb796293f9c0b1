//! How long a failed daemon pod stays before it is replaced: a node that takes none must not be offered one all the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// After the first failure of a node; doubles with each further one.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// A node that was well for so long begins anew.
const FORGIVEN: Duration = Duration::from_secs(2 * 15 * 60);

/// The set by uid and generation, so that a new template has its chance at once, and the node.
pub(super) type Place = (String, i64, String);

#[derive(Debug)]
struct Failed {
    wait: Duration,
    replaced: Instant,
}

/// When failed pods were replaced last, by their places.
#[derive(Debug, Default)]
pub(super) struct Failures {
    places: HashMap<Place, Failed>,
}

impl Failures {
    /// A failed pod is at `place`: how much longer it stays, or `None` when it is to be replaced now, which is noted.
    pub(super) fn hold(&mut self, place: Place, now: Instant) -> Option<Duration> {
        self.places.retain(|_, failed| now.saturating_duration_since(failed.replaced) < FORGIVEN);
        let Some(failed) = self.places.get_mut(&place) else {
            self.places.insert(place, Failed { wait: FIRST, replaced: now });
            return None;
        };
        let left = failed.wait.saturating_sub(now.saturating_duration_since(failed.replaced));
        if !left.is_zero() {
            return Some(left);
        }
        *failed = Failed { wait: failed.wait.saturating_mul(2).min(LONGEST), replaced: now };
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(generation: i64, node: &str) -> Place {
        ("uid".to_owned(), generation, node.to_owned())
    }

    #[test]
    fn a_place_where_pods_fail_again_and_again_waits_longer_each_time() {
        let (mut failures, begin) = (Failures::default(), Instant::now());
        let mut at = |seconds: u64, place: Place| failures.hold(place, begin + Duration::from_secs(seconds));
        assert_eq!(at(0, place(1, "a")), None, "the first is replaced at once");
        assert_eq!(at(0, place(1, "a")), Some(FIRST));
        assert_eq!(at(1, place(1, "a")), None);
        assert_eq!(at(2, place(1, "a")), Some(Duration::from_secs(1)), "two seconds after the second");
        assert_eq!(at(2, place(1, "b")), None, "another node");
        assert_eq!(at(2, place(2, "a")), None, "another template");
        let mut now = 3;
        for wait in [2u64, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(at(now, place(1, "a")), None, "after {wait} s");
            now += (wait * 2).min(900);
        }
        assert_eq!(at(now + 1800, place(1, "a")), None);
        assert_eq!(at(now + 1800, place(1, "a")), Some(FIRST), "forgiven");
    }
}
