//! `/healthz` and `/metrics/slis`: checks that look, and how often they found what.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use http::{Response, StatusCode};

use super::body::{Body, text};
use super::metrics::Text;
use crate::heartbeat::Heartbeat;

/// A check's name and what it found.
type Found = (&'static str, Result<(), String>);

/// The checks of this kubelet, and what they found so far.
pub struct Health {
    sync_loop: Heartbeat,
    seen: Mutex<BTreeMap<&'static str, Seen>>,
}

/// What one check found so far.
#[derive(Clone, Copy, Default)]
struct Seen {
    well: bool,
    successes: u64,
    errors: u64,
}

impl Health {
    /// Checks that ask this loop.
    pub fn new(sync_loop: Heartbeat) -> Self {
        Self { sync_loop, seen: Mutex::default() }
    }

    fn checks(&self) -> [Found; 2] {
        [("ping", Ok(())), ("syncloop", self.sync_loop.check())]
    }

    /// Answers `/healthz`, or one check by its name.
    pub fn answer(&self, name: Option<&str>, query: Option<&str>) -> Response<Body> {
        let found = self.checks();
        let (status, words) = match name {
            Some(name) => one(&found, name),
            None => {
                self.note(&found);
                all(&found, query.unwrap_or_default())
            }
        };
        text(status, words)
    }

    fn note(&self, found: &[Found]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, result) in found {
            let seen = seen.entry(*name).or_default();
            seen.well = result.is_ok();
            *if seen.well { &mut seen.successes } else { &mut seen.errors } += 1;
        }
    }

    /// What the checks found, for whoever reckons how well it goes.
    pub fn metrics(&self) -> Response<Body> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut page = Text::default();
        page.head(
            "kubernetes_healthcheck",
            "[STABLE] This metric records the result of a single healthcheck.",
            "gauge",
        );
        for (name, seen) in &seen {
            page.sample(
                "kubernetes_healthcheck",
                &[("name", *name), ("type", "healthz")],
                f64::from(u8::from(seen.well)),
            );
        }
        let help = "[STABLE] This metric records the results of all healthcheck.";
        page.head("kubernetes_healthchecks_total", help, "counter");
        for (name, seen) in &seen {
            for (status, count) in [("error", seen.errors), ("success", seen.successes)].into_iter().filter(|c| c.1 > 0)
            {
                let labels = [("name", *name), ("status", status), ("type", "healthz")];
                page.sample("kubernetes_healthchecks_total", &labels, count as f64);
            }
        }
        page.done()
    }
}

fn one(found: &[Found], name: &str) -> (StatusCode, String) {
    match found.iter().find(|(check, _)| *check == name) {
        Some((_, Ok(()))) => (StatusCode::OK, "ok".to_owned()),
        Some((_, Err(problem))) => (StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {problem}\n")),
        None => (StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
    }
}

/// All of them, as upstream words it: a failure is told check by check, without its reason.
fn all(found: &[Found], query: &str) -> (StatusCode, String) {
    let pairs = || query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let excluded: Vec<&str> = pairs().filter(|(key, _)| *key == "exclude").map(|(_, name)| name).collect();
    let mut lines = String::new();
    let mut well = true;
    for (name, result) in found {
        let line = match result {
            _ if excluded.contains(name) => format!("[+]{name} excluded: ok\n"),
            Ok(()) => format!("[+]{name} ok\n"),
            Err(problem) => {
                tracing::warn!(check = %name, "a health check failed: {problem}");
                well = false;
                format!("[-]{name} failed: reason withheld\n")
            }
        };
        lines.push_str(&line);
    }
    let unknown: Vec<String> = excluded
        .iter()
        .filter(|name| !found.iter().any(|(check, _)| check == *name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        let names = unknown.join(",");
        lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    match well {
        false => (StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}healthz check failed\n")),
        true if pairs().any(|(key, _)| key == "verbose") => (StatusCode::OK, format!("{lines}healthz check passed\n")),
        true => (StatusCode::OK, "ok".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_told_as_upstream_words_it() {
        let well: [Found; 2] = [("ping", Ok(())), ("syncloop", Ok(()))];
        let ill: [Found; 2] = [("ping", Ok(())), ("syncloop", Err("stuck".to_owned()))];
        let (good, bad) = (StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR);
        for (found, query, status, words) in [
            (&well, "", good, "ok"),
            (&well, "verbose", good, "[+]ping ok\n[+]syncloop ok\nhealthz check passed\n"),
            (&ill, "", bad, "[+]ping ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n"),
            (&ill, "exclude=syncloop", good, "ok"),
            (
                &well,
                "verbose=1&exclude=pears",
                good,
                "[+]ping ok\n[+]syncloop ok\nwarn: some health checks cannot be excluded: no matches for \"pears\"\nhealthz check passed\n",
            ),
        ] {
            assert_eq!(all(found, query), (status, words.to_owned()), "{query}");
        }
        assert_eq!(one(&ill, "ping"), (good, "ok".to_owned()));
        assert_eq!(one(&ill, "syncloop"), (bad, "internal server error: stuck\n".to_owned()));
        assert_eq!(one(&ill, "pears").0, StatusCode::NOT_FOUND);
    }

    #[test]
    fn what_checks_found_is_counted() {
        let health = Health::new(Heartbeat::default());
        health.note(&[("syncloop", Ok(()))]);
        health.note(&[("syncloop", Err("stuck".to_owned()))]);
        health.note(&[("syncloop", Err("stuck".to_owned()))]);
        let seen = health.seen.lock().unwrap();
        let of = seen.get("syncloop").copied().unwrap();
        assert_eq!((of.well, of.successes, of.errors), (false, 1, 2));
    }
}
