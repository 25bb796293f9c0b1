//! The node's own resolvers, for names that are not the cluster's.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use rk_resolve::{ask_tcp, ask_udp, nameservers};
use tokio::sync::Semaphore;

use crate::cache::Cache;

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often each server is asked.
const ROUNDS: usize = 2;
/// How many servers of `resolv.conf` are used, as the C library does.
const SERVERS: usize = 3;
/// Queries that wait for servers at once; fewer than all that may be under way, since servers that do not answer must not keep others from
/// hearing of the cluster's own names.
const ASKING: usize = 256;

/// Asks the servers that `resolv.conf` names.
#[derive(Debug)]
pub(crate) struct Upstream {
    file: PathBuf,
    /// Never asked: it is this server.
    own: IpAddr,
    known: Mutex<(Option<SystemTime>, Vec<SocketAddr>)>,
    cache: Cache,
    asking: Semaphore,
}

impl Upstream {
    pub(crate) fn new(file: PathBuf, own: IpAddr) -> Self {
        let (known, asking) = (Mutex::new((None, Vec::new())), Semaphore::new(ASKING));
        Self { file, own, known, cache: Cache::default(), asking }
    }

    /// Forwards a query as it is, whose bytes are `packet`. Nothing when no server answers, or too many queries wait for one.
    pub(crate) async fn forward(&self, packet: &[u8], query: &Message, tcp: bool) -> Option<Vec<u8>> {
        if let Some(kept) = self.cache.get(query, Instant::now()) {
            return Some(kept);
        }
        let _asking = self.asking.try_acquire().ok()?;
        let servers = self.servers();
        for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
            let asked = match tcp {
                true => ask_tcp(*server, packet, PATIENCE).await,
                false => ask_udp(*server, packet, PATIENCE).await,
            };
            match asked {
                Ok(answer) if answers(&answer, query) => {
                    self.cache.put(query, &answer, Instant::now());
                    return Some(answer);
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%server, %error, "a resolver did not answer"),
            }
        }
        None
    }

    /// Adds what `name` resolves to elsewhere to a reply that ends in an alias to it.
    pub(crate) async fn resolve_into(&self, name: &Name, kind: RecordType, reply: &mut Message) {
        let mut query = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(name.clone(), kind));
        let Ok(packet) = query.to_vec() else { return };
        let Some(mut answer) = self.message(&packet, &query, false).await else { return };
        if answer.metadata.truncation {
            // The query is ours, with room for 512 bytes: what the client takes says nothing of it.
            answer = self.message(&packet, &query, true).await.unwrap_or(answer);
        }
        reply.metadata.authoritative = false;
        reply.metadata.truncation = answer.metadata.truncation;
        reply.metadata.response_code = answer.metadata.response_code;
        reply.answers.extend(answer.answers);
    }

    async fn message(&self, packet: &[u8], query: &Message, tcp: bool) -> Option<Message> {
        Message::from_vec(&self.forward(packet, query, tcp).await?).ok()
    }

    /// The servers of `resolv.conf`, read anew when the file changed. It lies in memory, and threads for file work may all wait for a
    /// disk.
    fn servers(&self) -> Vec<SocketAddr> {
        let changed = std::fs::metadata(&self.file).and_then(|meta| meta.modified()).ok();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.is_some() && known.0 == changed {
            return known.1.clone();
        }
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let servers: Vec<SocketAddr> =
            nameservers(&text).filter(|server| server.ip() != self.own).take(SERVERS).collect();
        *known = (changed, servers.clone());
        servers
    }
}

/// Whether the packet answers the one question of this very query.
fn answers(packet: &[u8], query: &Message) -> bool {
    let (Ok(message), [question]) = (Message::from_vec(packet), query.queries.as_slice()) else { return false };
    message.metadata.id == query.metadata.id
        && message.metadata.message_type == MessageType::Response
        && message.queries.iter().any(|q| q.query_type == question.query_type && q.name == question.name)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{RData, Record};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, UdpSocket};

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    /// Records that do not fit into an answer over UDP.
    const MANY: u8 = 60;
    /// How often a server is asked that a busy machine may keep from answering within `PATIENCE`.
    const TRIES: usize = 20;

    /// What a server says to a query: all of it, or that it does not fit.
    fn said(query: &[u8], whole: bool) -> Vec<u8> {
        let query = Message::from_vec(query).unwrap();
        let mut reply = Message::response(query.metadata.id, OpCode::Query);
        let name = query.queries[0].name.clone();
        reply.queries = query.queries;
        reply.metadata.truncation = !whole;
        let addresses = (1..=MANY).filter(|_| whole).map(|n| RData::A(A(Ipv4Addr::new(192, 0, 2, n))));
        reply.answers.extend(addresses.map(|address| Record::from_rdata(name.clone(), 60, address)));
        reply.to_vec().unwrap()
    }

    /// A server whose answers do not fit into UDP.
    async fn server() -> SocketAddr {
        let (udp, tcp) = loop {
            // Both transports need the same port, and only one of them picks it.
            let udp = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((size, client)) = udp.recv_from(&mut buffer).await {
                udp.send_to(&said(&buffer[..size], false), client).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                // Whoever asked may have given up, and asks again.
                let _: std::io::Result<()> = async {
                    let mut query = vec![0; stream.read_u16().await?.into()];
                    stream.read_exact(&mut query).await?;
                    let answer = said(&query, true);
                    stream.write_u16(answer.len().try_into().unwrap()).await?;
                    stream.write_all(&answer).await
                }
                .await;
            }
        });
        address
    }

    /// One that asks such a server, and the file that it would read if that changed.
    async fn upstream() -> (Upstream, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let changed = file.as_file().metadata().unwrap().modified().ok();
        let upstream = Upstream::new(file.path().to_owned(), "192.0.2.1".parse().unwrap());
        let servers = vec![server().await];
        *upstream.known.lock().unwrap() = (changed, servers);
        (upstream, file)
    }

    #[tokio::test]
    async fn who_asks_while_too_many_wait_for_servers_is_not_kept_waiting() {
        let (upstream, _file) = upstream().await;
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii("many.example.").unwrap(), RecordType::A));
        let packet = query.to_vec().unwrap();
        let others = upstream.asking.try_acquire_many(ASKING.try_into().unwrap()).unwrap();
        assert_eq!(upstream.forward(&packet, &query, true).await, None);
        drop(others);
        let mut answered = false;
        for _ in 0..TRIES {
            answered = answered || upstream.forward(&packet, &query, true).await.is_some();
        }
        assert!(answered, "the server is there");
        let _others = upstream.asking.try_acquire_many(ASKING.try_into().unwrap()).expect("all are free again");
        assert!(upstream.forward(&packet, &query, true).await.is_some(), "what was kept needs no server");
    }

    #[tokio::test]
    async fn what_an_alias_leads_to_is_asked_for_over_tcp_when_it_does_not_fit() {
        let (upstream, _file) = upstream().await;
        let mut reply = Message::response(7, OpCode::Query);
        for _ in 0..TRIES {
            // What is told before the server over TCP answers is none of them.
            if reply.answers.is_empty() {
                upstream.resolve_into(&Name::from_ascii("many.example.").unwrap(), RecordType::A, &mut reply).await;
            }
        }
        assert_eq!((reply.answers.len(), reply.metadata.truncation), (usize::from(MANY), false));
    }
}
