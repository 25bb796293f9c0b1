//! What is known of one request under way. It lives as long as somebody serves the request; the last who lets go of it makes the last event.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Response, Uri};
use jiff::Timestamp;
use rk_api::meta;
use serde_json::{Value, json};

use super::event::{AuthenticationMetadata, Event, ObjectRef, UserInfo};
use super::policy::{Decision, Level, Stage};
use super::watched::{Watched, watched};
use super::{Audit, object};
use crate::authn::User;
use crate::deadline;
use crate::http::{Body, Connection, RequestInfo};

/// Longest user agent that is shown, in characters; upstream's figure.
const MOST_AGENT: usize = 1024;
/// The annotation of an event whose body is not shown whole.
const TRUNCATED: &str = "audit.k8s.io/truncated";
/// Annotations of authorization.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

tokio::task_local! {
    /// The record of the request that this task serves.
    pub(super) static CURRENT: Arc<Recording>;
}

/// Does something to the record of the request under way, if it is recorded.
pub(super) fn with(act: impl FnOnce(&mut State)) {
    let _ = CURRENT.try_with(|recording| recording.lock().as_mut().map(act));
}

/// A request as it came.
pub struct Asked<'a> {
    /// Where to.
    pub uri: &'a Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// What it came on.
    pub connection: &'a Connection,
    /// What it asks for.
    pub info: &'a RequestInfo,
}

/// One request under way.
pub struct Recording {
    audit: Arc<Audit>,
    id: String,
    received: Timestamp,
    /// `None` until it is known who asks, and of requests that the policy does not want.
    state: Mutex<Option<State>>,
}

/// What is known of a request that the policy wants.
pub(super) struct State {
    event: Event,
    decision: Decision,
    /// Whether it lasts: its beginning is an event too.
    lasts: bool,
    /// Whether its credentials are valid. If not there is one event alone, as upstream has it.
    known: bool,
    started: bool,
}

impl Recording {
    pub(super) fn new(audit: Arc<Audit>, id: &HeaderValue) -> Self {
        let id = String::from_utf8_lossy(id.as_bytes()).into_owned();
        Self { audit, id, received: Timestamp::now(), state: Mutex::new(None) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, asked: &Asked<'_>, user: Option<&User>) -> Level {
        let decision = self.audit.policy.decide(user, asked.info);
        self.audit.figures.level(decision.level);
        if decision.level == Level::None {
            return Level::None;
        }
        let info = asked.info;
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: decision.level,
            audit_id: self.id.clone(),
            stage: Stage::RequestReceived,
            request_uri: asked.uri.path_and_query().map_or_else(|| "/".to_owned(), |own| own.as_str().to_owned()),
            verb: info.verb.clone(),
            user: user.map(UserInfo::from).unwrap_or_default(),
            impersonated_user: None,
            authentication_metadata: None,
            source_ips: sources(asked.headers, asked.connection),
            user_agent: agent(asked.headers),
            object_ref: info.resource.as_ref().map(ObjectRef::from),
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: self.received,
            stage_timestamp: self.received,
            annotations: BTreeMap::new(),
        };
        let lasts = deadline::lasts(&info.verb, info.resource.as_ref());
        let mut state = State { event, decision, lasts, known: user.is_some(), started: false };
        if state.known {
            state.emit(&self.audit, Stage::RequestReceived);
        }
        *self.lock() = Some(state);
        decision.level
    }

    /// The headers of the answer are there.
    pub(super) fn answered(self: Arc<Self>, response: Response<Body>) -> Response<Body> {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return response };
        state.coded(response.status().as_u16());
        if state.lasts || !state.known {
            state.start(&self.audit);
        }
        let shown = state.event.level == Level::RequestResponse && state.event.object_ref.is_some();
        let (lasts, shown) = (state.lasts, shown && state.known && !state.lasts);
        drop(guard);
        if lasts {
            return response.map(|body| watched(body, Watched::until_its_end(self)));
        }
        if shown {
            let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let content_type = header.unwrap_or_default().to_owned();
            return response.map(|body| watched(body, Watched::with_its_bytes(self, content_type)));
        }
        response
    }

    /// What was answered; `None` when it is too long to be shown.
    pub(super) fn responded(&self, content_type: &str, body: Option<&[u8]>) {
        if let Some(state) = self.lock().as_mut() {
            state.responded(content_type, body);
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut state) = state.filter(|state| state.known) else { return };
        if state.event.response_status.is_none() && std::thread::panicking() {
            state.event.response_status = Some(json!({
                "metadata": {}, "status": "Failure", "message": "APIServer panic'd", "reason": "InternalError", "code": 500,
            }));
            state.emit(&self.audit, Stage::Panic);
            return;
        }
        if state.event.response_status.is_none() {
            let early = json!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200});
            state.event.response_status = Some(early);
        }
        if state.lasts {
            state.start(&self.audit);
        }
        state.emit(&self.audit, Stage::ResponseComplete);
    }
}

impl State {
    fn emit(&mut self, audit: &Audit, stage: Stage) {
        if self.decision.omit.contains(stage) {
            return;
        }
        self.event.stage = stage;
        if stage != Stage::RequestReceived {
            self.event.stage_timestamp = Timestamp::now();
        }
        audit.submit(&self.event);
    }

    /// Tells once that the answer has begun.
    fn start(&mut self, audit: &Audit) {
        if !std::mem::replace(&mut self.started, true) {
            self.emit(audit, Stage::ResponseStarted);
        }
    }

    fn coded(&mut self, code: u16) {
        match &mut self.event.response_status {
            Some(status) => status["code"] = json!(code),
            None => self.event.response_status = Some(json!({"metadata": {}, "code": code})),
        }
    }

    pub(super) fn impersonated(&mut self, user: &User, constraint: &str) {
        self.event.impersonated_user = Some(UserInfo::from(user));
        if !constraint.is_empty() {
            let impersonation_constraint = constraint.to_owned();
            self.event.authentication_metadata = Some(AuthenticationMetadata { impersonation_constraint });
        }
    }

    pub(super) fn sent(&mut self, body: &Value, complete: impl FnOnce(&mut Value)) {
        if let Some(about) = &mut self.event.object_ref {
            let own = [
                (&mut about.namespace, meta::namespace(body)),
                (&mut about.name, meta::name(body)),
                (&mut about.uid, meta::uid(body)),
                (&mut about.resource_version, meta::resource_version(body)),
            ];
            for (field, told) in own.into_iter().filter(|(field, _)| field.is_empty()) {
                told.clone_into(field);
            }
        }
        self.show(body, complete);
    }

    pub(super) fn patch(&mut self, body: &Value) {
        self.show(body, |_| {});
    }

    /// The first body stays: what the server asks of itself meanwhile is not what was sent.
    fn show(&mut self, body: &Value, complete: impl FnOnce(&mut Value)) {
        if self.event.level >= Level::Request && self.event.request_object.is_none() {
            let mut body = body.clone();
            complete(&mut body);
            self.event.request_object = Some(self.shown(body));
        }
    }

    fn shown(&self, mut body: Value) -> Value {
        if self.decision.omit_managed {
            object::forget_managed(&mut body);
        }
        body
    }

    fn responded(&mut self, content_type: &str, body: Option<&[u8]>) {
        match body {
            Some(body) => {
                self.event.response_object = object::of_answer(content_type, body).map(|body| self.shown(body));
            }
            None => self.annotate(TRUNCATED, || "true".to_owned()),
        }
    }

    /// Takes over what a `Status` says, but what it is. Where the answer would have lasted it is all that there is of one.
    pub(super) fn told(&mut self, mut status: Value) {
        if self.lasts && self.known && self.event.level == Level::RequestResponse && self.event.object_ref.is_some() {
            self.event.response_object = Some(status.clone());
        }
        if let Some(fields) = status.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        self.event.response_status = Some(status);
    }

    pub(super) fn annotate(&mut self, key: &str, value: impl FnOnce() -> String) {
        if !self.event.annotations.contains_key(key) {
            self.event.annotations.insert(key.to_owned(), value());
        }
    }

    pub(super) fn judged(&mut self, allowed: Option<bool>, why: &str) {
        let decision = match allowed {
            Some(true) => "allow",
            Some(false) => "forbid",
            None => {
                self.annotate(REASON, || "internal error".to_owned());
                return;
            }
        };
        self.annotate(DECISION, || decision.to_owned());
        self.annotate(REASON, || why.to_owned());
    }
}

fn agent(headers: &HeaderMap) -> String {
    let Some(value) = headers.get(USER_AGENT) else { return String::new() };
    let text = String::from_utf8_lossy(value.as_bytes());
    if text.len() <= MOST_AGENT {
        return text.into_owned();
    }
    let start: String = text.chars().take(MOST_AGENT).collect();
    format!("{start}...TRUNCATED")
}

/// Where a request comes from: what proxies say, then what the connection says. All but the last may be made up.
fn sources(headers: &HeaderMap, connection: &Connection) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let address = |text: &str| text.trim().parse::<IpAddr>().ok();
    let mut all: Vec<IpAddr> = text("x-forwarded-for").split(',').filter_map(address).collect();
    all.extend(address(text("x-real-ip")).filter(|own| !all.contains(own)));
    let remote = connection.address.map(|remote| remote.ip().to_canonical());
    all.extend(remote.filter(|own| all.last() != Some(own)));
    all.iter().map(IpAddr::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Peer;

    #[test]
    fn sources_are_proxies_and_then_the_connection() {
        let sources = |forwarded: &str, real: &str, remote: Option<&str>| {
            let mut headers = HeaderMap::new();
            for (name, value) in [("x-forwarded-for", forwarded), ("x-real-ip", real)] {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            let address = remote.map(|remote| remote.parse().unwrap());
            sources(&headers, &Connection { peer: Peer::Stranger, address }).join(" ")
        };
        for (forwarded, real, remote, wanted) in [
            ("", "", Some("192.0.2.1:5"), "192.0.2.1"),
            ("", "", Some("[::ffff:192.0.2.1]:5"), "192.0.2.1"),
            ("", "", None, ""),
            ("10.0.0.1, bad,10.0.0.2", "", Some("192.0.2.1:5"), "10.0.0.1 10.0.0.2 192.0.2.1"),
            ("10.0.0.1", "10.0.0.1", Some("10.0.0.1:5"), "10.0.0.1"),
            ("10.0.0.1", "10.0.0.3", Some("192.0.2.1:5"), "10.0.0.1 10.0.0.3 192.0.2.1"),
        ] {
            assert_eq!(sources(forwarded, real, remote), wanted);
        }
    }

    #[test]
    fn a_long_user_agent_is_cut() {
        let mut headers = HeaderMap::new();
        assert_eq!(agent(&headers), "");
        headers.insert(USER_AGENT, HeaderValue::from_str(&"a".repeat(2000)).unwrap());
        assert_eq!(agent(&headers), format!("{}...TRUNCATED", "a".repeat(1024)));
    }
}
