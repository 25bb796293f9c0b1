//! The client's states: events and time in, messages and leases out.

use super::packet::{Kind, Lease, Packet};
use std::net::Ipv4Addr;

/// First time between two sends of the same message, in milliseconds; doubles.
const FIRST_RETRY: u64 = 1_000;
/// Longest time between two sends.
const MOST_RETRY: u64 = 32_000;
/// Requests without an answer before the client starts over.
const MOST_REQUESTS: u32 = 4;

/// What the client wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send to everyone on the link.
    Broadcast(Packet),
    /// Send to one server from the leased address.
    Unicast(Packet, Ipv4Addr),
    /// The link has this lease now (new or renewed).
    Bound(Lease),
    /// The link's lease is over.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Looking for a server.
    Selecting,
    /// Asking for an offer, or after a restart for the lease of before.
    Requesting { wanted: Ipv4Addr, server: Option<Ipv4Addr>, sent: u32 },
    /// Using a lease.
    Bound { lease: Lease, since: u64 },
    /// The carrier came back: the lease is used while servers are asked whether it holds here, as RFC 2131 3.2 allows.
    Confirming { lease: Lease, since: u64, sent: u32 },
}

/// A client of one link. Times are milliseconds of any steady clock.
#[derive(Debug)]
pub struct Client {
    mac: [u8; 6],
    xid: u32,
    state: State,
    next: u64,
    retry: u64,
}

impl Client {
    /// A client that starts at once; with `before`, by asking for that address again.
    pub fn new(mac: [u8; 6], xid: u32, now: u64, before: Option<Ipv4Addr>) -> Client {
        let state = match before {
            Some(wanted) => State::Requesting { wanted, server: None, sent: 0 },
            None => State::Selecting,
        };
        Client { mac, xid, state, next: now, retry: FIRST_RETRY }
    }

    /// When [`Client::tick`] must be called at the latest.
    pub fn deadline(&self) -> u64 {
        self.next
    }

    /// The lease in use.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound { lease, .. } | State::Confirming { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// The carrier came back, perhaps of another network: the lease is to be confirmed at once. A server's refusal ends it, silence does not.
    pub fn link_came_up(&mut self, now: u64) {
        if let State::Bound { lease, since } | State::Confirming { lease, since, .. } = &self.state {
            self.state = State::Confirming { lease: lease.clone(), since: *since, sent: 0 };
        }
        self.retry = FIRST_RETRY;
        self.next = now;
    }

    /// Does what is due.
    pub fn tick(&mut self, now: u64) -> Vec<Output> {
        if now < self.next {
            return Vec::new();
        }
        match self.state.clone() {
            State::Selecting => {
                self.wait(now);
                vec![Output::Broadcast(self.message(Kind::Discover))]
            }
            State::Requesting { sent, .. } if sent >= MOST_REQUESTS => {
                self.start_over(now);
                self.tick(now)
            }
            State::Requesting { wanted, server, sent } => {
                self.state = State::Requesting { wanted, server, sent: sent + 1 };
                self.wait(now);
                vec![Output::Broadcast(Packet { requested: Some(wanted), server, ..self.message(Kind::Request) })]
            }
            State::Confirming { lease, since, sent } => {
                let over = since + u64::from(lease.seconds) * 1000;
                if sent >= MOST_REQUESTS || now >= over {
                    self.state = State::Bound { lease: lease.clone(), since };
                    return self.keep(now, &lease, since);
                }
                let requested = Some(lease.address.addr());
                self.state = State::Confirming { lease, since, sent: sent + 1 };
                self.wait(now);
                // However often the cable flaps, the lease ends when it does.
                self.next = self.next.min(over);
                vec![Output::Broadcast(Packet { requested, ..self.message(Kind::Request) })]
            }
            State::Bound { lease, since } => self.keep(now, &lease, since),
        }
    }

    /// Renew, rebind or lose the lease, by its age. Retries come at half of the time that is left, as RFC 2131 4.4.5 says.
    fn keep(&mut self, now: u64, lease: &Lease, since: u64) -> Vec<Output> {
        let at = |seconds: u32| since + u64::from(seconds) * 1000;
        let request = Packet { client: lease.address.addr(), ..self.message(Kind::Request) };
        let half =
            |until: u64| now + ((until.saturating_sub(now)) / 2).max(60_000).min(until.saturating_sub(now).max(1));
        if now >= at(lease.seconds) {
            self.start_over(now);
            let mut outputs = vec![Output::Lost];
            outputs.extend(self.tick(now));
            outputs
        } else if now >= at(lease.rebind) {
            self.next = half(at(lease.seconds));
            vec![Output::Broadcast(request)]
        } else if now >= at(lease.renew) {
            self.next = half(at(lease.rebind));
            vec![Output::Unicast(request, lease.server)]
        } else {
            self.next = at(lease.renew);
            Vec::new()
        }
    }

    /// Takes a server's message; one that is not for this client or does not fit its state is passed over.
    pub fn receive(&mut self, now: u64, packet: &Packet) -> Vec<Output> {
        if packet.mac != self.mac || packet.xid != self.xid {
            return Vec::new();
        }
        match (&self.state, packet.kind, &packet.lease) {
            (State::Selecting, Kind::Offer, Some(lease)) => {
                self.state = State::Requesting { wanted: lease.address.addr(), server: Some(lease.server), sent: 0 };
                self.retry = FIRST_RETRY;
                self.next = now;
                self.tick(now)
            }
            (State::Requesting { wanted, server, .. }, Kind::Ack, Some(lease)) => {
                // From the server that was chosen; after a restart, from any that knows the address.
                if lease.address.addr() != *wanted || server.is_some_and(|server| server != lease.server) {
                    return Vec::new();
                }
                self.bind(now, lease.clone())
            }
            (State::Bound { lease: old, .. } | State::Confirming { lease: old, .. }, Kind::Ack, Some(lease))
                if old.address.addr() == lease.address.addr() =>
            {
                self.bind(now, lease.clone())
            }
            (State::Confirming { .. }, Kind::Nak, _) => self.refused(now),
            (State::Requesting { server, .. }, Kind::Nak, _) => {
                if server.is_some() && *server != packet.server {
                    return Vec::new();
                }
                self.refused(now)
            }
            (State::Bound { lease, .. }, Kind::Nak, _) if packet.server == Some(lease.server) => self.refused(now),
            _ => Vec::new(),
        }
    }

    fn refused(&mut self, now: u64) -> Vec<Output> {
        self.start_over(now);
        // Not at once: a server that refuses everything would make a storm.
        self.next = now + FIRST_RETRY;
        vec![Output::Lost]
    }

    fn bind(&mut self, now: u64, lease: Lease) -> Vec<Output> {
        self.next = now + u64::from(lease.renew) * 1000;
        self.retry = FIRST_RETRY;
        self.xid = self.xid.wrapping_add(1);
        self.state = State::Bound { lease: lease.clone(), since: now };
        vec![Output::Bound(lease)]
    }

    fn start_over(&mut self, now: u64) {
        self.state = State::Selecting;
        self.xid = self.xid.wrapping_add(0x1000_0001);
        self.retry = FIRST_RETRY;
        self.next = now;
    }

    /// Spreads retries by up to an eighth, by the transaction's number, so that a rack does not speak in chorus.
    fn wait(&mut self, now: u64) {
        let spread = u64::from(self.xid % 128) * self.retry / 1024;
        self.next = now + self.retry + spread;
        self.retry = (self.retry * 2).min(MOST_RETRY);
    }

    fn message(&self, kind: Kind) -> Packet {
        Packet {
            kind,
            xid: self.xid,
            mac: self.mac,
            client: Ipv4Addr::UNSPECIFIED,
            requested: None,
            server: None,
            lease: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::{decode, tests::reply};
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const ADDRESS: [u8; 4] = [10, 0, 2, 15];
    const HOUR: u32 = 3600;

    fn server(kind: Kind, xid: u32, last: u8) -> Packet {
        let options: [(u8, &[u8]); 3] = [(54, &[10, 0, 2, last]), (1, &[255, 255, 255, 0]), (51, &HOUR.to_be_bytes())];
        decode(&reply(kind, xid, MAC, ADDRESS, &options)).unwrap()
    }

    fn sent(outputs: &[Output]) -> &Packet {
        match outputs {
            [Output::Broadcast(packet) | Output::Unicast(packet, _)] => packet,
            other => panic!("{other:?}"),
        }
    }

    fn bound(now: u64) -> Client {
        let mut client = Client::new(MAC, 1, now, None);
        assert_eq!(sent(&client.tick(now)).kind, Kind::Discover);
        let request = client.receive(now, &server(Kind::Offer, 1, 2));
        assert_eq!((sent(&request).kind, sent(&request).requested), (Kind::Request, Some(ADDRESS.into())));
        assert!(matches!(client.receive(now, &server(Kind::Ack, 1, 2)).as_slice(), [Output::Bound(_)]));
        client
    }

    #[test]
    fn a_lease_is_found_renewed_and_kept() {
        let mut client = bound(0);
        assert_eq!(client.deadline(), 1_800_000);
        let outputs = client.tick(1_800_000);
        let [Output::Unicast(request, to)] = outputs.as_slice() else { panic!("{outputs:?}") };
        assert_eq!((*to, request.client, request.requested), ([10, 0, 2, 2].into(), ADDRESS.into(), None));
        let xid = request.xid;
        assert!(matches!(client.receive(1_800_500, &server(Kind::Ack, xid, 2)).as_slice(), [Output::Bound(_)]));
        assert_eq!(client.deadline(), 1_800_500 + 1_800_000);
    }

    #[test]
    fn a_silent_server_costs_the_lease_only_at_its_end() {
        let mut client = bound(0);
        let (mut unicasts, mut broadcasts) = (0, 0);
        loop {
            let now = client.deadline();
            match client.tick(now).as_slice() {
                [Output::Unicast(..)] => unicasts += 1,
                [Output::Broadcast(_)] => broadcasts += 1,
                [Output::Lost, Output::Broadcast(discover)] => {
                    assert_eq!((now, discover.kind), (3_600_000, Kind::Discover));
                    break;
                }
                other => panic!("{other:?} at {now}"),
            }
        }
        assert!((2..20).contains(&unicasts) && (2..20).contains(&broadcasts), "{unicasts} {broadcasts}");
    }

    #[test]
    fn a_lease_is_used_while_it_is_confirmed_after_a_cut_and_beyond_it_when_nobody_answers() {
        let mut client = bound(0);
        client.link_came_up(5_000);
        let request = client.tick(5_000);
        let asked = sent(&request);
        assert_eq!((asked.kind, asked.requested, asked.server), (Kind::Request, Some(ADDRESS.into()), None));
        assert!(client.lease().is_some(), "the address went before anybody refused it");
        let xid = asked.xid;
        assert!(matches!(client.receive(5_100, &server(Kind::Ack, xid, 2)).as_slice(), [Output::Bound(_)]));
        // The cable flaps while the servers are away: the lease goes on as if it had not.
        client.link_came_up(10_000);
        for _ in 0..MOST_REQUESTS {
            client.link_came_up(client.deadline());
            assert_eq!(sent(&client.tick(client.deadline())).kind, Kind::Request);
        }
        for _ in 1..MOST_REQUESTS {
            assert_eq!(sent(&client.tick(client.deadline())).kind, Kind::Request);
        }
        assert_eq!(client.tick(client.deadline()), []);
        assert_eq!((client.deadline(), client.lease().is_some()), (5_100 + 1_800_000, true));
        // Another network at the other end: its server refuses the address.
        client.link_came_up(60_000);
        let xid = sent(&client.tick(60_000)).xid;
        assert_eq!(client.receive(60_100, &server(Kind::Nak, xid, 9)), [Output::Lost]);
        assert_eq!(client.lease(), None);
    }

    #[test]
    fn a_cable_that_flaps_keeps_no_lease_beyond_its_end() {
        let mut client = bound(0);
        for now in (0..3_600_000).step_by(500) {
            client.link_came_up(now);
            assert_eq!(sent(&client.tick(now)).kind, Kind::Request, "{now}");
        }
        assert_eq!(client.deadline(), 3_600_000);
        client.link_came_up(3_600_000);
        let outputs = client.tick(3_600_000);
        let [Output::Lost, Output::Broadcast(discover)] = outputs.as_slice() else { panic!("{outputs:?}") };
        assert_eq!((discover.kind, client.lease()), (Kind::Discover, None));
    }

    #[test]
    fn without_a_server_the_client_asks_ever_more_rarely_and_for_ever() {
        let mut client = Client::new(MAC, 1, 0, None);
        let mut times = Vec::new();
        for _ in 0..10 {
            let now = client.deadline();
            assert_eq!(sent(&client.tick(now)).kind, Kind::Discover);
            times.push(now);
        }
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= MOST_RETRY * 9 / 8), "{times:?}");
        assert!(times[9] - times[8] >= MOST_RETRY);
    }

    #[test]
    fn after_a_restart_the_old_address_is_asked_for_first() {
        let mut client = Client::new(MAC, 1, 0, Some(ADDRESS.into()));
        let request = client.tick(0);
        assert_eq!((sent(&request).kind, sent(&request).server), (Kind::Request, None));
        assert_eq!(client.receive(1, &server(Kind::Nak, 1, 2)), [Output::Lost]);
        assert_eq!(sent(&client.tick(client.deadline())).kind, Kind::Discover);
    }

    #[test]
    fn an_old_address_that_nobody_confirms_is_given_up() {
        let mut client = Client::new(MAC, 1, 0, Some(ADDRESS.into()));
        for _ in 0..MOST_REQUESTS {
            assert_eq!(sent(&client.tick(client.deadline())).kind, Kind::Request);
        }
        assert_eq!(sent(&client.tick(client.deadline())).kind, Kind::Discover);
    }

    #[test]
    fn messages_of_strangers_are_passed_over() {
        let mut client = Client::new(MAC, 1, 0, None);
        client.tick(0);
        let other = Packet { mac: [9; 6], ..server(Kind::Offer, 1, 2) };
        assert_eq!(client.receive(1, &other), []);
        assert_eq!(client.receive(1, &server(Kind::Offer, 99, 2)), []);
        assert_eq!(client.receive(1, &server(Kind::Ack, 1, 2)), [], "an answer to nothing");
        client.receive(1, &server(Kind::Offer, 1, 2));
        assert_eq!(client.receive(2, &server(Kind::Ack, 1, 66)), [], "another server's");
        assert_eq!(client.lease(), None);
    }
}
