//! A small cache of upstream answers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

/// How many answers are kept; the cache is emptied when it is full.
const ENTRIES: usize = 1024;
/// The longest an answer is kept, whatever its TTL says.
const LONGEST: Duration = Duration::from_secs(30);

/// What an answer is made for: a name as it was written, since some clients compare each letter, and what servers tell to those alone who
/// ask for it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    kind: RecordType,
    recursive: bool,
    unchecked: bool,
    /// Whether it is asked if the server has verified the answer (RFC 6840, section 5.7).
    authentic: bool,
    /// Whether EDNS is spoken (RFC 6891, section 7: else none comes back), and signatures are asked for by it.
    signed: Option<bool>,
}

impl Key {
    fn of(query: &Message) -> Option<Self> {
        let question = query.queries.first()?;
        Some(Self {
            name: question.name.to_ascii(),
            kind: question.query_type,
            recursive: query.metadata.recursion_desired,
            unchecked: query.metadata.checking_disabled,
            authentic: query.metadata.authentic_data,
            signed: query.edns.as_ref().map(|edns| edns.flags().dnssec_ok),
        })
    }
}

/// Packets by what they were asked by.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<Key, (Instant, Vec<u8>)>>);

impl Cache {
    /// A kept answer, under the id of the present query.
    pub(crate) fn get(&self, query: &Message, now: Instant) -> Option<Vec<u8>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, packet) = entries.get(&Key::of(query)?)?;
        if *until <= now {
            return None;
        }
        let mut packet = packet.clone();
        packet.get_mut(..2)?.copy_from_slice(&query.metadata.id.to_be_bytes());
        Some(packet)
    }

    /// Keeps an answer for as long as its shortest TTL allows. Failures are not kept, nor what is for one client, such as a cookie.
    pub(crate) fn put(&self, query: &Message, packet: &[u8], now: Instant) {
        let (Some(key), Ok(message)) = (Key::of(query), Message::from_vec(packet)) else { return };
        let known = matches!(message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        let personal = message.edns.as_ref().is_some_and(|edns| !edns.options().options.is_empty());
        let kept = known && !personal && !message.metadata.truncation;
        let shortest = message.answers.iter().chain(&message.authorities).map(|record| record.ttl).min();
        let Some(ttl) = shortest.filter(|_| kept) else { return };
        let until = now + Duration::from_secs(ttl.into()).min(LONGEST);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES {
            entries.clear();
        }
        entries.insert(key, (until, packet.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::{Edns, MessageType, OpCode, Query};
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::rdata::opt::EdnsOption;
    use hickory_proto::rr::{Name, RData, Record};

    use super::*;

    /// `signed` as in [`Key`].
    fn query(name: &str, signed: Option<bool>) -> Message {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        if let Some(signed) = signed {
            let mut edns = Edns::new();
            edns.flags_mut().dnssec_ok = signed;
            query.set_edns(edns);
        }
        query
    }

    fn answer(query: &Message, cookie: bool) -> Vec<u8> {
        let mut reply = Message::response(1, OpCode::Query);
        let name = query.queries.first().unwrap().name.clone();
        reply.queries = query.queries.clone();
        reply.answers.push(Record::from_rdata(name, 60, RData::A(A(Ipv4Addr::new(192, 0, 2, 1)))));
        if cookie {
            let mut edns = Edns::new();
            edns.options_mut().insert(EdnsOption::Unknown(10, vec![1; 8]));
            reply.set_edns(edns);
        }
        reply.to_vec().unwrap()
    }

    #[test]
    fn an_answer_is_kept_for_those_who_ask_in_the_same_way() {
        let (cache, now) = (Cache::default(), Instant::now());
        let asked = query("a.example.", Some(false));
        cache.put(&asked, &answer(&asked, false), now);
        let kept = cache.get(&asked, now).unwrap();
        assert_eq!(kept.first_chunk(), Some(&7_u16.to_be_bytes()));
        for (name, signed) in [("a.example.", None), ("a.example.", Some(true)), ("A.example.", Some(false))] {
            assert_eq!(cache.get(&query(name, signed), now), None, "{name} {signed:?}");
        }
        let mut trusting = asked.clone();
        trusting.metadata.authentic_data = true;
        assert_eq!(cache.get(&trusting, now), None, "whether it was verified");
        assert_eq!(cache.get(&asked, now + LONGEST), None);
        let asked = query("b.example.", Some(false));
        cache.put(&asked, &answer(&asked, true), now);
        assert_eq!(cache.get(&asked, now), None, "it has a cookie");
    }
}
