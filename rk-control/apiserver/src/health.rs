//! `/healthz`, `/livez`, `/readyz`: what works, check by check, in upstream's format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::sync::watch;

use crate::http::{Body, Query, text_response};
use crate::metrics::help;
use crate::server::Core;

/// What must be true before the server is ready.
pub struct Health {
    bootstrapped: watch::Sender<bool>,
    /// By check and endpoint; both come from tables.
    told: Mutex<BTreeMap<(&'static str, &'static str), Told>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { bootstrapped: watch::Sender::new(false), told: Mutex::default() }
    }
}

/// What a check said so far.
#[derive(Default)]
struct Told {
    well: bool,
    successes: u64,
    failures: u64,
}

/// A named check.
struct Check {
    name: &'static str,
    /// Whether it counts for liveness too.
    live: bool,
}

/// Read, and never written, to see that the store answers.
const HEALTH_KEY: &str = "/registry/health";

const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

const CHECKS: &[Check] = &[
    Check { name: "ping", live: true },
    Check { name: "log", live: true },
    Check { name: "etcd", live: true },
    Check { name: "informer-sync", live: false },
    Check { name: "poststarthook/rbac/bootstrap-roles", live: true },
    Check { name: "poststarthook/start-system-namespaces-controller", live: true },
    Check { name: "shutdown", live: false },
];

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

    /// Waits until they are, for `limit` at most.
    pub async fn wait_bootstrapped(&self, limit: Duration) {
        let mut bootstrapped = self.bootstrapped.subscribe();
        // Who waited in vain goes on and finds what is there.
        let _ = tokio::time::timeout(limit, bootstrapped.wait_for(|done| *done)).await;
    }

    async fn judge(&self, core: &Core, endpoint: &str, check: &'static str) -> Result<(), &'static str> {
        let verdict = self.verdict(core, check).await;
        if let Some(endpoint) = ENDPOINTS.into_iter().find(|known| *known == endpoint) {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let own = told.entry((check, endpoint)).or_default();
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

    async fn verdict(&self, core: &Core, check: &str) -> Result<(), &'static str> {
        match check {
            // The store is named after what upstream's monitoring looks for.
            "etcd" => {
                match tokio::time::timeout(std::time::Duration::from_secs(2), core.storage.store().get(HEALTH_KEY))
                    .await
                {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(_)) => Err("the store cannot be read"),
                    Err(_) => Err("the store did not answer in time"),
                }
            }
            "informer-sync"
            | "poststarthook/rbac/bootstrap-roles"
            | "poststarthook/start-system-namespaces-controller" => {
                if self.is_bootstrapped() {
                    Ok(())
                } else {
                    Err("not finished")
                }
            }
            "shutdown" => {
                if core.shutdown.is_cancelled() {
                    Err("process is shutting down")
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    /// Serves one of the three paths, or one check below it. `None` for an unknown check.
    pub async fn serve(&self, core: &Core, path: &str, query: &Query) -> Option<Response<Body>> {
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let endpoint = parts.next()?;
        let one = parts.next().filter(|name| !name.is_empty());
        let excluded: Vec<&str> = query.all("exclude").collect();
        let relevant = CHECKS.iter().filter(|check| endpoint == "readyz" || check.live);
        if let Some(one) = one {
            let check = relevant.clone().find(|check| check.name == one)?;
            return Some(match self.judge(core, endpoint, check.name).await {
                Ok(()) => text_response(StatusCode::OK, "ok"),
                Err(why) => text_response(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
            });
        }
        let mut text = String::new();
        let mut failed = Vec::new();
        for check in relevant {
            if excluded.contains(&check.name) {
                let _ = writeln!(text, "[+]{} excluded: ok", check.name);
                continue;
            }
            match self.judge(core, endpoint, check.name).await {
                Ok(()) => {
                    let _ = writeln!(text, "[+]{} ok", check.name);
                }
                Err(_) => {
                    failed.push(check.name);
                    let _ = writeln!(text, "[-]{} failed: reason withheld", check.name);
                }
            }
        }
        if !failed.is_empty() {
            let _ = writeln!(text, "{endpoint} check failed");
            return Some(text_response(StatusCode::INTERNAL_SERVER_ERROR, text));
        }
        if query.get("verbose").is_some() {
            let _ = writeln!(text, "{endpoint} check passed");
            return Some(text_response(StatusCode::OK, text));
        }
        Some(text_response(StatusCode::OK, Bytes::from_static(b"ok")))
    }
}
