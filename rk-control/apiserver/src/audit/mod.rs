//! Audit: who asked for what, when, and what became of it, as events of `audit.k8s.io/v1`, one JSON line each.
//!
//! A [`Policy`] decides (pure) how much of a request is logged; [`recording`] is what is known of one request under way; [`event`] is the form;
//! [`sink`] takes lines without ever blocking and hands them to one thread, which writes them to the [`log`].
//!
//! Invariants:
//! - without an audit log, a request pays for one branch;
//! - a request never waits for its event: what does not fit into the queue is dropped and counted;
//! - the bodies of objects are in events alone, and there only as far as the policy says.

mod event;
mod figures;
mod log;
mod object;
mod policy;
mod recording;
mod sink;
#[cfg(test)]
mod tests;
mod watched;

use std::io;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response};
use rk_api::status::Status;
use serde_json::Value;

use crate::authn::User;
use crate::http::Body;
use event::Event;
use figures::Figures;
pub use log::LogConfig;
pub use policy::{Level, Policy, PolicyError};
pub use recording::{Asked, Recording};
use sink::Sink;

/// The header that carries the id of a request through several servers.
pub const AUDIT_ID: &str = "audit-id";

/// What is written, and where.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Which requests are logged, and in how much detail.
    pub policy: Policy,
    /// Where it is written.
    pub log: LogConfig,
}

/// The audit log of a server.
pub struct Audit {
    policy: Policy,
    figures: Arc<Figures>,
    sink: Sink,
}

impl Audit {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// The log cannot be opened, or no thread started.
    pub fn open(config: AuditConfig) -> io::Result<Arc<Self>> {
        let figures = Arc::new(Figures::default());
        let sink = Sink::start(config.log, Arc::clone(&figures))?;
        Ok(Arc::new(Self { policy: config.policy, figures, sink }))
    }

    /// Appends the figures in Prometheus' text format.
    pub fn render(&self, out: &mut String) {
        self.figures.render(out);
    }

    /// Waits until what was told so far is written, for a bounded time; tells whether it came to that.
    pub async fn flush(&self) -> bool {
        self.sink.flush().await
    }

    fn submit(&self, event: &Event) {
        self.figures.event();
        self.sink.send(event.line());
    }
}

/// The id of a request: the one that it brings, else a new one.
#[must_use]
pub fn id_of(headers: &HeaderMap) -> HeaderValue {
    let brought = headers.get(AUDIT_ID).filter(|id| !id.is_empty()).cloned();
    let made = || HeaderValue::from_str(&uuid::Uuid::new_v4().to_string());
    brought.or_else(|| made().ok()).unwrap_or(HeaderValue::from_static(""))
}

/// Serves a request under a record of its own; `work` finds it by the functions below.
pub async fn recorded(
    audit: &Arc<Audit>,
    id: &HeaderValue,
    work: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    let recording = Arc::new(Recording::new(Arc::clone(audit), id));
    let response = recording::CURRENT.scope(Arc::clone(&recording), work).await;
    recording.answered(response)
}

/// The request is known, and who asks it; `None` for credentials that are not valid. Tells how much is recorded of it.
pub fn begin(asked: &Asked<'_>, user: Option<&User>) -> Level {
    recording::CURRENT.try_with(|recording| recording.begin(asked, user)).unwrap_or(Level::None)
}

/// The request is served as another user than the one who asks, by this verb if a mode bounds what that may be for.
pub fn impersonated(user: &User, constraint: &str) {
    recording::with(|state| state.impersonated(user, constraint));
}

/// The object that came with the request, in the version in which it was sent; it is shown with what `complete` fills in.
pub fn request_object(object: &Value, complete: impl FnOnce(&mut Value)) {
    recording::with(|state| state.sent(object, complete));
}

/// The patch that came with the request.
pub fn request_patch(patch: &Value) {
    recording::with(|state| state.patch(patch));
}

/// The request failed.
pub fn failed(status: &Status) {
    recording::with(|state| state.told(status.to_value()));
}

/// The answer is a `Status`.
pub fn told(status: &Value) {
    recording::with(|state| state.told(status.clone()));
}

/// Notes a fact of the request; the first value of a key stays, as upstream has it.
pub fn annotate(key: &str, value: impl FnOnce() -> String) {
    recording::with(|state| state.annotate(key, value));
}

/// What the authorizers said: `None` when they failed.
pub fn judged(allowed: Option<bool>, why: &str) {
    recording::with(|state| state.judged(allowed, why));
}

/// Keeps the record of the request open for what goes on after its answer, an upgraded connection.
#[must_use]
pub fn held() -> Option<Arc<Recording>> {
    recording::CURRENT.try_with(Arc::clone).ok()
}
