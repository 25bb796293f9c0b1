//! From a query to an answer: the zone's data as DNS messages.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::upstream::Upstream;
use crate::zone::{Answer, Data, Zone};

/// How long clients may keep the zone's answers, in seconds; pods come and go.
const TTL: u32 = 5;
/// The payload size over UDP without EDNS (RFC 1035), and the most we send with it (avoids fragments).
const PLAIN_PAYLOAD: u16 = 512;
const EDNS_PAYLOAD: u16 = 1232;
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
    let wanted =
        data.iter().filter_map(record_data).filter(|rdata| kind == RecordType::ANY || rdata.record_type() == kind);
    reply.answers.extend(wanted.map(|rdata| Record::from_rdata(owner.clone(), TTL, rdata)));
    let apex = owner.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(zone.domain());
    if apex && matches!(kind, RecordType::SOA | RecordType::ANY) {
        reply.answers.extend(authority(zone));
    }
    if reply.answers.is_empty() {
        reply.authorities.extend(authority(zone));
    }
    // The addresses of the hosts that SRV records name spare clients a second question.
    let hosts: Vec<String> =
        data.iter().filter_map(|d| if let Data::Srv(_, host) = d { Some(host.clone()) } else { None }).collect();
    if kind == RecordType::SRV {
        reply.additionals.extend(hosts.iter().flat_map(|host| addresses(zone, host)));
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

/// A foreign answer as it is where it fits, else an empty `reply` that says so. It may have been kept since another client asked, who takes
/// more: over TCP, or by EDNS.
fn fitting(query: &Message, mut reply: Message, answer: Vec<u8>, transport: Transport) -> Option<Vec<u8>> {
    if answer.len() <= usize::from(room(query, transport)) {
        return Some(answer);
    }
    reply.metadata.truncation = true;
    pack(query, reply, transport)
}

/// Serialises the reply, cut to what the client can take.
fn pack(query: &Message, mut reply: Message, transport: Transport) -> Option<Vec<u8>> {
    let limit = match transport {
        Transport::Tcp => room(query, transport),
        Transport::Udp => room(query, transport).min(EDNS_PAYLOAD),
    };
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_PAYLOAD);
        reply.set_edns(edns);
    }
    let bytes = reply.to_vec().ok()?;
    if bytes.len() <= usize::from(limit) {
        return Some(bytes);
    }
    reply.metadata.truncation = true;
    reply.answers.clear();
    reply.authorities.clear();
    reply.additionals.clear();
    reply.to_vec().ok()
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
}
