//! `/healthz`, `/livez`, `/readyz`: what works, check by check, in upstream's format.

mod checks;

pub use checks::{Hook, paths};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::sync::watch;

use self::checks::{Check, ENDPOINTS, Rule};
use crate::http::{Body, Query, plain_response, text_response};
use crate::metrics::help;
use crate::server::Core;

/// What must be true before the server is ready.
pub struct Health {
    bootstrapped: watch::Sender<bool>,
    /// The work of the start that is done.
    done: Mutex<BTreeSet<Hook>>,
    /// By check and endpoint; both come from tables.
    told: Mutex<BTreeMap<(&'static str, &'static str), Told>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { bootstrapped: watch::Sender::new(false), done: Mutex::default(), told: Mutex::default() }
    }
}

/// What a check has found so far.
#[derive(Default)]
struct Told {
    well: bool,
    successes: u64,
    failures: u64,
}

/// Read, and never written, to see that the store answers.
const HEALTH_KEY: &str = "/registry/health";

/// How long the store may take to answer.
const STORE_LIMIT: Duration = Duration::from_secs(2);

impl Health {
    /// Whether a path is one of the probes.
    #[must_use]
    pub fn is_probe(&self, path: &str) -> bool {
        matches!(path, "/healthz" | "/livez" | "/readyz")
    }

    /// The objects that every cluster has are there.
    pub fn set_bootstrapped(&self) {
        self.bootstrapped.send_replace(true);
    }

    /// Whether they are.
    #[must_use]
    pub fn is_bootstrapped(&self) -> bool {
        *self.bootstrapped.borrow()
    }

    /// A part of the start is done.
    pub fn finish(&self, hook: Hook) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(hook);
    }

    fn is_done(&self, hook: Hook) -> bool {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).contains(&hook)
    }

    /// Waits until they are, for `limit` at most.
    pub async fn wait_bootstrapped(&self, limit: Duration) {
        let mut bootstrapped = self.bootstrapped.subscribe();
        // Who waited in vain goes on and finds what is there.
        let _ = tokio::time::timeout(limit, bootstrapped.wait_for(|done| *done)).await;
    }

    async fn judge(&self, core: &Core, endpoint: &str, check: &Check) -> Result<(), &'static str> {
        let verdict = self.verdict(core, check.rule).await;
        if let Some(endpoint) = ENDPOINTS.into_iter().find(|known| *known == endpoint) {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let own = told.entry((check.name, endpoint)).or_default();
            own.well = verdict.is_ok();
            *if verdict.is_ok() { &mut own.successes } else { &mut own.failures } += 1;
        }
        verdict
    }

    /// What the checks said, as figures.
    pub fn render(&self, out: &mut String) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        help(out, "kubernetes_healthcheck", "gauge", "What a check said last; 1 is well.");
        for ((name, endpoint), own) in &*told {
            let well = u8::from(own.well);
            let _ = writeln!(out, "kubernetes_healthcheck{{name=\"{name}\",type=\"{endpoint}\"}} {well}");
        }
        help(out, "kubernetes_healthchecks_total", "counter", "How often a check said what.");
        for ((name, endpoint), own) in &*told {
            for (status, count) in [("success", own.successes), ("error", own.failures)] {
                let labels = format!("name=\"{name}\",status=\"{status}\",type=\"{endpoint}\"");
                let _ = writeln!(out, "kubernetes_healthchecks_total{{{labels}}} {count}");
            }
        }
    }

    async fn verdict(&self, core: &Core, rule: Rule) -> Result<(), &'static str> {
        let (holds, why) = match rule {
            Rule::Answers => (true, ""),
            Rule::Store => return readable(core).await,
            Rule::Bootstrapped => (self.is_bootstrapped(), "not finished"),
            Rule::Done(hook) => (self.is_done(hook), "not finished"),
            Rule::Stays => (!core.shutdown.is_cancelled(), "process is shutting down"),
        };
        if holds { Ok(()) } else { Err(why) }
    }

    /// Serves one of the three paths, or one check below it. `None` for an unknown check.
    pub async fn serve(&self, core: &Core, path: &str, query: &Query) -> Option<Response<Body>> {
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let endpoint = parts.next()?;
        match parts.next().filter(|name| !name.is_empty()) {
            Some(one) => self.one(core, endpoint, one).await,
            None => Some(self.all(core, endpoint, query).await),
        }
    }

    /// One check: who may ask for it may know why it fails.
    async fn one(&self, core: &Core, endpoint: &str, name: &str) -> Option<Response<Body>> {
        let check = checks::of(endpoint).find(|check| check.name == name)?;
        Some(match self.judge(core, endpoint, check).await {
            Ok(()) => text_response(StatusCode::OK, "ok"),
            Err(why) => failure(format!("internal server error: {why}\n")),
        })
    }

    /// All checks, but those that are excluded by name.
    async fn all(&self, core: &Core, endpoint: &str, query: &Query) -> Response<Body> {
        let mut excluded: BTreeSet<&str> = query.all("exclude").collect();
        let mut text = String::new();
        let mut failed = Vec::new();
        for check in checks::of(endpoint) {
            if excluded.remove(check.name) {
                let _ = writeln!(text, "[+]{} excluded: ok", check.name);
                continue;
            }
            match self.judge(core, endpoint, check).await {
                Ok(()) => {
                    let _ = writeln!(text, "[+]{} ok", check.name);
                }
                Err(why) => {
                    failed.push(check.name);
                    tracing::debug!(endpoint, check = check.name, why, "a health check fails");
                    let _ = writeln!(text, "[-]{} failed: reason withheld", check.name);
                }
            }
        }
        if !excluded.is_empty() {
            let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
            let _ = writeln!(text, "warn: some health checks cannot be excluded: no matches for {}", names.join(","));
        }
        if !failed.is_empty() {
            let _ = writeln!(text, "{endpoint} check failed");
            return failure(text);
        }
        if query.get("verbose").is_some() {
            let _ = writeln!(text, "{endpoint} check passed");
            return plain_response(StatusCode::OK, text);
        }
        plain_response(StatusCode::OK, "ok".to_owned())
    }
}

fn failure(text: String) -> Response<Body> {
    plain_response(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// Whether the store can be read.
async fn readable(core: &Core) -> Result<(), &'static str> {
    match tokio::time::timeout(STORE_LIMIT, core.storage.store().get(HEALTH_KEY)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err("the store cannot be read"),
        Err(_) => Err("the store did not answer in time"),
    }
}
