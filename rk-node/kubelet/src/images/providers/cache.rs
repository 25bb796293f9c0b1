//! Answers of one plugin for as long as they hold. Values and a clock from outside.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exec::{Answer, CacheKey, Login};
use super::places::registry;

/// Answers kept at most; beyond it all are forgotten, which costs only runs of the plugin.
const MOST: usize = 1024;

/// Logins by the place that they are for.
pub type Logins = Arc<BTreeMap<String, Login>>;

/// What an answer holds for.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Image(String),
    Registry(String),
    Global,
}

/// Answers by what they hold for, and by whom they are for.
#[derive(Default)]
pub struct Cache(HashMap<(Key, String), (Instant, Logins)>);

impl Cache {
    /// What is known for an image and an account (empty when the plugin is told none): the closest answer first.
    pub fn get(&self, image: &str, account: &str, now: Instant) -> Option<Logins> {
        let keys = [Key::Image(image.to_owned()), Key::Registry(registry(image).to_owned()), Key::Global];
        let known = |key: Key| self.0.get(&(key, account.to_owned())).filter(|(until, _)| now <= *until);
        keys.into_iter().find_map(known).map(|(_, logins)| logins.clone())
    }

    /// Keeps an answer, unless it holds for no time at all.
    pub fn put(&mut self, image: &str, account: &str, answer: Answer, default: Duration, now: Instant) -> Logins {
        let logins = Arc::new(answer.auth);
        let holds = answer.holds.unwrap_or(default);
        let Some(until) = now.checked_add(holds).filter(|_| !holds.is_zero()) else { return logins };
        self.0.retain(|_, (until, _)| now <= *until);
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let key = match answer.key {
            CacheKey::Image => Key::Image(image.to_owned()),
            CacheKey::Registry => Key::Registry(registry(image).to_owned()),
            CacheKey::Global => Key::Global,
        };
        self.0.insert((key, account.to_owned()), (until, logins.clone()));
        logins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_what_it_says_and_as_long() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let answer = |key, holds: Option<u64>| Answer {
            key,
            holds: holds.map(Duration::from_secs),
            auth: [("r.io".to_owned(), Login { username: "u".into(), password: "p".into() })].into(),
        };
        for (key, same_registry, other) in
            [(CacheKey::Image, false, false), (CacheKey::Registry, true, false), (CacheKey::Global, true, true)]
        {
            let mut cache = Cache::default();
            cache.put("r.io/a", "", answer(key, Some(10)), Duration::ZERO, start);
            assert!(cache.get("r.io/a", "", at(10)).is_some(), "{key:?}");
            assert!(cache.get("r.io/a", "", at(11)).is_none(), "{key:?}: it is over");
            assert!(cache.get("r.io/a", "n/other", start).is_none(), "{key:?}: for somebody else");
            assert_eq!(cache.get("r.io/b", "", start).is_some(), same_registry, "{key:?}");
            assert_eq!(cache.get("s.io/a", "", start).is_some(), other, "{key:?}");
        }
        let mut cache = Cache::default();
        cache.put("r.io/a", "", answer(CacheKey::Image, Some(0)), Duration::from_secs(9), start);
        assert!(cache.get("r.io/a", "", start).is_none(), "it said not to keep it");
        cache.put("r.io/a", "", answer(CacheKey::Image, None), Duration::from_secs(9), start);
        assert!(cache.get("r.io/a", "", at(9)).is_some(), "the default");
    }
}
