//! From a query to an answer: the zone's data as DNS messages.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder};
use rand::seq::SliceRandom as _;

use crate::upstream::Upstream;
use crate::zone::{Answer, Data, Zone};

/// How long clients may keep the zone's answers, in seconds; pods come and go.
const TTL: u32 = 5;
/// The payload size over UDP without EDNS (RFC 1035), and the most we send with it (avoids fragments).
const PLAIN_PAYLOAD: u16 = 512;
const EDNS_PAYLOAD: u16 = 1232;
/// The OPT record of an answer of ours (RFC 6891, section 6.1.2), in bytes.
const EDNS_BYTES: u16 = 11;
/// Hosts of SRV records whose addresses are told unasked.
const HOSTS: usize = 64;
/// The longest chain of aliases that is followed.
const ALIASES: usize = 8;

/// How a query came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// Answers one packet; nothing for what is no query.
pub(crate) async fn respond(
    packet: &[u8],
    transport: Transport,
    zone: &RwLock<Zone>,
    upstream: &Upstream,
) -> Option<Vec<u8>> {
    let query = match Message::from_vec(packet) {
        Ok(query) => query,
        Err(_) => return refusal(packet),
    };
    if query.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.queries = query.queries.clone();
    let question = match query.queries.as_slice() {
        _ if query.metadata.op_code != OpCode::Query => {
            reply.metadata.response_code = ResponseCode::NotImp;
            return pack(&query, reply, transport);
        }
        [question] if question.query_class == DNSClass::IN => question.clone(),
        _ => {
            reply.metadata.response_code = ResponseCode::FormErr;
            return pack(&query, reply, transport);
        }
    };
    match local(zone, &question.name, question.query_type, &mut reply) {
        Local::Answered => pack(&query, reply, transport),
        Local::Foreign => match upstream.forward(packet, &query, transport == Transport::Tcp).await {
            Some(answer) => fitting(&query, reply, answer, transport),
            None => {
                reply.metadata.response_code = ResponseCode::ServFail;
                pack(&query, reply, transport)
            }
        },
        Local::Alias(target) => {
            upstream.resolve_into(&target, question.query_type, &mut reply).await;
            pack(&query, reply, transport)
        }
    }
}

enum Local {
    Answered,
    Foreign,
    /// Answered so far; the rest is at this foreign name.
    Alias(Name),
}

/// Answers from the zone, following aliases inside it.
fn local(zone: &RwLock<Zone>, name: &Name, kind: RecordType, reply: &mut Message) -> Local {
    let zone = zone.read().unwrap_or_else(PoisonError::into_inner);
    let mut owner = name.clone();
    for _ in 0..ALIASES {
        match zone.lookup(&owner.to_ascii()) {
            Answer::Foreign if owner == *name => return Local::Foreign,
            Answer::Foreign => return Local::Alias(owner),
            Answer::Missing if !zone.is_ready() => {
                reply.metadata.response_code = ResponseCode::ServFail;
                return Local::Answered;
            }
            Answer::Missing => {
                reply.metadata.authoritative = true;
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.authorities.extend(authority(&zone));
                return Local::Answered;
            }
            Answer::Alias(target) => {
                reply.metadata.authoritative = true;
                let Ok(target) = absolute(&target) else { return Local::Answered };
                reply.answers.push(Record::from_rdata(owner, TTL, RData::CNAME(CNAME(target.clone()))));
                if kind == RecordType::CNAME {
                    return Local::Answered;
                }
                owner = target;
            }
            Answer::Found(data) => {
                reply.metadata.authoritative = true;
                found(&zone, &owner, kind, &data, reply);
                return Local::Answered;
            }
        }
    }
    Local::Answered
}

fn found(zone: &Zone, owner: &Name, kind: RecordType, data: &[Data], reply: &mut Message) {
    let asked = |rdata: &RData| kind == RecordType::ANY || rdata.record_type() == kind;
    let mut wanted: Vec<RData> = data.iter().filter_map(record_data).filter(asked).collect();
    // Many clients take the first address: they shall not all go to one endpoint.
    wanted.shuffle(&mut rand::rng());
    reply.answers.extend(wanted.into_iter().map(|rdata| Record::from_rdata(owner.clone(), TTL, rdata)));
    let apex = owner.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(zone.domain());
    if apex && matches!(kind, RecordType::SOA | RecordType::ANY) {
        reply.answers.extend(authority(zone));
    }
    if reply.answers.is_empty() {
        reply.authorities.extend(authority(zone));
    }
    // The addresses of the hosts that SRV records name spare clients a second question.
    if kind == RecordType::SRV {
        let hosts = data.iter().filter_map(|data| if let Data::Srv(_, host) = data { Some(host) } else { None });
        let hosts: BTreeSet<&String> = hosts.take(HOSTS).collect();
        reply.additionals.extend(hosts.into_iter().flat_map(|host| addresses(zone, host)));
    }
}

fn addresses(zone: &Zone, host: &str) -> Vec<Record> {
    let (Answer::Found(data), Ok(name)) = (zone.lookup(host), absolute(host)) else { return Vec::new() };
    let addresses = data.iter().filter(|d| matches!(d, Data::Address(_))).filter_map(record_data);
    addresses.map(|rdata| Record::from_rdata(name.clone(), TTL, rdata)).collect()
}

fn record_data(data: &Data) -> Option<RData> {
    Some(match data {
        Data::Address(IpAddr::V4(address)) => RData::A(A(*address)),
        Data::Address(IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
        Data::Srv(port, host) => RData::SRV(SRV::new(0, 100, *port, absolute(host).ok()?)),
        Data::Ptr(name) => RData::PTR(PTR(absolute(name).ok()?)),
        Data::Txt(text) => RData::TXT(TXT::new(vec![text.clone()])),
        Data::Ns(name) => RData::NS(NS(absolute(name).ok()?)),
    })
}

fn authority(zone: &Zone) -> Option<Record> {
    let domain = absolute(zone.domain()).ok()?;
    let server = absolute(&zone.server_name()).ok()?;
    let mailbox = absolute(&format!("hostmaster.{}", zone.domain())).ok()?;
    let soa = SOA::new(server, mailbox, 1, 7200, 1800, 86400, TTL);
    Some(Record::from_rdata(domain, TTL, RData::SOA(soa)))
}

fn absolute(name: &str) -> Result<Name, hickory_proto::ProtoError> {
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    Ok(name)
}

/// The most bytes that the client takes in one answer.
fn room(query: &Message, transport: Transport) -> u16 {
    match (&query.edns, transport) {
        (_, Transport::Tcp) => u16::MAX,
        (Some(edns), Transport::Udp) => edns.max_payload().max(PLAIN_PAYLOAD),
        (None, Transport::Udp) => PLAIN_PAYLOAD,
    }
}

/// A foreign answer as it is where it fits, else cut; one that cannot be read becomes an empty `reply` that says so. It may have been kept
/// since another client asked, who takes more: over TCP, or by EDNS.
fn fitting(query: &Message, mut reply: Message, answer: Vec<u8>, transport: Transport) -> Option<Vec<u8>> {
    if answer.len() <= usize::from(room(query, transport)) {
        return Some(answer);
    }
    reply.metadata.truncation = true;
    pack(query, Message::from_vec(&answer).unwrap_or(reply), transport)
}

/// Serialises the reply, cut to what the client can take: first goes what it did not ask for, of which nothing is said (RFC 2181,
/// section 9), then the answers that do not fit, since some clients never ask by TCP.
fn pack(query: &Message, mut reply: Message, transport: Transport) -> Option<Vec<u8>> {
    let limit = match transport {
        Transport::Tcp => room(query, transport),
        Transport::Udp => room(query, transport).min(EDNS_PAYLOAD),
    };
    let edns = query.edns.as_ref().map(|_| {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_PAYLOAD);
        edns
    });
    let inner = if edns.is_some() { limit.saturating_sub(EDNS_BYTES) } else { limit };
    if !fits(&reply, inner) {
        reply.additionals.clear();
    }
    if !fits(&reply, inner) {
        reply.authorities.clear();
        reply.metadata.truncation = true;
        let count = Message::from_vec(&cut(&reply, inner)?).map_or(0, |cut| cut.answers.len());
        reply.answers.truncate(count);
    }
    reply.edns = edns;
    reply.to_vec().ok()
}

fn fits(reply: &Message, limit: u16) -> bool {
    reply.to_vec().is_ok_and(|bytes| bytes.len() <= usize::from(limit))
}

/// As many of a message's records as fit.
fn cut(reply: &Message, limit: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    reply.emit(&mut encoder).ok()?;
    Some(bytes)
}

/// `FORMERR` for a packet that has at least a header.
fn refusal(packet: &[u8]) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes(packet.get(..2)?.try_into().ok()?);
    let is_query = packet.get(2)? & 0x80 == 0;
    let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    if is_query && packet.len() >= 12 { message.to_vec().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;

    use super::*;

    /// How a client that takes so much by EDNS is told of a foreign answer of so many bytes.
    fn told(payload: Option<u16>, length: usize, transport: Transport) -> &'static str {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii("a.example.").unwrap(), RecordType::A));
        if let Some(size) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            query.set_edns(edns);
        }
        let mut reply = Message::response(7, OpCode::Query);
        reply.queries = query.queries.clone();
        let answer = vec![0xee; length];
        let told = fitting(&query, reply, answer.clone(), transport).unwrap();
        match Message::from_vec(&told) {
            _ if told == answer => "whole",
            Ok(cut) if cut.metadata.truncation && cut.queries == query.queries => "truncated",
            _ => "otherwise",
        }
    }

    #[test]
    fn a_foreign_answer_is_told_whole_to_those_alone_who_take_so_much() {
        use Transport::{Tcp, Udp};
        for (payload, length, transport, want) in [
            (None, 512, Udp, "whole"),
            (None, 513, Udp, "truncated"),
            (Some(100), 512, Udp, "whole"),
            (Some(4096), 4096, Udp, "whole"),
            (Some(4096), 4097, Udp, "truncated"),
            (None, 60_000, Tcp, "whole"),
        ] {
            assert_eq!(told(payload, length, transport), want, "{length} of {payload:?}");
        }
    }

    /// A query for all addresses of a name, and an answer of this many, each with a word that nobody asked for.
    fn addresses_of(count: u8, payload: Option<u16>) -> (Message, Message) {
        let name = Name::from_ascii("db.shop.svc.cluster.local.").unwrap();
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(name.clone(), RecordType::A));
        if let Some(size) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            query.set_edns(edns);
        }
        let mut reply = Message::response(7, OpCode::Query);
        reply.queries = query.queries.clone();
        for n in 0..count {
            reply.answers.push(Record::from_rdata(name.clone(), TTL, RData::A(A([10, 244, 1, n].into()))));
            reply.additionals.push(Record::from_rdata(name.clone(), TTL, RData::TXT(TXT::new(vec!["x".repeat(30)]))));
        }
        (query, reply)
    }

    #[test]
    fn an_answer_loses_what_nobody_asked_for_and_then_what_does_not_fit() {
        // Answers that come, words that come, whether it is told that some do not. Each address takes 16 bytes, the last one some more while
        // it is written: a name is written whole before it refers to one like it.
        for (count, payload, transport, want) in [
            (2, None, Transport::Udp, (2, 2, false)),
            (20, None, Transport::Udp, (20, 0, false)),
            (200, None, Transport::Udp, (28, 0, true)),
            (200, Some(4096), Transport::Udp, (73, 0, true)),
            (200, None, Transport::Tcp, (200, 200, false)),
        ] {
            let (query, reply) = addresses_of(count, payload);
            let bytes = pack(&query, reply, transport).unwrap();
            let told = Message::from_vec(&bytes).unwrap();
            let came = (told.answers.len(), told.additionals.len(), told.metadata.truncation);
            assert_eq!((came, told.edns.is_some()), (want, payload.is_some()), "{count} {payload:?} {transport:?}");
        }
        let (query, foreign) = addresses_of(200, None);
        let bytes = fitting(&query, Message::response(7, OpCode::Query), foreign.to_vec().unwrap(), Transport::Udp);
        let told = Message::from_vec(&bytes.unwrap()).unwrap();
        assert_eq!((told.answers.len(), told.metadata.truncation), (28, true), "of others, too");
    }

    #[test]
    fn no_address_of_a_name_always_comes_first() {
        let zone = Zone::new("cluster.local", IpAddr::from([10, 96, 0, 10]));
        let data: Vec<Data> = (0..3).map(|n| Data::Address(IpAddr::from([10, 244, 1, n]))).collect();
        let owner = Name::from_ascii("db.shop.svc.cluster.local.").unwrap();
        let first = |_| {
            let mut reply = Message::response(7, OpCode::Query);
            found(&zone, &owner, RecordType::A, &data, &mut reply);
            reply.answers.first().map(|record| record.data.to_string())
        };
        let firsts: BTreeSet<Option<String>> = (0..300).map(first).collect();
        assert_eq!(firsts.len(), 3, "{firsts:?}");
    }
}
