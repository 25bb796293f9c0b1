//! What was advertised on one link and is still true. Times are milliseconds of the clock that the caller reads.

use super::MOST_ENTRIES;
use super::option::{Says, Word};
use serde::{Deserialize, Serialize};
use std::net::Ipv6Addr;

/// Entries in the order in which they were first heard, so that an advertisement that says the same again changes nothing; each with the time
/// when it ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advertised {
    resolvers: Vec<(Ipv6Addr, u64)>,
    domains: Vec<(String, u64)>,
}

impl Advertised {
    /// Takes what was said at `now`.
    pub fn hear(&mut self, now: u64, word: Word) {
        let until = match word.seconds {
            u32::MAX => u64::MAX,
            seconds => now.saturating_add(u64::from(seconds) * 1000),
        };
        match word.says {
            Says::Resolvers(all) => all.into_iter().for_each(|one| keep(&mut self.resolvers, one, until)),
            Says::Domains(all) => all.into_iter().for_each(|one| keep(&mut self.domains, one, until)),
        }
        // What was taken back ends now.
        self.expire(now);
    }

    /// Forgets what has ended. Says whether there was any.
    pub fn expire(&mut self, now: u64) -> bool {
        let before = self.resolvers.len() + self.domains.len();
        self.resolvers.retain(|(_, until)| now < *until);
        self.domains.retain(|(_, until)| now < *until);
        self.resolvers.len() + self.domains.len() < before
    }

    /// When [`Advertised::expire`] is due.
    pub fn deadline(&self) -> u64 {
        let resolvers = self.resolvers.iter().map(|(_, until)| *until);
        resolvers.chain(self.domains.iter().map(|(_, until)| *until)).min().unwrap_or(u64::MAX)
    }

    /// The resolvers.
    pub fn resolvers(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.resolvers.iter().map(|(address, _)| *address)
    }

    /// The search domains.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(|(domain, _)| domain.as_str())
    }
}

/// Where there is no room, what would end first makes it (RFC 8106, section 6.2), unless that is the new one.
fn keep<T: PartialEq>(kept: &mut Vec<(T, u64)>, one: T, until: u64) {
    if let Some((_, end)) = kept.iter_mut().find(|(known, _)| *known == one) {
        *end = until;
        return;
    }
    if kept.len() >= MOST_ENTRIES {
        let first = kept.iter().enumerate().min_by_key(|(_, (_, end))| *end);
        let Some(place) = first.filter(|(_, (_, end))| *end < until).map(|(place, _)| place) else { return };
        kept.remove(place);
    }
    kept.push((one, until));
}

#[cfg(test)]
mod tests {
    use super::super::option::tests::ip;
    use super::*;

    fn resolvers(texts: &[&str], seconds: u32) -> Word {
        Word { seconds, says: Says::Resolvers(texts.iter().map(|text| ip(text)).collect()) }
    }

    fn known(advertised: &Advertised) -> Vec<String> {
        advertised.resolvers().map(|address| address.to_string()).collect()
    }

    #[test]
    fn what_is_advertised_ends_with_its_lifetime_or_when_it_is_taken_back() {
        let mut advertised = Advertised::default();
        advertised.hear(1_000, resolvers(&["fd00::1", "fd00::2"], 10));
        advertised.hear(1_000, Word { seconds: u32::MAX, says: Says::Domains(vec!["one.example".to_owned()]) });
        assert_eq!(advertised.deadline(), 11_000);
        // The same again lasts longer and stays where it was.
        advertised.hear(5_000, resolvers(&["fd00::1"], 10));
        assert_eq!((known(&advertised), advertised.deadline()), (vec!["fd00::1".into(), "fd00::2".into()], 11_000));
        assert!(!advertised.expire(10_999));
        assert!(advertised.expire(11_000));
        assert_eq!(known(&advertised), ["fd00::1"]);
        advertised.hear(12_000, resolvers(&["fd00::1", "fd00::3"], 0));
        assert!(known(&advertised).is_empty());
        assert_eq!(advertised.deadline(), u64::MAX);
        assert!(!advertised.expire(u64::MAX - 1));
        assert_eq!(advertised.domains().collect::<Vec<_>>(), ["one.example"]);
        advertised.hear(13_000, Word { seconds: 0, says: Says::Domains(vec!["one.example".to_owned()]) });
        assert_eq!(advertised, Advertised::default());
    }

    #[test]
    fn a_link_keeps_a_few_and_those_that_last_longest() {
        let mut advertised = Advertised::default();
        for number in 1..=MOST_ENTRIES {
            let seconds = if number == 3 { 50 } else { 100 };
            let text = format!("fd00::{number}");
            advertised.hear(0, resolvers(&[text.as_str()], seconds));
        }
        advertised.hear(0, resolvers(&["fd00::a"], 40));
        assert!(!known(&advertised).contains(&"fd00::a".to_owned()), "it ends before all others");
        advertised.hear(0, resolvers(&["fd00::b"], 60));
        let now = known(&advertised);
        assert_eq!((now.len(), now.last().map(String::as_str)), (MOST_ENTRIES, Some("fd00::b")));
        assert!(!now.contains(&"fd00::3".to_owned()), "{now:?}");
    }

    #[test]
    fn what_is_noted_reads_back() {
        let mut advertised = Advertised::default();
        advertised.hear(0, resolvers(&["fd00::1"], u32::MAX));
        let bytes = serde_json::to_vec(&advertised).unwrap();
        assert_eq!(serde_json::from_slice::<Advertised>(&bytes).unwrap(), advertised);
    }
}
