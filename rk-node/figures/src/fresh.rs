//! How long a figure is good.

use std::time::Duration;

/// A look that takes long is made seldom: a tenth of the time at most goes into it, as cAdvisor spares file systems that are slow to count
/// (`container/common/fsHandler.go`).
const SHARE: u32 = 10;
/// But a figure is never older than this many times what was asked for.
const MOST: u32 = 6;

/// Whether a figure of this age, whose look `took` so long, will do for who wants none older than `max_age`.
pub(crate) fn is_fresh(age: Duration, took: Duration, max_age: Duration) -> bool {
    let rest = took.saturating_mul(SHARE).min(max_age.saturating_mul(MOST));
    age < max_age.max(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_costs_much_is_looked_up_seldom() {
        for (age, took, max_age, fresh) in [
            (9, 0, 10, true),
            (10, 0, 10, false),
            (10, 1, 10, false),
            (29, 3, 10, true),
            (30, 3, 10, false),
            (59, 1000, 10, true),
            (60, 1000, 10, false),
            (0, 0, 0, false),
            (0, 5, 0, false),
        ] {
            let [age, took, max_age] = [age, took, max_age].map(Duration::from_secs);
            assert_eq!(is_fresh(age, took, max_age), fresh, "{age:?} {took:?} {max_age:?}");
        }
    }
}
