//! Spreading a change of size over the sets of an unfinished rollout, in proportion to their sizes.

use super::rolling::{Fences, SetSize};

/// New sizes as (position, size) of every active set, oldest set first in `sets`. The annotations of all of them must
/// be written even where the size stays.
pub(super) fn sizes(
    sets: &[SetSize],
    wanted: i32,
    rolling: bool,
    fences: Fences,
    status_replicas: i32,
) -> Vec<(usize, i32)> {
    let active: Vec<usize> = (0..sets.len()).filter(|at| sets.get(*at).is_some_and(|s| s.replicas > 0)).collect();
    let new = sets.iter().position(|s| s.is_new);
    // At most one set has pods: it simply takes the whole size.
    if active.len() <= 1 {
        let only = active.first().copied().or(new).or(sets.len().checked_sub(1));
        return only.map(|at| (at, wanted)).into_iter().collect();
    }
    let saturated = new
        .and_then(|at| sets.get(at))
        .is_some_and(|s| s.replicas == wanted && s.available == wanted && s.desired_before == Some(wanted));
    if saturated {
        return active.into_iter().filter(|at| Some(*at) != new).map(|at| (at, 0)).collect();
    }
    if !rolling {
        return Vec::new();
    }
    spread(sets, active, wanted, fences, status_replicas)
}

fn spread(
    sets: &[SetSize],
    mut active: Vec<usize>,
    wanted: i32,
    fences: Fences,
    status_replicas: i32,
) -> Vec<(usize, i32)> {
    let size_of = |at: usize| sets.get(at).map_or(0, |s| s.replicas);
    let allowed = if wanted > 0 { wanted.saturating_add(fences.surge) } else { 0 };
    let change = allowed - active.iter().map(|at| size_of(*at)).sum::<i32>();
    // Growth goes to newer sets first when sizes are equal, shrinking hits older ones first.
    active.sort_by(|a, b| size_of(*b).cmp(&size_of(*a)).then(if change > 0 { b.cmp(a) } else { a.cmp(b) }));
    let mut done = 0;
    let mut sizes: Vec<(usize, i32)> = Vec::with_capacity(active.len());
    for at in active {
        let Some(set) = sets.get(at) else { continue };
        let left = change - done;
        let share = if left == 0 { 0 } else { fraction(set, wanted, fences.surge, status_replicas) };
        let share = if change > 0 { share.min(left) } else { share.max(left) };
        done += share;
        sizes.push((at, set.replicas + share));
    }
    if let Some((_, largest)) = sizes.first_mut() {
        *largest = (*largest + change - done).max(0);
    }
    sizes
}

/// By how much one set would change if all kept their proportions.
fn fraction(set: &SetSize, wanted: i32, surge: i32, status_replicas: i32) -> i32 {
    if wanted == 0 {
        return -set.replicas;
    }
    let before = set.max_before.filter(|n| *n > 0).unwrap_or(status_replicas).max(1);
    let scaled = f64::from(set.replicas) * f64::from(wanted.saturating_add(surge)) / f64::from(before);
    scaled.round() as i32 - set.replicas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(is_new: bool, replicas: i32, max_before: i32) -> SetSize {
        SetSize { is_new, replicas, available: 0, desired_before: Some(max_before), max_before: Some(max_before) }
    }

    #[test]
    fn a_single_active_set_takes_the_whole_size() {
        let fences = Fences { surge: 0, unavailable: 0 };
        assert_eq!(sizes(&[set(true, 5, 5)], 8, true, fences, 5), [(0, 8)]);
        assert_eq!(sizes(&[set(false, 0, 5), set(true, 0, 5)], 3, true, fences, 0), [(1, 3)]);
    }

    #[test]
    fn growth_and_shrinking_keep_proportions_and_the_largest_takes_the_rest() {
        let none = Fences { surge: 0, unavailable: 0 };
        // 5 of 10 old, 5 new: to 12 keeps halves, newer first.
        assert_eq!(sizes(&[set(false, 5, 10), set(true, 5, 10)], 12, true, none, 10), [(1, 6), (0, 6)]);
        assert_eq!(sizes(&[set(false, 8, 10), set(true, 2, 10)], 5, true, none, 10), [(0, 4), (1, 1)]);
        assert_eq!(sizes(&[set(false, 8, 10), set(true, 2, 10)], 0, true, none, 10), [(0, 0), (1, 0)]);
        let surge = Fences { surge: 3, unavailable: 2 };
        // The example of the documentation: 8 + 5 of 13, scaled from 10 to 15 with a surge of 3.
        assert_eq!(sizes(&[set(false, 8, 13), set(true, 5, 13)], 15, true, surge, 13), [(0, 11), (1, 7)]);
    }

    #[test]
    fn a_finished_new_set_lets_the_old_ones_go() {
        let mut new = set(true, 3, 3);
        new.available = 3;
        assert_eq!(sizes(&[set(false, 2, 3), new], 3, true, Fences { surge: 1, unavailable: 0 }, 5), [(0, 0)]);
    }
}
