//! The arithmetic of rolling updates, on numbers alone.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// One ReplicaSet, in numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct SetSize {
    pub(super) is_new: bool,
    pub(super) replicas: i32,
    pub(super) available: i32,
    /// `desired-replicas` annotation: the Deployment's size when the set was last scaled.
    pub(super) desired_before: Option<i32>,
    /// `max-replicas` annotation: that size plus the surge.
    pub(super) max_before: Option<i32>,
}

/// How far a rollout may go above and below the wanted number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fences {
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

impl Fences {
    /// Percentages of the wanted number: surge rounds up, unavailable rounds down; both zero would never move.
    pub(super) fn resolve(
        rolling: bool,
        wanted: i32,
        surge: Option<&IntOrString>,
        unavailable: Option<&IntOrString>,
    ) -> Self {
        if !rolling {
            return Self { surge: 0, unavailable: 0 };
        }
        let quarter = IntOrString::String("25%".to_owned());
        let surge = scaled(surge.unwrap_or(&quarter), wanted, true);
        let mut unavailable = scaled(unavailable.unwrap_or(&quarter), wanted, false);
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self { surge, unavailable: unavailable.min(wanted) }
    }
}

/// A number, or a percentage of `of`.
pub(crate) fn scaled(value: &IntOrString, of: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(n) => *n,
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|p| p.parse().ok()).unwrap_or(0);
            let product = percent * i64::from(of);
            (if up { (product + 99) / 100 } else { product / 100 }) as i32
        }
    }
}

fn total(sets: &[SetSize]) -> i32 {
    sets.iter().map(|s| s.replicas).sum()
}

/// The size that the new set may have now.
pub(super) fn new_set_size(sets: &[SetSize], wanted: i32, rolling: bool, fences: Fences) -> i32 {
    let now = sets.iter().find(|s| s.is_new).map_or(0, |s| s.replicas);
    if !rolling || now >= wanted {
        return wanted;
    }
    let room = wanted.saturating_add(fences.surge) - total(sets);
    if room <= 0 { now } else { now + room.min(wanted - now) }
}

/// New sizes of old sets, as (position, size): first pods that do not serve anyway, then as many as availability allows.
pub(super) fn shrink_old(sets: &[SetSize], wanted: i32, fences: Fences) -> Vec<(usize, i32)> {
    let min_available = wanted - fences.unavailable;
    let new_unavailable = sets.iter().find(|s| s.is_new).map_or(0, |s| s.replicas - s.available);
    let mut removable = total(sets) - min_available - new_unavailable;
    if removable <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = sets.iter().map(|s| s.replicas).collect();
    for (set, size) in sets.iter().zip(&mut sizes).filter(|(set, _)| !set.is_new) {
        let unhealthy = (*size - set.available).clamp(0, removable.max(0));
        *size -= unhealthy;
        removable -= unhealthy;
    }
    let mut surplus = sets.iter().map(|s| s.available).sum::<i32>() - min_available;
    for (_, size) in sets.iter().zip(&mut sizes).filter(|(set, _)| !set.is_new) {
        let step = (*size).min(surplus.max(0));
        *size -= step;
        surplus -= step;
    }
    sets.iter()
        .zip(sizes)
        .enumerate()
        .filter(|(_, (set, size))| set.replicas != *size)
        .map(|(at, (_, size))| (at, size))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(is_new: bool, replicas: i32, available: i32) -> SetSize {
        SetSize { is_new, replicas, available, ..SetSize::default() }
    }

    #[test]
    fn fences_round_in_favour_of_progress_and_availability() {
        let percent = |p: &str| IntOrString::String(p.to_owned());
        let cases = [
            (10, percent("25%"), percent("25%"), (3, 2)),
            (1, percent("25%"), percent("25%"), (1, 0)),
            (3, IntOrString::Int(0), percent("10%"), (0, 1)),
            (2, IntOrString::Int(1), IntOrString::Int(5), (1, 2)),
        ];
        for (wanted, surge, unavailable, expected) in cases {
            let fences = Fences::resolve(true, wanted, Some(&surge), Some(&unavailable));
            assert_eq!((fences.surge, fences.unavailable), expected, "{wanted} {surge:?} {unavailable:?}");
        }
    }

    #[test]
    fn the_new_set_grows_within_the_surge() {
        let fences = Fences { surge: 2, unavailable: 2 };
        assert_eq!(new_set_size(&[set(false, 10, 10), set(true, 0, 0)], 10, true, fences), 2);
        assert_eq!(new_set_size(&[set(false, 8, 8), set(true, 2, 2)], 10, true, fences), 4);
        assert_eq!(new_set_size(&[set(false, 12, 8), set(true, 0, 0)], 10, true, fences), 0);
        assert_eq!(new_set_size(&[set(true, 12, 8)], 10, true, fences), 10);
        assert_eq!(new_set_size(&[set(false, 10, 8), set(true, 0, 0)], 10, false, fences), 10);
    }

    #[test]
    fn old_sets_shrink_without_breaking_availability() {
        let fences = Fences { surge: 2, unavailable: 2 };
        assert_eq!(shrink_old(&[set(false, 10, 10), set(true, 2, 0)], 10, fences), [(0, 8)]);
        assert_eq!(shrink_old(&[set(false, 8, 8), set(true, 4, 0)], 10, fences), []);
        assert_eq!(shrink_old(&[set(false, 8, 8), set(true, 4, 4)], 10, fences), [(0, 4)]);
        assert_eq!(
            shrink_old(&[set(false, 10, 0), set(true, 2, 0)], 10, fences),
            [(0, 8)],
            "unhealthy ones may go, within the fence"
        );
        assert_eq!(
            shrink_old(&[set(false, 3, 3), set(false, 5, 5), set(true, 4, 4)], 10, fences),
            [(0, 0), (1, 4)],
            "oldest first"
        );
    }
}
