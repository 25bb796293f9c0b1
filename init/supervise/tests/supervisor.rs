//! The life of a supervised service, event by event.

use rk_supervise::{Action, Event, Service, State, Supervisor};

const NODE: Service = Service { name: "node", stop_grace: 5_000 };

fn running(pid: i32) -> Supervisor {
    let mut s = Supervisor::default();
    assert_eq!(s.handle(0, Event::Enable(NODE)), [Action::Start("node")]);
    assert_eq!(s.handle(0, Event::Started { name: "node", pid }), []);
    s
}

#[test]
fn a_service_that_dies_is_started_again_after_growing_delays() {
    let mut s = running(10);
    let mut now = 100;
    for (pid, delay) in [(10, 250), (11, 500), (12, 1_000), (13, 2_000)] {
        assert_eq!(s.handle(now, Event::Exited { pid }), [Action::RestartIn("node", delay)]);
        assert_eq!(s.next_deadline(), Some(now + delay));
        assert_eq!(s.handle(now + delay - 1, Event::Tick), []);
        assert_eq!(s.handle(now + delay, Event::Tick), [Action::Start("node")]);
        now += delay;
        assert_eq!(s.handle(now, Event::Started { name: "node", pid: pid + 1 }), []);
    }
}

#[test]
fn delays_are_bounded_and_a_healthy_run_resets_them() {
    let mut s = running(10);
    let mut now = 0;
    for _ in 0..20 {
        s.handle(now, Event::Exited { pid: 10 });
        now = s.next_deadline().unwrap();
        assert_eq!(s.handle(now, Event::Tick), [Action::Start("node")]);
        s.handle(now, Event::Started { name: "node", pid: 10 });
    }
    assert_eq!(s.handle(now + 59_999, Event::Exited { pid: 10 }), [Action::RestartIn("node", 30_000)]);
    now = s.next_deadline().unwrap();
    s.handle(now, Event::Tick);
    s.handle(now, Event::Started { name: "node", pid: 10 });
    assert_eq!(s.handle(now + 60_000, Event::Exited { pid: 10 }), [Action::RestartIn("node", 250)]);
}

#[test]
fn a_start_that_fails_is_retried_like_a_death() {
    let mut s = Supervisor::default();
    s.handle(0, Event::Enable(NODE));
    assert_eq!(s.handle(0, Event::StartFailed { name: "node" }), [Action::RestartIn("node", 250)]);
    assert_eq!(s.handle(250, Event::Tick), [Action::Start("node")]);
}

#[test]
fn a_stopped_service_stays_down_and_a_stubborn_one_is_killed_once() {
    let mut s = running(10);
    assert_eq!(s.handle(100, Event::Stop { name: "node" }), [Action::Terminate(10)]);
    assert_eq!(s.handle(200, Event::Stop { name: "node" }), []);
    assert_eq!(s.handle(5_099, Event::Tick), []);
    assert_eq!(s.handle(5_100, Event::Tick), [Action::Kill(10)]);
    assert_eq!(s.handle(9_000, Event::Tick), []);
    assert_eq!(s.handle(9_001, Event::Exited { pid: 10 }), []);
    assert_eq!(s.state("node"), Some(State::Stopped));
    assert_eq!(s.next_deadline(), None);
}

#[test]
fn a_stop_between_order_and_start_still_ends_the_process() {
    let mut s = Supervisor::default();
    s.handle(0, Event::Enable(NODE));
    assert_eq!(s.handle(1, Event::Stop { name: "node" }), []);
    assert_eq!(s.handle(2, Event::Started { name: "node", pid: 10 }), [Action::Terminate(10)]);
    s.handle(3, Event::Exited { pid: 10 });
    assert_eq!(s.state("node"), Some(State::Stopped));
}

#[test]
fn orphans_and_repeated_orders_change_nothing() {
    let mut s = running(10);
    assert_eq!(s.handle(1, Event::Exited { pid: 4711 }), []);
    assert_eq!(s.handle(1, Event::Enable(NODE)), []);
    assert_eq!(s.handle(1, Event::Stop { name: "nobody" }), []);
    assert_eq!(s.service_of(10), Some("node"));
    assert_eq!(s.state("node"), Some(State::Running { pid: 10, since: 0 }));
}

#[test]
fn a_restart_ends_the_process_and_starts_it_at_once() {
    let mut supervisor = Supervisor::default();
    supervisor.handle(0, Event::Enable(Service { name: "a", stop_grace: 1000 }));
    supervisor.handle(0, Event::Started { name: "a", pid: 7 });
    assert_eq!(supervisor.handle(10, Event::Restart { name: "a" }), [Action::Terminate(7)]);
    assert_eq!(supervisor.handle(20, Event::Exited { pid: 7 }), [Action::Start("a")]);
    supervisor.handle(20, Event::Started { name: "a", pid: 8 });
    // Held, it stays down until it is asked to start.
    assert_eq!(supervisor.handle(30, Event::Stop { name: "a" }), [Action::Terminate(8)]);
    assert_eq!(supervisor.handle(40, Event::Exited { pid: 8 }), []);
    assert_eq!(supervisor.handle(50, Event::Restart { name: "a" }), [Action::Start("a")]);
}

#[test]
fn a_stop_takes_a_restart_back() {
    let mut supervisor = Supervisor::default();
    supervisor.handle(0, Event::Enable(Service { name: "a", stop_grace: 1000 }));
    supervisor.handle(0, Event::Started { name: "a", pid: 7 });
    supervisor.handle(10, Event::Restart { name: "a" });
    supervisor.handle(11, Event::Stop { name: "a" });
    assert_eq!(supervisor.handle(20, Event::Exited { pid: 7 }), []);
}
