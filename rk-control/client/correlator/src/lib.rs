//! Which Events are written, and as what, by the rules and numbers of upstream's recorders (`EventCorrelator` of client-go): what repeats
//! raises the count of one Event, what differs by its message alone is told as one after a while, and a flood about one object is
//! dropped. Values only: no IO, and no clock of its own.
//!
//! All that is remembered is of bounded size: keys and messages are kept as hashes, by a hash of this process's own.

mod recent;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;

use recent::Recent;

/// How many Events, groups of similar ones, and objects are remembered.
const REMEMBERED: usize = 4096;
/// With so many different messages, each within [`WINDOW`] of the one before, similar Events are told as one.
const SIMILAR: usize = 10;
const WINDOW: Duration = Duration::from_secs(600);
/// Of what one reporter tells of one object: so much at once, then one in so long.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// How the message of one for many begins.
const COMBINED: &str = "(combined from similar events): ";
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 1024;

/// Something to be told by an Event.
#[derive(Clone, Copy, Debug)]
pub struct Occurrence<'a> {
    /// Who tells it of what: component, host, and the object's kind, namespace, name, UID and version of the API.
    pub about: &'a [&'a str],
    /// The part of the object, if it is about one.
    pub field_path: &'a str,
    /// `Normal` or `Warning`.
    pub type_: &'a str,
    /// One word.
    pub reason: &'a str,
    /// For people.
    pub message: &'a str,
}

/// How it is to be told. `W` is what is remembered of an Event that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<W> {
    /// For [`Correlator::wrote`].
    pub key: u64,
    /// The message, no longer than the server takes it.
    pub message: String,
    /// How often it occurred, this time included.
    pub count: i32,
    /// When it occurred first.
    pub first: Timestamp,
    /// The Event that is to be changed; a new one is to be made if there is none.
    pub written: Option<W>,
}

struct Seen<W> {
    count: i32,
    first: Timestamp,
    written: Option<W>,
}

struct Similar {
    messages: HashSet<u64>,
    last: Timestamp,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

/// What a recorder remembers.
pub struct Correlator<W> {
    hash: RandomState,
    similar: Recent<Similar>,
    seen: Recent<Seen<W>>,
    buckets: Recent<Bucket>,
}

impl<W> Default for Correlator<W> {
    fn default() -> Self {
        Self {
            hash: RandomState::new(),
            similar: Recent::new(REMEMBERED),
            seen: Recent::new(REMEMBERED),
            buckets: Recent::new(REMEMBERED),
        }
    }
}

impl<W: Clone> Correlator<W> {
    /// How it is to be told that this occurred now; `None` when it is not. It counts either way.
    pub fn correlate(&mut self, occurrence: &Occurrence<'_>, now: Timestamp) -> Option<Told<W>> {
        let (key, message) = self.combine(occurrence, now);
        let seen = self.seen.get(key, || Seen { count: 0, first: now, written: None });
        seen.count = seen.count.saturating_add(1);
        let told = Told { key, message, count: seen.count, first: seen.first, written: seen.written.clone() };
        let bucket = self.buckets.get(self.hash.hash_one(occurrence.about), || Bucket { tokens: BURST, at: now });
        bucket.take(now).then_some(told)
    }

    /// An Event was written for what was told by this key.
    pub fn wrote(&mut self, key: u64, written: W) {
        if let Some(seen) = self.seen.find(key) {
            seen.written = Some(written);
        }
    }

    /// Under which key it is remembered, and its message: its own ones, or those of all that are like it.
    fn combine(&mut self, occurrence: &Occurrence<'_>, now: Timestamp) -> (u64, String) {
        let Occurrence { about, field_path, type_, reason, message } = *occurrence;
        let alike = self.hash.hash_one((about, type_, reason));
        let own = self.hash.hash_one(message);
        let similar = self.similar.get(alike, || Similar { messages: HashSet::new(), last: now });
        if elapsed(now, similar.last) > WINDOW {
            similar.messages.clear();
        }
        similar.last = now;
        similar.messages.insert(own);
        if similar.messages.len() < SIMILAR {
            return (self.hash.hash_one((alike, field_path, own)), bounded(message).to_owned());
        }
        // The set grows no further, and what was in it before is told as itself.
        similar.messages.remove(&own);
        (alike, bounded(&format!("{COMBINED}{message}")).to_owned())
    }
}

impl Bucket {
    /// Takes a token, if there is one.
    fn take(&mut self, now: Timestamp) -> bool {
        let refill = elapsed(now, self.at).as_secs_f64() / REFILL.as_secs_f64();
        self.tokens = (self.tokens + refill).min(BURST);
        self.at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// None when the clock went back.
fn elapsed(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// The part of a message that the server takes.
pub fn bounded(message: &str) -> &str {
    let end = (0..=MAX_MESSAGE.min(message.len())).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    message.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: [&str; 4] = ["kubelet", "n1", "Pod", "p"];

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn about<'a>(about: &'a [&'a str], reason: &'a str, message: &'a str) -> Occurrence<'a> {
        Occurrence { about, field_path: "", type_: "Normal", reason, message }
    }

    /// Tells these messages of a pod, each at its second, with what is written remembered; as message and count.
    fn tell(correlator: &mut Correlator<String>, messages: &[(i64, &str)]) -> Vec<Option<(String, i32)>> {
        let one = |(second, message): &(i64, &str)| {
            let told = correlator.correlate(&about(&POD, "R", message), at(*second))?;
            correlator.wrote(told.key, told.message.clone());
            Some((told.message, told.count))
        };
        messages.iter().map(one).collect()
    }

    fn told(message: &str, count: i32) -> Option<(String, i32)> {
        Some((message.to_owned(), count))
    }

    #[test]
    fn what_repeats_is_counted_and_written_in_the_place_of_what_was_written() {
        let mut correlator = Correlator::default();
        let first = correlator.correlate(&about(&POD, "R", "m"), at(1)).unwrap();
        assert_eq!((first.count, first.first, &first.written), (1, at(1), &None));
        correlator.wrote(first.key, "event-1".to_owned());
        let again = correlator.correlate(&about(&POD, "R", "m"), at(5)).unwrap();
        assert_eq!(again, Told { count: 2, written: Some("event-1".to_owned()), ..first.clone() });
        let of_part = Occurrence { field_path: "spec.containers{a}", ..about(&POD, "R", "m") };
        for other in [
            of_part,
            about(&POD, "S", "m"),
            about(&POD, "R", "n"),
            about(&POD[..3], "R", "m"),
            Occurrence { type_: "Warning", ..about(&POD, "R", "m") },
        ] {
            let told = correlator.correlate(&other, at(5)).unwrap();
            assert_eq!((told.count, told.written), (1, None), "{other:?}");
        }
    }

    #[test]
    fn the_tenth_message_of_a_kind_and_all_after_it_are_one() {
        let mut correlator = Correlator::default();
        let different: Vec<String> = (1..=13).map(|n| format!("message {n}")).collect();
        let messages: Vec<(i64, &str)> = different.iter().map(|message| (0, message.as_str())).collect();
        let got = tell(&mut correlator, &messages);
        for (n, got) in (1..).zip(&got) {
            let want = match n {
                ..10 => told(&format!("message {n}"), 1),
                _ => told(&format!("(combined from similar events): message {n}"), n - 9),
            };
            assert_eq!(*got, want, "{n}");
        }
        for (what, second, message, want) in [
            ("one of before is itself", 1, "message 3", told("message 3", 2)),
            ("within the window of the last", 600, "x", told("(combined from similar events): x", 5)),
            ("each is the last", 1200, "y", told("(combined from similar events): y", 6)),
            ("after a window they are new", 1801, "z", told("z", 1)),
        ] {
            assert_eq!(tell(&mut correlator, &[(second, message)]), [want], "{what}");
        }
        let other = about(&POD, "S", "message 14");
        assert_eq!(correlator.correlate(&other, at(0)).map(|told| told.message).as_deref(), Some("message 14"));
    }

    #[test]
    fn an_object_that_floods_is_silenced_after_its_burst_and_what_it_did_counts() {
        let mut correlator = Correlator::default();
        let flood = vec![(0, "m"); 100];
        let got = tell(&mut correlator, &flood);
        assert_eq!(got.iter().flatten().count(), 25);
        assert_eq!(tell(&mut correlator, &[(299, "m"), (301, "m"), (301, "m")]), [None, told("m", 102), None]);
        assert!(correlator.correlate(&about(&["kubelet", "n1", "Pod", "q"], "R", "m"), at(301)).is_some());
        assert_eq!(tell(&mut correlator, &[(0, "m")]), [None], "a clock that goes back gives nothing");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut correlator: Correlator<String> = Correlator::default();
        let names: Vec<String> = (0..=REMEMBERED).map(|n| n.to_string()).collect();
        for name in &names {
            assert!(correlator.correlate(&about(&[name.as_str()], "R", "m"), at(0)).is_some());
        }
        for (name, count) in [(&names[REMEMBERED], 2), (&names[0], 1)] {
            let told = correlator.correlate(&about(&[name.as_str()], "R", "m"), at(0));
            assert_eq!(told.map(|told| told.count), Some(count), "{name}");
        }
    }

    #[test]
    fn a_message_ends_with_a_whole_letter_within_what_the_server_takes() {
        for (message, bytes) in [("a".repeat(1024), 1024), ("a".repeat(1025), 1024), ("ä".repeat(600), 1024)] {
            assert_eq!(bounded(&message).len(), bytes);
        }
        assert_eq!(bounded(&format!("a{}", "ä".repeat(600))).len(), 1023);
        let mut correlator: Correlator<String> = Correlator::default();
        let long: Vec<String> = (0..10).map(|n| format!("{n}{}", "x".repeat(2000))).collect();
        for message in &long {
            let told = correlator.correlate(&about(&POD, "R", message), at(0)).unwrap();
            assert_eq!(told.message.len(), 1024);
        }
    }
}
