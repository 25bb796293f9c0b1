//! The client as a state machine: time and messages in, messages and leases out.

use super::packet::{ADVERTISE, Lease, Message, REBIND, RENEW, REPLY, REQUEST, SOLICIT, encode, identifier};

/// First and longest pause between questions, in milliseconds.
const FIRST: u64 = 1_000;
const MOST: u64 = 120_000;
/// How often one offer is requested before the client solicits again.
const MOST_REQUESTS: u32 = 8;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this to all servers of the link.
    Send(Vec<u8>),
    /// This is the lease now.
    Bound(Lease),
    /// There is none any more.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Soliciting,
    Requesting { server: Vec<u8>, offer: Lease, left: u32 },
    Bound { server: Vec<u8>, t1: u64, t2: u64, until: u64 },
}

/// One link's client.
#[derive(Debug)]
pub struct Client {
    mac: [u8; 6],
    transaction: u32,
    state: State,
    lease: Option<Lease>,
    next: u64,
    pause: u64,
    began: u64,
}

impl Client {
    /// Starts to ask at `now`.
    pub fn new(mac: [u8; 6], transaction: u32, now: u64) -> Client {
        let transaction = transaction & 0x00ff_ffff;
        Client { mac, transaction, state: State::Soliciting, lease: None, next: now + FIRST, pause: FIRST, began: now }
    }

    /// The lease, while there is one.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// When [`Client::tick`] is due.
    pub fn deadline(&self) -> u64 {
        match self.state {
            State::Bound { t1, until, .. } => self.next.max(t1).min(until),
            _ => self.next,
        }
    }

    /// The carrier came back: another network may be at its other end.
    pub fn link_came_up(&mut self, now: u64) {
        if self.lease.is_none() {
            (self.pause, self.next) = (FIRST, now);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: u64) -> Vec<Output> {
        if let State::Bound { until, .. } = self.state
            && until <= now
        {
            self.solicit(now);
            return vec![Output::Lost];
        }
        if now < self.deadline() {
            return Vec::new();
        }
        let elapsed = u16::try_from(now.saturating_sub(self.began) / 10).unwrap_or(u16::MAX);
        let address = self.lease.as_ref().map(|lease| lease.address);
        let message = match &mut self.state {
            State::Soliciting => encode(SOLICIT, self.transaction, self.mac, &[], None, elapsed),
            State::Requesting { left: 0, .. } => {
                self.solicit(now);
                return Vec::new();
            }
            State::Requesting { server, offer, left } => {
                *left -= 1;
                encode(REQUEST, self.transaction, self.mac, server, Some(offer.address), elapsed)
            }
            State::Bound { t2, .. } if *t2 <= now => encode(REBIND, self.transaction, self.mac, &[], address, elapsed),
            State::Bound { server, .. } => encode(RENEW, self.transaction, self.mac, server, address, elapsed),
        };
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(MOST);
        vec![Output::Send(message)]
    }

    /// Takes an answer.
    pub fn receive(&mut self, now: u64, message: &Message) -> Vec<Output> {
        if message.transaction != self.transaction || message.client != identifier(self.mac) {
            return Vec::new();
        }
        match (&self.state, message.kind, &message.lease) {
            (State::Soliciting, ADVERTISE, Some(offer)) => {
                self.state =
                    State::Requesting { server: message.server.clone(), offer: offer.clone(), left: MOST_REQUESTS };
                self.fresh(now);
                self.tick(now)
            }
            (State::Requesting { server, .. }, REPLY, lease) if *server == message.server => match lease {
                Some(lease) => self.bind(now, message, lease.clone()),
                None => {
                    self.solicit(now);
                    Vec::new()
                }
            },
            (State::Bound { t1, .. }, REPLY, Some(lease)) if *t1 <= now => self.bind(now, message, lease.clone()),
            _ => Vec::new(),
        }
    }

    fn bind(&mut self, now: u64, message: &Message, lease: Lease) -> Vec<Output> {
        let after = |seconds: u32| now + u64::from(seconds) * 1000;
        let t1 = if lease.t1 == 0 { lease.valid / 2 } else { lease.t1 };
        let t2 = if lease.t2 == 0 { lease.valid / 5 * 4 } else { lease.t2 };
        // An endless lease is looked at all the same, once in the 49 days that fit.
        self.state =
            State::Bound { server: message.server.clone(), t1: after(t1), t2: after(t2), until: after(lease.valid) };
        self.fresh(now);
        self.lease = Some(lease.clone());
        vec![Output::Bound(lease)]
    }

    fn solicit(&mut self, now: u64) {
        self.state = State::Soliciting;
        self.lease = None;
        self.fresh(now);
    }

    /// A new exchange: another number, and the first pause again.
    fn fresh(&mut self, now: u64) {
        self.transaction = (self.transaction + 1) & 0x00ff_ffff;
        (self.pause, self.next, self.began) = (FIRST, now, now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::decode;
    use super::super::packet::tests::{MAC, answer};
    use super::*;

    fn sent(outputs: &[Output]) -> Option<(u8, u32)> {
        outputs.iter().find_map(|output| match output {
            Output::Send(bytes) => Some((bytes[0], u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]))),
            _ => None,
        })
    }

    fn bound() -> (Client, u64) {
        let mut client = Client::new(MAC, 5, 0);
        let (kind, transaction) = sent(&client.tick(1_000)).unwrap();
        assert_eq!((kind, transaction), (SOLICIT, 5));
        let offer = decode(&answer(ADVERTISE, transaction, "fd00::5", 400)).unwrap();
        let (kind, transaction) = sent(&client.receive(1_100, &offer)).unwrap();
        assert_eq!(kind, REQUEST);
        let reply = decode(&answer(REPLY, transaction, "fd00::5", 400)).unwrap();
        assert!(matches!(client.receive(1_200, &reply).as_slice(), [Output::Bound(_)]));
        (client, 1_200)
    }

    #[test]
    fn an_offer_is_requested_and_the_reply_is_the_lease() {
        let (client, at) = bound();
        assert_eq!(client.lease().unwrap().address.to_string(), "fd00::5");
        assert_eq!(client.deadline(), at + 200_000);
    }

    #[test]
    fn a_lease_is_renewed_then_rebound_then_lost() {
        let (mut client, at) = bound();
        assert!(client.tick(at + 100_000).is_empty());
        let (kind, transaction) = sent(&client.tick(at + 200_000)).unwrap();
        assert_eq!(kind, RENEW);
        let reply = decode(&answer(REPLY, transaction, "fd00::5", 400)).unwrap();
        assert!(matches!(client.receive(at + 200_100, &reply).as_slice(), [Output::Bound(_)]));
        let at = at + 200_100;
        assert_eq!(sent(&client.tick(at + 300_000)).map(|sent| sent.0), Some(REBIND));
        assert_eq!(client.tick(at + 400_000), [Output::Lost]);
        assert_eq!(client.lease(), None);
        assert_eq!(sent(&client.tick(at + 401_000)).map(|sent| sent.0), Some(SOLICIT));
    }

    #[test]
    fn answers_of_others_and_old_ones_are_passed_over() {
        let mut client = Client::new(MAC, 5, 0);
        client.tick(1_000);
        for message in [answer(ADVERTISE, 6, "fd00::5", 400), answer(REPLY, 5, "fd00::5", 400)] {
            assert!(client.receive(1_100, &decode(&message).unwrap()).is_empty());
        }
        let mut foreign = decode(&answer(ADVERTISE, 5, "fd00::5", 400)).unwrap();
        foreign.client = identifier([9; 6]);
        assert!(client.receive(1_100, &foreign).is_empty());
        assert_eq!(client.lease(), None);
    }

    #[test]
    fn without_servers_questions_come_ever_more_rarely() {
        let mut client = Client::new(MAC, 5, 0);
        let mut asked = 0;
        let mut now = 0;
        while now < 600_000 {
            now = client.deadline();
            asked += client.tick(now).len();
        }
        assert!((8..14).contains(&asked), "{asked}");
    }
}
