//! From what metrics say to a number of replicas.

/// What a metric is to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// Percents of what the pods request.
    Utilization(i64),
    /// Thousandths per pod.
    Average(i64),
}

/// Pods of which the same is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Group {
    pub(super) pods: i64,
    /// Thousandths, of all together.
    pub(super) used: i64,
    /// Thousandths, of all together; told for a goal in percents only.
    pub(super) requested: i64,
}

impl Group {
    /// With the pods of another group, which count as using this much together.
    fn with(self, other: Group, used: i64) -> Group {
        Group {
            pods: self.pods + other.pods,
            used: self.used.saturating_add(used),
            requested: self.requested.saturating_add(other.requested),
        }
    }

    /// Percents of what is requested, rounded down.
    pub(super) fn utilization(self) -> i64 {
        self.used.saturating_mul(100) / self.requested.max(1)
    }

    /// Thousandths per pod, rounded down.
    pub(super) fn average(self) -> i64 {
        self.used / self.pods.max(1)
    }

    fn ratio(self, goal: Goal) -> f64 {
        match goal {
            Goal::Utilization(percents) => self.utilization() as f64 / percents.max(1) as f64,
            Goal::Average(thousandths) => self.average() as f64 / thousandths.max(1) as f64,
        }
    }

    /// What pods that do not report are taken to use, where fewer pods might do.
    fn presumed(self, goal: Goal) -> i64 {
        match goal {
            Goal::Utilization(percents) => self.requested.saturating_mul(percents.max(100)) / 100,
            Goal::Average(thousandths) => thousandths.saturating_mul(self.pods),
        }
    }
}

/// One metric of each pod of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) goal: Goal,
    /// Pods whose use counts.
    pub(super) reporting: Group,
    /// Pods that should report and do not.
    pub(super) silent: Group,
    /// Pods that are not ready: what they use says nothing yet.
    pub(super) unready: Group,
    /// Metrics of pods that nobody knows, any more or yet.
    pub(super) strangers: Group,
}

impl Measured {
    /// Whose use counts: strangers have a part in an average as upstream reckons it, but request nothing.
    pub(super) fn counted(&self) -> Group {
        match self.goal {
            Goal::Utilization(_) => self.reporting,
            Goal::Average(_) => self.reporting.with(self.strangers, self.strangers.used),
        }
    }
}

/// The wanted number by one metric: pods that do not report, or are not ready, count against the change, so that missing data never
/// drives it. `tolerates` tells whether a part of the goal is near enough to it.
pub(super) fn by_metric(current: i32, measured: &Measured, tolerates: impl Fn(f64) -> bool) -> i32 {
    let Measured { goal, reporting, silent, unready, strangers } = *measured;
    let counted = measured.counted();
    let ratio = counted.ratio(goal);
    let waits_for_others = unready.pods > 0 && ratio > 1.0;
    if !waits_for_others && silent.pods == 0 {
        return if tolerates(ratio) { current } else { pods(ratio * reporting.pods as f64) };
    }
    // When growing, the others are taken as idle; when shrinking, as busy.
    let mut all = counted;
    if ratio != 1.0 {
        all = all.with(silent, if ratio < 1.0 { silent.presumed(goal) } else { 0 });
    }
    if waits_for_others {
        all = all.with(unready, 0);
    }
    let anew = all.ratio(goal);
    if tolerates(anew) || (ratio < 1.0 && anew > 1.0) || (ratio > 1.0 && anew < 1.0) {
        return current;
    }
    let number = all.pods - counted.pods + reporting.pods + strangers.pods;
    let wanted = pods(anew * number as f64);
    let turns = (anew < 1.0 && wanted > current) || (anew > 1.0 && wanted < current);
    if turns { current } else { wanted }
}

/// One metric of all together, as an object or something outside of the cluster has it; in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) value: i64,
    /// What it is to come to, of which each pod may have a part.
    pub(super) goal: i64,
}

impl Whole {
    /// The wanted number where the goal is of all pods together, which those do that are `ready`; without any pods it is as if one were.
    pub(super) fn by_ready(
        self,
        current: i32,
        tolerates: impl Fn(f64) -> bool,
        ready: impl FnOnce() -> Result<i64, String>,
    ) -> Result<i32, String> {
        let ratio = self.value as f64 / self.goal.max(1) as f64;
        match current {
            0 => Ok(pods(ratio)),
            _ if tolerates(ratio) => Ok(current),
            _ => Ok(pods(ratio * ready()? as f64)),
        }
    }

    /// The wanted number where the goal is of each pod, and the part that each of those `present` has.
    pub(super) fn by_part(self, present: i32, tolerates: impl Fn(f64) -> bool) -> (i32, i64) {
        let (value, goal, number) = (self.value as f64, self.goal.max(1) as f64, f64::from(present));
        let wanted = if tolerates(value / (goal * number)) { present } else { pods(value / goal) };
        (wanted, (value / number).ceil() as i64)
    }
}

/// That many pods, rounded up.
fn pods(number: f64) -> i32 {
    number.ceil() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(pods: i64, used: i64, requested: i64) -> Group {
        Group { pods, used, requested }
    }

    #[test]
    fn replicas_follow_the_ratio_but_not_missing_data() {
        let near = |ratio: f64| (0.9..=1.1).contains(&ratio);
        let of = |goal, current, reporting, silent, unready| {
            by_metric(current, &Measured { goal, reporting, silent, unready, strangers: Group::default() }, near)
        };
        let none = Group::default();
        let half = |current, reporting, silent, unready| of(Goal::Utilization(50), current, reporting, silent, unready);
        assert_eq!(half(3, group(3, 300, 300), none, none), 6);
        assert_eq!(half(3, group(3, 165, 300), none, none), 3, "near enough");
        assert_eq!(half(4, group(4, 100, 400), none, none), 2);
        assert_eq!(half(2, group(1, 75, 100), group(1, 0, 100), none), 2, "who is silent is idle where it would grow");
        assert_eq!(half(4, group(2, 20, 200), group(2, 0, 200), none), 4, "and busy where it would shrink");
        assert_eq!(half(2, group(1, 90, 100), none, group(1, 0, 100)), 2, "who is not ready will take its part");
        assert_eq!(half(4, group(4, 40, 400), none, group(1, 0, 100)), 1, "but keeps nobody from shrinking");
        let each = |current, reporting, silent, unready| of(Goal::Average(1000), current, reporting, silent, unready);
        assert_eq!(each(3, group(3, 6000, 0), none, none), 6);
        assert_eq!(each(4, group(2, 1000, 0), group(2, 0, 0), none), 3);
        assert_eq!(each(4, group(3, 6000, 0), group(3, 0, 0), none), 4, "near enough with the silent ones");
        assert_eq!(each(12, group(3, 9000, 0), none, group(1, 0, 0)), 12, "growing does not end in fewer");
    }

    #[test]
    fn metrics_of_strangers_are_in_the_average_and_not_in_the_number() {
        let near = |ratio: f64| (0.9..=1.1).contains(&ratio);
        let (none, strangers) = (Group::default(), group(2, 8000, 0));
        let of = |goal, reporting, silent| Measured { goal, reporting, silent, unready: none, strangers };
        let each = of(Goal::Average(1000), group(2, 4000, 0), none);
        assert_eq!((each.counted().average(), by_metric(2, &each, near)), (3000, 6));
        let each = of(Goal::Average(1000), group(2, 4000, 0), group(1, 0, 0));
        assert_eq!(by_metric(3, &each, near), 12, "where somebody is silent they are in both");
        let half = of(Goal::Utilization(50), group(2, 200, 200), none);
        assert_eq!((half.counted().utilization(), by_metric(2, &half, near)), (100, 4));
        let half = of(Goal::Utilization(50), group(2, 200, 200), group(1, 0, 100));
        assert_eq!(by_metric(3, &half, near), 7, "66 % of three, and of two that request nothing");
    }

    #[test]
    fn one_number_of_all_is_shared_by_those_who_are_ready_or_by_each() {
        let near = |ratio: f64| (0.9..=1.1).contains(&ratio);
        let ready = |value, current, ready: Result<i64, &str>| {
            let ready = ready.map_err(str::to_owned);
            Whole { value, goal: 1000 }.by_ready(current, near, || ready)
        };
        for (value, current, pods, expected) in [
            (2000, 3, Ok(3), Ok(6)),
            (2000, 3, Ok(2), Ok(4)),
            (1100, 3, Ok(1), Ok(3)),
            (400, 5, Ok(5), Ok(2)),
            (2500, 0, Err("nobody"), Ok(3)),
            (0, 0, Err("nobody"), Ok(0)),
            (1000, 3, Err("nobody"), Ok(3)),
            (2000, 3, Err("nobody"), Err("nobody".to_owned())),
            (i64::MAX, 3, Ok(3), Ok(i32::MAX)),
        ] {
            assert_eq!(ready(value, current, pods), expected, "{value} {current} {pods:?}");
        }
        for (value, present, expected) in [
            (8000, 4, (8, 2000)),
            (4100, 4, (4, 1025)),
            (4001, 3, (5, 1334)),
            (100, 4, (1, 25)),
            (0, 4, (0, 0)),
            (0, 0, (0, 0)),
            (2500, 0, (3, i64::MAX)),
        ] {
            assert_eq!(Whole { value, goal: 1000 }.by_part(present, near), expected, "{value} {present}");
        }
    }
}
