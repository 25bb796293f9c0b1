//! Rolling updates: which old daemon pods go, and where new ones come beside them.

use super::plan::{Plan, Seat, Terms, name};
use crate::pods;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many nodes may be without a daemon, or have two, during an update.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fences {
    pub(super) surge: usize,
    pub(super) unavailable: usize,
}

/// Replaces old pods as far as the fences allow.
pub(super) fn roll(seats: &BTreeMap<String, Seat>, terms: Terms<'_>, fences: Fences) -> Plan {
    if fences.surge > 0 { surge(seats, terms, fences.surge) } else { replace(seats, terms, fences.unavailable) }
}

/// The old and the new pod of a node.
type Pair<'a> = (Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>);

/// The pods of a node that are to stay there; `None` if there are several old or several new ones.
fn pair<'a>(seat: &'a Seat, terms: Terms<'_>) -> Option<Pair<'a>> {
    let (new, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) =
        seat.pods.iter().filter(|p| pods::is_active(p)).partition(|p| terms.is_current(p));
    (new.len() <= 1 && old.len() <= 1).then(|| (old.first().copied(), new.first().copied()))
}

/// The nodes that count: those that should have a daemon, and those that have one though they should not, or had until now.
fn counted(seats: &BTreeMap<String, Seat>) -> impl Iterator<Item = (&String, &Seat)> {
    let is_gone = |pod: &Pod| pods::is_terminating(pod) && pods::is_finished(pod);
    seats.iter().filter(move |(_, seat)| seat.should_run || !seat.pods.iter().all(|pod| is_gone(pod)))
}

/// Deletes old pods; what is missing then is made where nodes are without a pod.
fn replace(seats: &BTreeMap<String, Seat>, terms: Terms<'_>, most: usize) -> Plan {
    let (mut unavailable, mut broken, mut working) = (0, Vec::new(), Vec::new());
    for (_, seat) in counted(seats) {
        match pair(seat, terms) {
            Some((None, Some(new))) => unavailable += usize::from(!terms.is_available(new)),
            Some((Some(old), None)) if terms.is_available(old) => working.push(name(old)),
            Some((Some(old), None)) => {
                // An old pod that does not work costs nothing to replace.
                broken.push(name(old));
                unavailable += 1;
            }
            _ => unavailable += 1,
        }
    }
    let mut plan = Plan { delete: broken, ..Plan::default() };
    plan.delete.extend(working.into_iter().take(most.saturating_sub(unavailable)));
    plan
}

/// Makes new pods beside old ones, which go once their successors are available, or once they do not serve themselves.
fn surge(seats: &BTreeMap<String, Seat>, terms: Terms<'_>, most: usize) -> Plan {
    let (mut plan, mut surging, mut available) = (Plan::default(), 0, 0);
    let (mut working, mut unwanted) = (Vec::new(), Vec::new());
    for (node, seat) in counted(seats) {
        let Some((old, new)) = pair(seat, terms) else {
            surging += 1;
            continue;
        };
        available += usize::from(old.or(new).is_some_and(|pod| terms.is_available(pod)));
        match (old, new) {
            (None, _) => {}
            (Some(old), Some(new)) if terms.is_available(new) => plan.delete.push(name(old)),
            (Some(_), Some(_)) => surging += 1,
            (Some(old), None) => match (terms.is_available(old), seat.should_run) {
                (true, true) => working.push(node.clone()),
                // The new pod comes first, though the old one does not serve: it is deleted only once there is another.
                (false, true) => plan.create.push(node.clone()),
                (true, false) => unwanted.push(name(old)),
                (false, false) => plan.delete.push(name(old)),
            },
        }
    }
    // Who surges wants all to serve: a pod where none should be stays until enough serve elsewhere.
    let wanted = seats.values().filter(|seat| seat.should_run).count();
    plan.delete.extend(unwanted.into_iter().take(available.saturating_sub(wanted)));
    plan.create.extend(working.into_iter().take(most.saturating_sub(surging)));
    plan
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{leaving, pod, seats, terms};
    use super::*;

    fn rolled(seats: &BTreeMap<String, Seat>, min_ready: i32, surge: usize, unavailable: usize) -> Plan {
        roll(seats, terms("2", min_ready), Fences { surge, unavailable })
    }

    #[test]
    fn an_update_stays_within_its_fences() {
        let seats = seats(vec![
            ("n1", true, vec![pod("a", "1", "Running", true)]),
            ("n2", true, vec![pod("b", "1", "Running", true)]),
            ("n3", true, vec![pod("c", "1", "Running", false)]),
            ("n4", true, vec![pod("d", "2", "Running", true)]),
        ]);
        assert_eq!(rolled(&seats, 0, 0, 1).delete, ["c"], "the broken one uses up the fence");
        assert_eq!(rolled(&seats, 0, 0, 2).delete, ["c", "a"]);
        let surge = rolled(&seats, 0, 1, 0);
        assert_eq!((surge.create, surge.delete), (vec!["n3".to_owned(), "n1".to_owned()], vec![]));
    }

    #[test]
    fn an_old_pod_goes_once_its_successor_serves() {
        let both = |new| seats(vec![("n", true, vec![pod("old", "1", "Running", true), new])]);
        assert_eq!(rolled(&both(pod("new", "2", "Running", true)), 0, 1, 0).delete, ["old"]);
        assert_eq!(rolled(&both(pod("new", "2", "Running", true)), 60, 1, 0), Plan::default(), "not long enough");
        assert_eq!(rolled(&both(pod("new", "2", "Pending", false)), 0, 1, 0), Plan::default());
    }

    #[test]
    fn no_more_than_the_surge_come_beside_old_pods_that_serve() {
        let old = |name: &str| pod(name, "1", "Running", true);
        let seats = seats(vec![
            ("n1", true, vec![old("a"), pod("new", "2", "Pending", false)]),
            ("n2", true, vec![old("b"), old("c")]),
            ("n3", true, vec![old("d")]),
            ("n4", true, vec![old("e")]),
            ("n5", true, vec![leaving(&old("f"))]),
        ]);
        assert_eq!(rolled(&seats, 0, 2, 0).create, Vec::<String>::new(), "two nodes surge");
        assert_eq!(rolled(&seats, 0, 3, 0).create, ["n3"]);
    }

    #[test]
    fn a_pod_where_none_should_be_goes_when_enough_serve_elsewhere() {
        let old = |name: &str, ready| pod(name, "1", "Running", ready);
        let tainted = |ready, elsewhere| {
            let mut seats = seats(vec![
                ("left", false, vec![old("a", ready)]),
                ("new", true, vec![pod("b", "2", "Running", elsewhere)]),
            ]);
            seats.values_mut().for_each(|seat| seat.may_stay = true);
            rolled(&seats, 0, 1, 0)
        };
        assert_eq!(tainted(true, true).delete, ["a"]);
        assert_eq!(tainted(true, false), Plan::default());
        assert_eq!(tainted(false, false).delete, ["a"], "it does not serve");
    }

    #[test]
    fn pods_on_their_way_out_use_up_the_fence() {
        let seats = seats(vec![
            ("n1", true, vec![leaving(&pod("a", "1", "Running", true))]),
            ("n2", true, vec![pod("b", "1", "Running", true)]),
        ]);
        assert_eq!(rolled(&seats, 0, 0, 1), Plan::default());
        assert_eq!(rolled(&seats, 0, 0, 2).delete, ["b"]);
    }
}
