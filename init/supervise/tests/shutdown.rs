//! The way down, with everyone obeying and with nobody obeying.

use rk_supervise::{Deadlines, Observed, Shutdown, Step};

const DEADLINES: Deadlines = Deadlines { node: 40_000, containers: 10_000, services: 10_000, sweep: 500 };
const ALL: Observed = Observed { node: true, containers: true, services: true };
const NONE: Observed = Observed { node: false, containers: false, services: false };

#[test]
fn pods_get_their_grace_before_anything_else_stops() {
    let mut s = Shutdown::new(DEADLINES);
    assert_eq!(s.advance(0, ALL), [Step::StopNode]);
    assert_eq!(s.advance(39_999, ALL), []);
    // rk-node ended all pods and left.
    let left = Observed { node: false, containers: false, services: true };
    assert_eq!(s.advance(39_999, left), [Step::StopServices]);
    assert_eq!(s.advance(40_100, NONE), [Step::TerminateAll]);
    assert_eq!(s.advance(40_600, NONE), [Step::KillAll, Step::Finish]);
    assert_eq!(s.advance(99_999, NONE), []);
}

#[test]
fn containers_that_outlive_rk_node_are_asked_and_then_killed() {
    let mut s = Shutdown::new(DEADLINES);
    let stubborn = Observed { node: false, containers: true, services: true };
    assert_eq!(s.advance(0, stubborn), [Step::StopNode, Step::TerminateContainers]);
    assert_eq!(s.advance(9_999, stubborn), []);
    assert_eq!(s.advance(10_000, stubborn), [Step::KillContainers]);
    assert_eq!(s.advance(10_050, Observed { containers: false, ..stubborn }), [Step::StopServices]);
}

#[test]
fn a_machine_where_nobody_obeys_still_goes_down() {
    let mut s = Shutdown::new(DEADLINES);
    let mut steps = s.advance(0, ALL);
    while let Some(deadline) = s.next_deadline() {
        assert_eq!(s.advance(deadline - 1, ALL), []);
        steps.extend(s.advance(deadline, ALL));
    }
    let wanted = [
        Step::StopNode,
        Step::TerminateContainers,
        Step::KillContainers,
        Step::StopServices,
        Step::TerminateAll,
        Step::KillAll,
        Step::Finish,
    ];
    assert_eq!(steps, wanted);
}

#[test]
fn an_idle_machine_goes_down_at_once() {
    let mut s = Shutdown::new(DEADLINES);
    assert_eq!(s.advance(5, NONE), [Step::StopNode, Step::StopServices, Step::TerminateAll]);
    assert_eq!(s.advance(505, NONE), [Step::KillAll, Step::Finish]);
}
