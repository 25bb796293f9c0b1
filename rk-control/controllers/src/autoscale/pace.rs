//! How far and how fast a target may grow and shrink.

use super::memory::{Noted, Past};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior};
use rk_api::meta::Quantity;

/// A ratio this close to 1 is no reason to scale, unless the autoscaler says otherwise.
const TOLERANCE: f64 = 0.1;
/// Shrinking waits until every recommendation of this window agrees, in seconds.
const SHRINK_WINDOW: i32 = 300;
/// Period of the policies of who names none, in seconds.
const PERIOD: i32 = 15;

/// Reason and message of a condition.
pub(super) type Why = (&'static str, &'static str);

const READY: Why = ("ReadyForNewScale", "recommended size matches current size");
const UP_STABILIZED: Why = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: Why = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_LIMIT: Why = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Why =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_MANY: Why = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: Why = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const WITHIN: Why = ("DesiredWithinRange", "the desired count is within the acceptable range");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Select {
    /// The policy that lets the most change happen.
    Max,
    /// The one that lets the least.
    Min,
    /// No change at all.
    Disabled,
}

/// The rules of one direction.
#[derive(Debug, Clone)]
struct Rules {
    window: SignedDuration,
    select: Select,
    policies: Vec<HPAScalingPolicy>,
    tolerance: f64,
}

impl Rules {
    fn of(told: Option<&HPAScalingRules>, window: i32, policies: &[(&str, i32)]) -> Self {
        let policy = |(type_, value): &(&str, i32)| HPAScalingPolicy {
            type_: (*type_).to_owned(),
            value: *value,
            period_seconds: PERIOD,
        };
        let window = told.and_then(|rules| rules.stabilization_window_seconds).unwrap_or(window);
        let tolerance = told.and_then(|rules| rules.tolerance.as_ref()?.0.parse::<Quantity>().ok());
        Self {
            window: SignedDuration::from_secs(window.into()),
            select: match told.and_then(|rules| rules.select_policy.as_deref()) {
                Some("Disabled") => Select::Disabled,
                Some("Min") => Select::Min,
                _ => Select::Max,
            },
            policies: told
                .and_then(|rules| rules.policies.clone())
                .unwrap_or_else(|| policies.iter().map(policy).collect()),
            tolerance: tolerance.map_or(TOLERANCE, |own| own.as_f64()),
        }
    }

    /// The size that the policies allow to grow or to shrink to; it may lie on the other side of the current one, when others scaled, too.
    fn limit(&self, grows: bool, current: i32, past: &Past, now: Timestamp) -> i32 {
        if self.select == Select::Disabled {
            return current;
        }
        let sizes = self.policies.iter().map(|policy| allowed(policy, grows, current, past, now));
        let size = if (self.select == Select::Max) == grows { sizes.max() } else { sizes.min() };
        size.unwrap_or(current)
    }
}

/// The size that one policy allows, from that at the begin of its period.
fn allowed(policy: &HPAScalingPolicy, grows: bool, current: i32, past: &Past, now: Timestamp) -> i32 {
    let period = SignedDuration::from_secs(policy.period_seconds.into());
    let recent = |list: &[Noted]| -> i64 {
        list.iter().filter(|(at, _)| now.duration_since(*at) < period).map(|(_, pods)| i64::from(*pods)).sum()
    };
    let begin = i64::from(current) - recent(&past.grown) + recent(&past.shrunk);
    let value = i64::from(policy.value);
    let size = match (policy.type_.as_str(), grows) {
        // Rounded up, lest a small target never grows.
        ("Percent", true) => (begin as f64 * (1.0 + value as f64 / 100.0)).ceil() as i64,
        ("Percent", false) => (begin as f64 * (1.0 - value as f64 / 100.0)) as i64,
        (_, true) => begin + value,
        (_, false) => begin - value,
    };
    size.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// What metrics ask of a target, and what it may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) current: i32,
    pub(super) wanted: i32,
    pub(super) min: i32,
    pub(super) max: i32,
}

/// What a target gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) size: i32,
    /// Of the condition `AbleToScale`, which is true.
    pub(super) able: Why,
    /// Of the condition `ScalingLimited`, which is true where it is limited.
    pub(super) bounds: Why,
    pub(super) is_limited: bool,
}

/// The pace of an autoscaler.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    up: Rules,
    down: Rules,
    /// Whether the autoscaler says so itself: without that its target grows to at most twice its size, or 4, at a turn.
    is_told: bool,
}

impl Pace {
    /// Of an autoscaler's `spec.behavior`, with upstream's defaults for what that leaves open.
    pub(super) fn of(behavior: Option<&HorizontalPodAutoscalerBehavior>) -> Self {
        let up = behavior.and_then(|own| own.scale_up.as_ref());
        let down = behavior.and_then(|own| own.scale_down.as_ref());
        Self {
            up: Rules::of(up, 0, &[("Pods", 4), ("Percent", 100)]),
            down: Rules::of(down, SHRINK_WINDOW, &[("Percent", 100)]),
            is_told: behavior.is_some(),
        }
    }

    /// Whether the use of a metric, as a part of what it should be, is near enough.
    pub(super) fn tolerates(&self, ratio: f64) -> bool {
        (1.0 - self.down.tolerance..=1.0 + self.up.tolerance).contains(&ratio)
    }

    /// How long recommendations matter.
    pub(super) fn window(&self) -> SignedDuration {
        self.up.window.max(self.down.window)
    }

    /// How long changes of the size matter; without rules of its own an autoscaler has none that count them.
    pub(super) fn period(&self) -> SignedDuration {
        let policies = self.up.policies.iter().chain(&self.down.policies);
        SignedDuration::from_secs(policies.map(|policy| policy.period_seconds).max().unwrap_or(0).into())
    }

    /// The size that a target gets of what was asked.
    pub(super) fn decide(&self, ask: &Ask, past: &Past, now: Timestamp) -> Decision {
        let stable = self.stabilized(ask, past, now);
        let able = match stable == ask.wanted {
            true => READY,
            false if self.is_told && ask.wanted >= ask.current => UP_STABILIZED,
            false => DOWN_STABILIZED,
        };
        let (size, bounds) = if self.is_told { self.paced(stable, ask, past, now) } else { bounded(stable, ask) };
        Decision { size, able, bounds, is_limited: size != stable }
    }

    /// As near to the current size as recent recommendations, and this one, let it be.
    fn stabilized(&self, ask: &Ask, past: &Past, now: Timestamp) -> i32 {
        let within = |window: SignedDuration| {
            let recent = past.recommended.iter().filter(move |(at, _)| now.duration_since(*at) < window);
            recent.map(|(_, size)| *size)
        };
        let highest = within(self.down.window).fold(ask.wanted, i32::max);
        if !self.is_told {
            return highest;
        }
        let lowest = within(self.up.window).fold(ask.wanted, i32::min);
        ask.current.max(lowest).min(highest)
    }

    fn paced(&self, stable: i32, ask: &Ask, past: &Past, now: Timestamp) -> (i32, Why) {
        let current = ask.current;
        if stable > current {
            let limit = self.up.limit(true, current, past, now).max(current);
            let (most, why) = if ask.max > limit { (limit, UP_LIMIT) } else { (ask.max, TOO_MANY) };
            return if stable > most { (most, why) } else { (stable, WITHIN) };
        }
        if stable < current {
            let limit = self.down.limit(false, current, past, now).min(current);
            let (least, why) = if ask.min < limit { (limit, DOWN_LIMIT) } else { (ask.min, TOO_FEW) };
            return if stable < least { (least, why) } else { (stable, WITHIN) };
        }
        (stable, WITHIN)
    }
}

fn bounded(stable: i32, ask: &Ask) -> (i32, Why) {
    if stable < ask.min {
        return (ask.min, TOO_FEW);
    }
    let fastest = ask.current.saturating_mul(2).max(4);
    let (most, why) = if ask.max > fastest { (fastest, UP_LIMIT) } else { (ask.max, TOO_MANY) };
    if stable > most { (most, why) } else { (stable, WITHIN) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pace(behavior: Value) -> Pace {
        let behavior: Option<HorizontalPodAutoscalerBehavior> = serde_json::from_value(behavior).expect("valid");
        Pace::of(behavior.as_ref())
    }

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().expect("a time")
    }

    /// Numbers with how many seconds ago they were noted.
    fn ago(list: &[(i64, i32)]) -> Vec<Noted> {
        let at = |seconds| now().saturating_sub(SignedDuration::from_secs(seconds)).expect("a time");
        list.iter().map(|(seconds, number)| (at(*seconds), *number)).collect()
    }

    /// Size, and the reasons of both conditions, for an ask from 1 to 20.
    fn decided(pace: &Pace, current: i32, wanted: i32, past: &Past) -> (i32, &'static str, &'static str, bool) {
        let decision = pace.decide(&Ask { current, wanted, min: 1, max: 20 }, past, now());
        (decision.size, decision.able.0, decision.bounds.0, decision.is_limited)
    }

    const READY: &str = super::READY.0;

    #[test]
    fn without_rules_a_target_doubles_at_most_and_shrinks_late() {
        let pace = pace(Value::Null);
        let of = |current, wanted, recommended: &[(i64, i32)]| {
            decided(&pace, current, wanted, &Past { recommended: ago(recommended), ..Past::default() })
        };
        assert_eq!(of(1, 9, &[]), (4, READY, "ScaleUpLimit", true));
        assert_eq!(of(3, 9, &[]), (6, READY, "ScaleUpLimit", true));
        assert_eq!(of(12, 30, &[]), (20, READY, "TooManyReplicas", true));
        assert_eq!(of(2, 0, &[]), (1, READY, "TooFewReplicas", true));
        assert_eq!(of(5, 2, &[(299, 4)]), (4, "ScaleDownStabilized", "DesiredWithinRange", false));
        assert_eq!(of(5, 2, &[(300, 4)]), (2, READY, "DesiredWithinRange", false));
        assert_eq!(of(3, 4, &[(10, 6)]), (6, "ScaleDownStabilized", "DesiredWithinRange", false));
    }

    #[test]
    fn defaults_of_rules_are_upstream_s() {
        let pace = pace(json!({}));
        let of = |current, wanted, past: &Past| decided(&pace, current, wanted, past);
        let none = Past::default();
        assert_eq!(of(1, 9, &none), (5, READY, "ScaleUpLimit", true), "4 pods are more than 100 %");
        assert_eq!(of(6, 20, &none), (12, READY, "ScaleUpLimit", true), "100 % are more than 4 pods");
        assert_eq!(of(15, 30, &none), (20, READY, "TooManyReplicas", true));
        assert_eq!(of(15, 0, &none), (1, READY, "TooFewReplicas", true));
        let grown = |seconds| Past { grown: ago(&[(seconds, 4)]), ..Past::default() };
        assert_eq!(of(5, 9, &grown(14)), (5, READY, "ScaleUpLimit", true), "all of this period's are there");
        assert_eq!(of(5, 9, &grown(15)), (9, READY, "DesiredWithinRange", false));
        let lately = Past { recommended: ago(&[(299, 4), (300, 9)]), ..Past::default() };
        assert_eq!(of(5, 2, &lately), (4, "ScaleDownStabilized", "DesiredWithinRange", false));
        assert_eq!(of(3, 5, &lately), (5, READY, "DesiredWithinRange", false), "who grows does not wait");
    }

    #[test]
    fn policies_bound_what_a_period_may_change() {
        let rules = |select: &str, policies: Value| json!({"selectPolicy": select, "policies": policies, "stabilizationWindowSeconds": 0});
        let both = json!([{"type": "Pods", "value": 2, "periodSeconds": 60}, {"type": "Percent", "value": 50, "periodSeconds": 60}]);
        let none = Past::default();
        let grown = Past { grown: ago(&[(59, 3), (60, 9)]), ..Past::default() };
        let shrunk = Past { shrunk: ago(&[(59, 3), (60, 9)]), ..Past::default() };
        let table = [
            ("Max", 10, 20, &none, 15, "ScaleUpLimit"),
            ("Min", 10, 20, &none, 12, "ScaleUpLimit"),
            ("Max", 3, 20, &none, 5, "ScaleUpLimit"),
            ("Disabled", 10, 20, &none, 10, "ScaleUpLimit"),
            ("Max", 10, 20, &grown, 11, "ScaleUpLimit"),
            ("Min", 10, 20, &grown, 10, "ScaleUpLimit"),
            ("Max", 10, 20, &shrunk, 20, "DesiredWithinRange"),
            ("Max", 10, 1, &none, 5, "ScaleDownLimit"),
            ("Min", 10, 1, &none, 8, "ScaleDownLimit"),
            ("Disabled", 10, 1, &none, 10, "ScaleDownLimit"),
            ("Max", 10, 1, &shrunk, 6, "ScaleDownLimit"),
            ("Min", 10, 1, &shrunk, 10, "ScaleDownLimit"),
            ("Max", 2, 0, &none, 1, "TooFewReplicas"),
        ];
        for (select, current, wanted, past, size, why) in table {
            let rules = rules(select, both.clone());
            let pace = pace(json!({"scaleUp": rules, "scaleDown": rules}));
            let decision = decided(&pace, current, wanted, past);
            assert_eq!((decision.0, decision.2), (size, why), "{select} {current} {wanted} {past:?}");
        }
        let ten =
            pace(json!({"scaleDown": rules("Max", json!([{"type": "Percent", "value": 10, "periodSeconds": 90}]))}));
        assert_eq!(decided(&ten, 5, 1, &none).0, 4, "who shrinks is rounded down");
        assert_eq!(ten.period(), SignedDuration::from_secs(90));
    }

    #[test]
    fn growing_waits_for_its_window_and_tolerance_is_the_autoscaler_s_own() {
        let own = json!({"scaleUp": {"stabilizationWindowSeconds": 600, "tolerance": "0.5"}, "scaleDown": {"tolerance": "0"}});
        let own = pace(own);
        let past = Past { recommended: ago(&[(599, 4), (10, 7)]), ..Past::default() };
        assert_eq!(decided(&own, 3, 6, &past), (4, "ScaleUpStabilized", "DesiredWithinRange", false));
        assert_eq!(decided(&own, 5, 6, &past), (5, "ScaleUpStabilized", "DesiredWithinRange", false));
        assert_eq!(own.window(), SignedDuration::from_secs(600));
        assert!(own.tolerates(1.5) && !own.tolerates(1.51) && own.tolerates(1.0) && !own.tolerates(0.99));
        let usual = pace(Value::Null);
        assert!(usual.tolerates(0.9) && usual.tolerates(1.1) && !usual.tolerates(0.89) && !usual.tolerates(1.11));
    }
}
