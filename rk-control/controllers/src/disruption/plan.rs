//! How many pods of a budget may go.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Numbers of one PodDisruptionBudget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Numbers {
    pub(super) expected: i32,
    pub(super) desired: i32,
    pub(super) healthy: i32,
    pub(super) allowed: i32,
}

/// How the expected number of pods is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Sum of what the pods' controllers want.
    Scale(i32),
    /// Pods that are there.
    Pods(i32),
}

/// Whether a budget needs to know the controllers' sizes: only a plain minimum does not.
pub(super) fn needs_scale(min: Option<&IntOrString>, max: Option<&IntOrString>) -> bool {
    max.is_some() || matches!(min, Some(IntOrString::String(_)))
}

pub(super) fn numbers(
    expected: Expected,
    healthy: i32,
    min: Option<&IntOrString>,
    max: Option<&IntOrString>,
) -> Numbers {
    let (Expected::Scale(expected) | Expected::Pods(expected)) = expected;
    let desired = match (max, min) {
        (Some(max), _) => (expected - crate::deployment::scaled(max, expected, true)).max(0),
        (None, Some(min)) => crate::deployment::scaled(min, expected, true),
        (None, None) => 0,
    };
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    Numbers { expected, desired, healthy, allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_round_towards_more_pods() {
        let percent = |p: &str| IntOrString::String(p.to_owned());
        let cases = [
            (Some(IntOrString::Int(2)), None, 3, 3, (2, 1)),
            (Some(IntOrString::Int(2)), None, 3, 1, (2, 0)),
            (Some(percent("50%")), None, 3, 3, (2, 1)),
            (None, Some(IntOrString::Int(1)), 3, 3, (2, 1)),
            (None, Some(percent("30%")), 10, 10, (7, 3)),
            (None, Some(percent("100%")), 3, 0, (0, 0)),
            (Some(IntOrString::Int(0)), None, 0, 0, (0, 0)),
        ];
        for (min, max, expected, healthy, (desired, allowed)) in cases {
            let numbers = numbers(Expected::Scale(expected), healthy, min.as_ref(), max.as_ref());
            assert_eq!((numbers.desired, numbers.allowed), (desired, allowed), "{min:?} {max:?}");
        }
    }
}
