//! How many pods of a budget may go.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rk_client::controller_of;
use std::collections::HashMap;
use std::sync::Arc;

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

/// What the controllers of a budget's pods want together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Scale {
    pub(super) wanted: i32,
    /// Some pods have no controller; they count for nothing.
    pub(super) unmanaged: bool,
}

/// Adds up the sizes of the pods' controllers, each counted once. `size_of` answers with a controller's uid and how many pods it wants.
///
/// # Errors
/// A pod whose controller nobody knows, in the words of the budget's condition.
pub(super) fn scale(covered: &[Arc<Pod>], size_of: impl Fn(&Pod) -> Option<(String, i32)>) -> Result<Scale, String> {
    let mut sizes: HashMap<String, i32> = HashMap::new();
    let mut unmanaged = false;
    for pod in covered {
        if controller_of(&pod.metadata).is_none() {
            unmanaged = true;
            continue;
        }
        let unknown = || format!("found no controllers for pod {:?}", pod.metadata.name.as_deref().unwrap_or_default());
        sizes.extend([size_of(pod).ok_or_else(unknown)?]);
    }
    Ok(Scale { wanted: sizes.values().sum(), unmanaged })
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
    use serde_json::json;

    #[test]
    fn controllers_are_counted_once_and_pods_without_one_not_at_all() {
        let pod = |name: &str, owner: Option<&str>| -> Arc<Pod> {
            let owner = owner.map(|uid| {
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid, "uid": uid, "controller": true}])
            });
            let pod = json!({"metadata": {"name": name, "ownerReferences": owner}});
            Arc::new(serde_json::from_value(pod).expect("valid"))
        };
        let size_of = |pod: &Pod| {
            let owner = controller_of(&pod.metadata)?;
            (owner.uid != "gone").then(|| (owner.uid.clone(), 3))
        };
        let of = |wanted, unmanaged| Ok(Scale { wanted, unmanaged });
        let (a, b, lost) = (pod("a", Some("set")), pod("b", Some("set")), pod("lost", Some("gone")));
        let (other, alone) = (pod("other", Some("more")), pod("alone", None));
        assert_eq!(scale(&[], size_of), of(0, false));
        assert_eq!(scale(&[Arc::clone(&a), b], size_of), of(3, false));
        assert_eq!(scale(&[a, Arc::clone(&alone), other], size_of), of(6, true));
        assert_eq!(scale(&[Arc::clone(&alone)], size_of), of(0, true));
        let none = numbers(Expected::Scale(0), 1, None, Some(&IntOrString::Int(0)));
        assert_eq!((none.desired, none.allowed), (0, 0), "who is nobody's keeps no other from staying");
        assert_eq!(scale(&[alone, lost], size_of), Err("found no controllers for pod \"lost\"".to_owned()));
    }

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
