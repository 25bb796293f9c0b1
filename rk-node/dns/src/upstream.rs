//! The node's own resolvers, for names that are not the cluster's.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use rk_resolve::{ask_tcp, ask_udp, nameservers};

use crate::cache::Cache;

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often each server is asked.
const ROUNDS: usize = 2;
/// How many servers of `resolv.conf` are used, as the C library does.
const SERVERS: usize = 3;

/// Asks the servers that `resolv.conf` names.
#[derive(Debug)]
pub(crate) struct Upstream {
    file: PathBuf,
    /// Never asked: it is this server.
    own: IpAddr,
    known: Mutex<(Option<SystemTime>, Vec<SocketAddr>)>,
    cache: Cache,
}

impl Upstream {
    pub(crate) fn new(file: PathBuf, own: IpAddr) -> Self {
        Self { file, own, known: Mutex::new((None, Vec::new())), cache: Cache::default() }
    }

    /// Forwards a query as it is. Nothing when no server answers.
    pub(crate) async fn forward(&self, packet: &[u8], question: &Query, tcp: bool) -> Option<Vec<u8>> {
        let id: [u8; 2] = packet.get(..2)?.try_into().ok()?;
        if let Some(kept) = self.cache.get(question, id, Instant::now()) {
            return Some(kept);
        }
        let servers = self.servers();
        for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
            let asked = match tcp {
                true => ask_tcp(*server, packet, PATIENCE).await,
                false => ask_udp(*server, packet, PATIENCE).await,
            };
            match asked {
                Ok(answer) if answers(&answer, id, question) => {
                    self.cache.put(question, &answer, Instant::now());
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
        let question = Query::query(name.clone(), kind);
        let mut query = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        query.metadata.recursion_desired = true;
        query.add_query(question.clone());
        let Ok(packet) = query.to_vec() else { return };
        let answer = self.forward(&packet, &question, false).await;
        if let Some(answer) = answer.and_then(|packet| Message::from_vec(&packet).ok()) {
            reply.metadata.authoritative = false;
            reply.metadata.response_code = answer.metadata.response_code;
            reply.answers.extend(answer.answers);
        }
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

/// Whether the packet answers this very question.
fn answers(packet: &[u8], id: [u8; 2], question: &Query) -> bool {
    let Ok(message) = Message::from_vec(packet) else { return false };
    packet.get(..2) == Some(&id[..])
        && message.metadata.message_type == MessageType::Response
        && message.queries.iter().any(|q| q.query_type == question.query_type && q.name == question.name)
}
