//! The switch as a machine sees it: unix sockets with frames.

use super::*;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const ALL: Mac = [0xff; 6];
/// How long is waited for what must come.
const LATE: Duration = Duration::from_secs(60);
/// How long is listened where nothing must come.
const QUIET: Duration = Duration::from_millis(300);

struct Guest {
    mac: Mac,
    stream: UnixStream,
}

impl Guest {
    fn new(n: u8, socket: &Path) -> Guest {
        let stream = UnixStream::connect(socket).expect("connect");
        Guest { mac: [2, 0, 0, 0, 0, n], stream }
    }

    fn send(&mut self, to: Mac, text: &str) {
        let frame = [to.as_slice(), &self.mac, &[0x88, 0xb5], text.as_bytes()].concat();
        write_frame(&mut self.stream, &frame).expect("send");
    }

    fn receive_within(&mut self, limit: Duration) -> Option<String> {
        self.stream.set_read_timeout(Some(limit)).expect("timeout");
        let mut frame = Vec::new();
        read_frame(&mut self.stream, &mut frame).ok().filter(|got| *got)?;
        Some(String::from_utf8_lossy(frame.get(14..)?).into_owned())
    }

    fn receive(&mut self) -> Option<String> {
        self.receive_within(LATE)
    }

    fn hears_nothing(&mut self) -> bool {
        self.receive_within(QUIET).is_none()
    }
}

fn three() -> (tempfile::TempDir, Switch, [PortId; 3], [Guest; 3]) {
    let dir = tempfile::tempdir().expect("dir");
    let switch = Switch::new(dir.path());
    let ports = [0, 1, 2].map(|_| switch.add_port().expect("port"));
    let mut n = 0;
    let guests = [0, 1, 2].map(|i: usize| {
        n += 1;
        Guest::new(n, &ports[i].1)
    });
    let mut guests = guests;
    // A port is served once its accepting thread ran: say hello until everybody was heard.
    for i in 0..3 {
        for j in (0..3).filter(|j| *j != i) {
            let limit = Instant::now() + LATE;
            loop {
                guests[i].send(ALL, "hello");
                if guests[j].receive_within(QUIET).is_some() {
                    break;
                }
                assert!(Instant::now() < limit, "port {j} hears nothing");
            }
        }
    }
    // Some of it may come late; behind the last word of each there is nothing more.
    for i in 0..3 {
        let last = format!("the last of {i}");
        guests[i].send(ALL, &last);
        for j in (0..3).filter(|j| *j != i) {
            let heard = std::iter::from_fn(|| guests[j].receive()).any(|text| text == last);
            assert!(heard, "port {j} does not hear {last}");
        }
    }
    (dir, switch, ports.map(|(id, _)| id), guests)
}

#[test]
fn broadcasts_reach_all_and_known_addresses_only_their_own() {
    let (_dir, _switch, _, [mut a, mut b, mut c]) = three();
    a.send(ALL, "who");
    assert_eq!((b.receive().as_deref(), c.receive().as_deref()), (Some("who"), Some("who")));
    b.send(a.mac, "me");
    assert_eq!(a.receive().as_deref(), Some("me"));
    assert!(c.hears_nothing());
}

#[test]
fn a_partition_separates_until_it_is_healed() {
    let (_dir, switch, [pa, pb, _], [mut a, mut b, mut c]) = three();
    switch.partition(&[pa], &[pb]);
    a.send(b.mac, "lost");
    a.send(c.mac, "kept");
    assert_eq!(c.receive().as_deref(), Some("kept"));
    assert!(b.hears_nothing());
    switch.heal();
    a.send(b.mac, "again");
    assert_eq!(b.receive().as_deref(), Some("again"));
}

#[test]
fn a_port_can_lose_and_delay_its_frames() {
    let (_dir, switch, [pa, ..], [mut a, mut b, _c]) = three();
    switch.set_fault(pa, Fault { drop_percent: 100, delay: Duration::ZERO });
    let before = switch.counters().dropped;
    a.send(b.mac, "lost");
    let limit = Instant::now() + LATE;
    while switch.counters().dropped == before {
        assert!(Instant::now() < limit, "nothing is lost");
        std::thread::yield_now();
    }
    assert!(b.hears_nothing());
    switch.set_fault(pa, Fault { drop_percent: 0, delay: Duration::from_millis(120) });
    let start = Instant::now();
    a.send(b.mac, "late");
    assert_eq!(b.receive().as_deref(), Some("late"));
    assert!(start.elapsed() >= Duration::from_millis(110), "{:?}", start.elapsed());
}

#[test]
fn a_machine_that_does_not_read_loses_frames_and_hurts_nobody() {
    let (_dir, switch, _, [mut a, b, mut c]) = three();
    let before = switch.counters().dropped;
    for n in 0..6000 {
        a.send(b.mac, &format!("{n:01000}"));
    }
    a.send(c.mac, "alive");
    assert_eq!(c.receive().as_deref(), Some("alive"));
    assert!(switch.counters().dropped > before);
}

#[test]
fn a_restarted_machine_takes_its_port_again() {
    let (dir, _switch, _, [mut a, b, _c]) = three();
    let mac = b.mac;
    drop(b);
    let mut again = Guest::new(2, &dir.path().join("port1.sock"));
    let limit = Instant::now() + LATE;
    loop {
        a.send(mac, "welcome");
        if again.receive_within(QUIET).is_some() {
            break;
        }
        assert!(Instant::now() < limit);
    }
}
