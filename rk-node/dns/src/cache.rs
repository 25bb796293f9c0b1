//! A small cache of upstream answers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::RecordType;

/// How many answers are kept; the cache is emptied when it is full.
const ENTRIES: usize = 1024;
/// The longest an answer is kept, whatever its TTL says.
const LONGEST: Duration = Duration::from_secs(30);

type Key = (String, RecordType);

/// Packets by question.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<Key, (Instant, Vec<u8>)>>);

impl Cache {
    /// A kept answer, under the id of the present query.
    pub(crate) fn get(&self, question: &Query, id: [u8; 2], now: Instant) -> Option<Vec<u8>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, packet) = entries.get(&key(question))?;
        if *until <= now {
            return None;
        }
        let mut packet = packet.clone();
        packet.get_mut(..2)?.copy_from_slice(&id);
        Some(packet)
    }

    /// Keeps an answer for as long as its shortest TTL allows. Failures are not kept.
    pub(crate) fn put(&self, question: &Query, packet: &[u8], now: Instant) {
        let Ok(message) = Message::from_vec(packet) else { return };
        let kept = matches!(message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        let shortest = message.answers.iter().chain(&message.authorities).map(|record| record.ttl).min();
        let Some(ttl) = shortest.filter(|_| kept && !message.metadata.truncation) else { return };
        let until = now + Duration::from_secs(ttl.into()).min(LONGEST);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES {
            entries.clear();
        }
        entries.insert(key(question), (until, packet.to_vec()));
    }
}

fn key(question: &Query) -> Key {
    (question.name.to_ascii().to_ascii_lowercase(), question.query_type)
}
