//! What a CronJob does now.

use super::schedule::Schedule;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// More missed times than this are worth a warning: a clock may be wrong.
const MANY_MISSED: usize = 100;

/// The times that are due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The latest time that has passed without a run.
    pub(super) time: Option<Timestamp>,
    pub(super) too_many: bool,
    /// The next time to come.
    pub(super) next: Option<Timestamp>,
}

/// Finds the latest missed time since the last run, or since creation. With a starting deadline, times older than it
/// are lost.
pub(super) fn due(
    schedule: &Schedule,
    zone: &TimeZone,
    last: Option<Timestamp>,
    created: Timestamp,
    deadline: Option<i64>,
    now: Timestamp,
) -> Due {
    let mut from = last.unwrap_or(created);
    if let Some(oldest) = deadline.and_then(|s| now.checked_sub(SignedDuration::from_secs(s)).ok()) {
        from = from.max(oldest);
    }
    let mut time = None;
    let mut missed = 0;
    let mut at = from;
    loop {
        match schedule.next(at, zone) {
            Some(next) if next <= now => {
                time = Some(next);
                at = next;
                missed += 1;
                // Of a long outage only the latest time matters.
                if missed == MANY_MISSED {
                    at = schedule.before_latest(at, now, zone);
                }
            }
            next => return Due { time, too_many: missed > MANY_MISSED && deadline.is_none(), next },
        }
    }
}

/// Names of finished Jobs beyond the limits, oldest first. `finished` is (name, created, succeeded).
pub(super) fn surplus(
    mut finished: Vec<(String, Option<Timestamp>, bool)>,
    keep_succeeded: i32,
    keep_failed: i32,
) -> Vec<String> {
    finished.sort_by(|a, b| a.1.cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    let mut names = Vec::new();
    for (succeeded, keep) in [(true, keep_succeeded), (false, keep_failed)] {
        let of_kind: Vec<_> = finished.iter().filter(|f| f.2 == succeeded).collect();
        let excess = of_kind.len().saturating_sub(usize::try_from(keep).unwrap_or(0));
        names.extend(of_kind.into_iter().take(excess).map(|f| f.0.clone()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("time")
    }

    #[test]
    fn only_the_latest_missed_time_runs() {
        let schedule = Schedule::parse("*/10 * * * *").expect("valid");
        let utc = TimeZone::UTC;
        let created = at("2026-01-01T00:01:00Z");
        let case = |last: Option<&str>, deadline, now: &str| {
            let due = due(&schedule, &utc, last.map(at), created, deadline, at(now));
            (due.time.map(|t| t.to_string()), due.next.map(|t| t.to_string()))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(case(None, None, "2026-01-01T00:05:00Z"), (None, some("2026-01-01T00:10:00Z")));
        assert_eq!(
            case(None, None, "2026-01-01T00:35:00Z"),
            (some("2026-01-01T00:30:00Z"), some("2026-01-01T00:40:00Z"))
        );
        assert_eq!(
            case(Some("2026-01-01T00:30:00Z"), None, "2026-01-01T00:35:00Z"),
            (None, some("2026-01-01T00:40:00Z"))
        );
        assert_eq!(
            case(None, Some(60), "2026-01-01T00:35:00Z"),
            (None, some("2026-01-01T00:40:00Z")),
            "too late for the deadline"
        );
    }

    #[test]
    fn of_a_long_outage_the_latest_time_runs_however_far_apart_times_are() {
        let (created, now) = (at("2025-01-01T00:01:00Z"), at("2026-07-01T12:34:56Z"));
        for (schedule, latest) in [
            ("* * * * *", "2026-07-01T12:34:00Z"),
            ("5 * * * *", "2026-07-01T12:05:00Z"),
            ("0 3 * * *", "2026-07-01T03:00:00Z"),
            ("0 3 * * 2", "2026-06-30T03:00:00Z"),
            ("0 3 */5 * *", "2026-07-01T03:00:00Z"),
            ("* * * 1 *", "2026-01-31T23:59:00Z"),
            ("* * 1-20 6 *", "2026-06-20T23:59:00Z"),
            ("@every 90s", "2026-07-01T12:34:00Z"),
        ] {
            let parsed = Schedule::parse(schedule).expect("valid");
            let due = due(&parsed, &TimeZone::UTC, None, created, None, now);
            assert_eq!(due.time, Some(at(latest)), "{schedule}");
            assert!(due.next.is_some_and(|next| next > now), "{schedule}");
        }
    }

    #[test]
    fn the_oldest_finished_jobs_go() {
        let job =
            |name: &str, minute: u8, ok| (name.to_owned(), Some(at(&format!("2026-01-01T00:{minute:02}:00Z"))), ok);
        let finished = vec![job("c", 3, true), job("a", 1, true), job("b", 2, true), job("f", 1, false)];
        assert_eq!(surplus(finished, 1, 1), ["a", "b"]);
    }
}
