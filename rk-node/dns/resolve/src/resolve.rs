//! From a name to addresses: search domains, servers, attempts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::conf::Conf;
use crate::wire::{ask_tcp, ask_udp};
use crate::{MOST_ADDRESSES, ResolveError};

/// A server that is silent for this long is no longer waited for alone.
const STAGGER: Duration = Duration::from_millis(500);
/// How long one family is waited for when the other has addresses: some servers answer nothing to what they do not know of.
const OTHER_FAMILY: Duration = Duration::from_secs(1);

type Found = Result<Vec<IpAddr>, ResolveError>;

/// The addresses of the first full name of the host that has some.
pub(crate) async fn resolve(conf: &Conf, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    if conf.servers.is_empty() {
        return Err(ResolveError::NoServers);
    }
    let mut failure = ResolveError::NoSuchHost;
    for name in conf.names(host) {
        // What cannot be asked for does not exist.
        let Ok(name) = Name::from_ascii(&name) else { continue };
        match addresses(conf, &name).await {
            Ok(found) if found.is_empty() => {}
            Ok(found) => return Ok(found),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Addresses of both families, IPv4 before IPv6; one family is enough.
async fn addresses(conf: &Conf, name: &Name) -> Result<Vec<IpAddr>, ResolveError> {
    let mut v4 = pin!(records(conf, name, RecordType::A));
    let mut v6 = pin!(records(conf, name, RecordType::AAAA));
    let both = tokio::select! {
        first = &mut v4 => {
            let other = other_family(&first, v6).await;
            (first, other)
        }
        first = &mut v6 => (other_family(&first, v4).await, first),
    };
    match both {
        (Ok(mut found), Ok(more)) => {
            found.extend(more);
            Ok(found)
        }
        (Ok(found), Err(error)) | (Err(error), Ok(found)) => {
            if found.is_empty() {
                Err(error)
            } else {
                Ok(found)
            }
        }
        (Err(error), Err(_)) => Err(error),
    }
}

/// What the other family has, which is waited for only briefly where the first has addresses.
async fn other_family(first: &Found, other: impl Future<Output = Found>) -> Found {
    match first {
        Ok(found) if !found.is_empty() => {
            tokio::time::timeout(OTHER_FAMILY, other).await.unwrap_or(Err(ResolveError::Timeout))
        }
        _ => other.await,
    }
}

async fn records(conf: &Conf, name: &Name, kind: RecordType) -> Result<Vec<IpAddr>, ResolveError> {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.clone(), kind));
    let packet = query.to_vec().map_err(|_| ResolveError::NoSuchHost)?;
    let mut failure = ResolveError::Timeout;
    for _ in 0..conf.attempts {
        match round(conf, &query, &packet).await {
            Ok(found) => return Ok(found),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Asks every server once, the next one when those before it were silent for a while.
async fn round(conf: &Conf, query: &Message, packet: &[u8]) -> Result<Vec<IpAddr>, ResolveError> {
    let mut asked = FuturesUnordered::new();
    let mut delay = Duration::ZERO;
    for server in &conf.servers {
        asked.push(ask(*server, delay, query, packet, conf.patience));
        delay += STAGGER;
    }
    let mut failure = ResolveError::Timeout;
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(found) => return Ok(found),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn ask(
    server: SocketAddr,
    delay: Duration,
    query: &Message,
    packet: &[u8],
    patience: Duration,
) -> Result<Vec<IpAddr>, ResolveError> {
    tokio::time::sleep(delay).await;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => ResolveError::Timeout,
        _ => ResolveError::Unreachable { server, reason: error.to_string() },
    };
    let misbehaving = || ResolveError::Misbehaving(server);
    let said = ask_udp(server, packet, patience).await.map_err(failed)?;
    let mut answer = answer_to(query, &said).ok_or_else(misbehaving)?;
    if answer.metadata.truncation {
        let said = ask_tcp(server, packet, patience).await.map_err(failed)?;
        answer = answer_to(query, &said).ok_or_else(misbehaving)?;
    }
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(found_in(&answer)),
        _ => Err(misbehaving()),
    }
}

/// The packet as a message, if it answers this very question.
fn answer_to(query: &Message, packet: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(packet).ok()?;
    let same = answer.metadata.id == query.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == query.queries;
    same.then_some(answer)
}

/// Addresses in the answer, those behind aliases too: the server followed them.
fn found_in(answer: &Message) -> Vec<IpAddr> {
    let addresses = answer.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    addresses.take(MOST_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, AAAA};
    use std::net::{Ipv4Addr, Ipv6Addr};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, UdpSocket};

    /// What a name server of the tests knows: `web.example.` whole, `half.example.` by IPv4 alone, `big.example.`
    /// over TCP alone, `bad.example.` not. Nothing is silence.
    fn reply(packet: &[u8], tcp: bool) -> Vec<u8> {
        let query = Message::from_vec(packet).unwrap();
        let mut reply = Message::response(query.metadata.id, OpCode::Query);
        reply.queries = query.queries.clone();
        let question = &query.queries[0];
        let data = match question.query_type {
            RecordType::A => RData::A(A(Ipv4Addr::new(192, 0, 2, 1))),
            _ => RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)),
        };
        match question.name.to_ascii().to_lowercase().as_str() {
            "half.example." if question.query_type == RecordType::AAAA => return Vec::new(),
            "web.example." | "half.example." => reply.answers.push(Record::from_rdata(question.name.clone(), 5, data)),
            "big.example." if tcp => reply.answers.push(Record::from_rdata(question.name.clone(), 5, data)),
            "big.example." => reply.metadata.truncation = true,
            "bad.example." => reply.metadata.response_code = ResponseCode::ServFail,
            _ => reply.metadata.response_code = ResponseCode::NXDomain,
        }
        reply.to_vec().unwrap()
    }

    async fn over_udp(socket: UdpSocket) {
        let mut packet = [0; 512];
        while let Ok((size, from)) = socket.recv_from(&mut packet).await {
            let answer = reply(&packet[..size], false);
            if !answer.is_empty() {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    }

    async fn over_tcp(listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut packet = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut packet).await.unwrap();
            let answer = reply(&packet, true);
            stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }

    async fn server() -> SocketAddr {
        loop {
            // Both transports need the same port, and only one of them picks it.
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = socket.local_addr().unwrap();
            if let Ok(listener) = TcpListener::bind(address).await {
                tokio::spawn(over_udp(socket));
                tokio::spawn(over_tcp(listener));
                return address;
            }
        }
    }

    fn conf(servers: Vec<SocketAddr>) -> Conf {
        let mut conf = Conf::parse("search none.example example\noptions timeout:30 attempts:1\n");
        conf.servers = servers;
        conf
    }

    #[tokio::test]
    async fn names_are_searched_for_and_long_answers_come_over_tcp() {
        let address = server().await;
        let conf = conf(vec![address]);
        let both = vec![IpAddr::from([192, 0, 2, 1]), Ipv6Addr::LOCALHOST.into()];
        for host in ["web", "web.example", "WEB.example.", "big"] {
            assert_eq!(resolve(&conf, host).await, Ok(both.clone()), "{host}");
        }
        let failures = [
            ("none", ResolveError::NoSuchHost),
            ("bad.example", ResolveError::Misbehaving(address)),
            ("a..b", ResolveError::NoSuchHost),
            ("b\u{fc}cher.example", ResolveError::NoSuchHost),
        ];
        for (host, failure) in failures {
            assert_eq!(resolve(&conf, host).await, Err(failure), "{host}");
        }
    }

    #[tokio::test]
    async fn a_silent_server_is_not_waited_for_alone() {
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = silent.local_addr().unwrap();
        let found = resolve(&conf(vec![address, server().await]), "web.example.").await;
        assert!(found.is_ok_and(|found| found.len() == 2));
        let mut soon = conf(vec![address]);
        soon.patience = Duration::from_millis(50);
        assert_eq!(resolve(&soon, "web.example.").await, Err(ResolveError::Timeout));
        assert_eq!(resolve(&conf(Vec::new()), "web").await, Err(ResolveError::NoServers));
    }

    #[tokio::test]
    async fn a_family_that_nobody_answers_for_does_not_hold_up_the_other() {
        let mut conf = conf(vec![server().await]);
        conf.patience = Duration::from_secs(600);
        let found = tokio::time::timeout(Duration::from_secs(60), resolve(&conf, "half.example.")).await;
        assert_eq!(found, Ok(Ok(vec![IpAddr::from([192, 0, 2, 1])])));
    }
}
