//! From measured use to a number of replicas.

use jiff::{SignedDuration, Timestamp};

/// A ratio this close to 1 is no reason to scale.
const TOLERANCE: f64 = 0.1;
/// Shrinking waits until every recommendation of this window agrees.
pub(super) const SHRINK_WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// Use of one metric over the pods that report it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    /// Sum over reporting pods.
    pub(super) used: f64,
    /// What the same pods should use.
    pub(super) target: f64,
    /// Pods that report.
    pub(super) reporting: usize,
    /// Ready pods that do not.
    pub(super) silent: usize,
}

/// The wanted number by one metric: silent pods count against the change, so that missing data never drives it.
pub(super) fn by_metric(current: i32, measured: Measured) -> i32 {
    if measured.reporting == 0 || measured.target <= 0.0 {
        return current;
    }
    let ratio = measured.used / measured.target;
    if (ratio - 1.0).abs() <= TOLERANCE {
        return current;
    }
    let per_pod = measured.target / measured.reporting as f64;
    // When growing, silent pods are taken as idle; when shrinking, as busy.
    let assumed = if ratio > 1.0 { 0.0 } else { per_pod * measured.silent as f64 };
    let pods = (measured.reporting + measured.silent) as f64;
    let new_ratio = (measured.used + assumed) / (per_pod * pods);
    if (new_ratio - 1.0).abs() <= TOLERANCE || (ratio > 1.0) != (new_ratio > 1.0) {
        return current;
    }
    (new_ratio * pods).ceil() as i32
}

/// Keeps within the bounds, grows at most to twice the size (or 4), and shrinks only as far as all recent
/// recommendations allow. Answers the number and why it was limited.
pub(super) fn limit(
    current: i32,
    wanted: i32,
    min: i32,
    max: i32,
    recent: &[(Timestamp, i32)],
    now: Timestamp,
) -> (i32, &'static str) {
    let window = recent.iter().filter(|(at, _)| now.duration_since(*at) < SHRINK_WINDOW).map(|(_, n)| *n);
    let highest = window.chain([wanted]).max().unwrap_or(wanted);
    let stable = if wanted < current { highest.min(current) } else { wanted };
    let fastest = (current * 2).max(4);
    if stable > max && max <= fastest {
        return (max, "TooManyReplicas");
    }
    if stable > fastest {
        return (fastest.min(max), "ScaleUpLimit");
    }
    if stable < min {
        return (min, "TooFewReplicas");
    }
    (stable, "DesiredWithinRange")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_follow_the_ratio_but_not_missing_data() {
        let measured = |used, target, reporting, silent| Measured { used, target, reporting, silent };
        let cases = [
            (3, measured(600.0, 300.0, 3, 0), 6),
            (3, measured(310.0, 300.0, 3, 0), 3),
            (4, measured(200.0, 400.0, 4, 0), 2),
            (3, measured(0.0, 0.0, 0, 3), 3),
            (2, measured(150.0, 100.0, 1, 1), 2),
            (4, measured(100.0, 200.0, 2, 2), 3),
        ];
        for (current, measured, expected) in cases {
            assert_eq!(by_metric(current, measured), expected, "{measured:?}");
        }
    }

    #[test]
    fn size_stays_in_bounds_and_shrinks_late() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().expect("time");
        let at = |minute: u8| format!("2026-01-01T00:0{minute}:00Z").parse().expect("time");
        assert_eq!(limit(3, 20, 1, 10, &[], now), (6, "ScaleUpLimit"));
        assert_eq!(limit(6, 20, 1, 10, &[], now), (10, "TooManyReplicas"));
        assert_eq!(limit(5, 2, 1, 10, &[(at(7), 4)], now), (4, "DesiredWithinRange"));
        assert_eq!(limit(5, 2, 1, 10, &[(at(4), 5)], now), (2, "DesiredWithinRange"));
        assert_eq!(limit(1, 1, 2, 10, &[], now), (2, "TooFewReplicas"));
    }
}
