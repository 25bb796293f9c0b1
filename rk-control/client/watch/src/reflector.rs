//! Listing and watching one collection as text: all of it that needs no type of the objects, so that a program has it once and not once
//! per kind. What the objects say is read by [`crate::follow`] and by caches.
//!
//! The rules are those of upstream's reflectors: a list in pages, then a watch from its revision; a revision that is too old leads back to
//! the list; everything else resumes where it stopped, with back-off.

use crate::pause::Pause;
use crate::wire::{self, Event, Failure, Page};
use futures::stream::{self, BoxStream};
use futures::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, StreamExt};
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::Request;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Objects in one page of a list.
const PAGE: u32 = 500;
/// For how long the server is asked to hold a watch, in seconds.
const WATCH: u32 = 290;
/// How long a watch that says nothing, not even a bookmark, is believed in: its own time and some for the way.
const SILENCE: Duration = Duration::from_secs(WATCH as u64 + 5);
/// The longest event, in bytes: far above what a server stores (3 MiB), so that no stream fills the memory.
const EVENT: u64 = 32 << 20;
/// A watch that ends sooner than this, without an event, means that the server is going away.
const BRIEF: Duration = Duration::from_secs(1);

/// What is listed and watched.
#[derive(Debug, Clone)]
pub struct Collection {
    /// Of messages.
    pub kind: Cow<'static, str>,
    /// `/api/v1/pods`, say.
    pub path: String,
    /// Which of its objects.
    pub selection: Selection,
}

/// Which objects of a collection; all of them by default.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A field selector, or nothing.
    pub fields: Option<String>,
    /// A label selector, or nothing.
    pub labels: Option<String>,
}

impl Selection {
    /// What a field selector admits; everything where it is empty.
    pub fn fields(selector: impl Into<String>) -> Self {
        Self { fields: Some(selector.into()).filter(|own| !own.is_empty()), labels: None }
    }

    /// What a label selector admits; everything where it is empty.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { fields: None, labels: Some(selector.into()).filter(|own| !own.is_empty()) }
    }
}

/// What a collection tells, each object as JSON.
#[derive(Debug, Clone)]
pub enum Told {
    /// A list begins: what an unfinished one brought is void.
    Begin,
    /// An object of the list.
    Listed(Box<RawValue>),
    /// The list is complete, of this revision: what it did not bring is gone. Where the server told none, nothing is newer.
    Complete(u64),
    /// An object is new or has changed.
    Applied(Box<RawValue>),
    /// An object is gone; this was its last state.
    Deleted(Box<RawValue>),
}

/// Why a list or a watch came to its end.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    /// The revision is older than what the server keeps.
    #[error("the revision has expired: {0}")]
    Expired(String),
    #[error(transparent)]
    Refused(#[from] kube::Error),
    #[error("the stream broke: {0}")]
    Broken(#[from] std::io::Error),
    #[error("the answer cannot be read as {0}: {1}")]
    Garbled(&'static str, serde_json::Error),
    #[error("the server ended the watch: {0}")]
    Told(String),
}

impl Interrupted {
    /// A refusal of the server, told apart by its code.
    fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 410 => Interrupted::Expired(status.message),
            other => Interrupted::Refused(other),
        }
    }
}

type Lines = Pin<Box<dyn AsyncBufRead + Send>>;

/// What is to be done next.
enum State {
    /// To list from the start, or from where this token leads.
    List(Option<String>),
    /// To watch from this revision.
    Resume(String),
    /// To read a watch that began at this time and at the revision of that time.
    Watch { lines: Lines, revision: String, first: String, begun: Instant },
}

struct Reflector {
    client: Client,
    collection: Collection,
    state: State,
    pause: Pause,
    told: VecDeque<Told>,
}

/// Lists and watches for ever. The stream may be dropped and polled at any time; it asks no faster than it is read.
pub fn reflect(client: Client, collection: Collection) -> BoxStream<'static, Told> {
    let state = State::List(None);
    let reflector = Reflector { client, collection, state, pause: Pause::default(), told: VecDeque::new() };
    stream::unfold(reflector, |mut reflector| async move { Some((reflector.next().await, reflector)) }).boxed()
}

impl Reflector {
    async fn next(&mut self) -> Told {
        loop {
            if let Some(told) = self.told.pop_front() {
                return told;
            }
            if let Err(interrupted) = self.step().await {
                self.interrupted(&interrupted);
                tokio::time::sleep(self.pause.next()).await;
            }
        }
    }

    /// Where to go on after a failure.
    fn interrupted(&mut self, why: &Interrupted) {
        tracing::debug!(kind = %self.collection.kind, error = %why, "watch interrupted, will resume");
        self.state = match std::mem::replace(&mut self.state, State::List(None)) {
            _ if matches!(why, Interrupted::Expired(_)) => State::List(None),
            State::Watch { revision, .. } => State::Resume(revision),
            // A list is of one moment: it cannot be put together from two.
            State::List(_) => State::List(None),
            resume @ State::Resume(_) => resume,
        };
    }

    async fn step(&mut self) -> Result<(), Interrupted> {
        match &mut self.state {
            State::List(token) => {
                let token = token.clone();
                self.list(token).await
            }
            State::Resume(revision) => {
                let revision = revision.clone();
                self.watch(revision).await
            }
            State::Watch { lines, .. } => {
                let mut line = Vec::new();
                match timeout(SILENCE, read_line(lines, &mut line)).await {
                    Ok(Ok(true)) => self.take(&line),
                    Ok(Err(error)) => Err(error.into()),
                    Ok(Ok(false)) | Err(_) => self.ended(),
                }
            }
        }
    }

    /// One page of the list.
    async fn list(&mut self, token: Option<String>) -> Result<(), Interrupted> {
        let Selection { fields, labels } = self.collection.selection.clone();
        let mut params =
            ListParams { field_selector: fields, label_selector: labels, ..ListParams::default().limit(PAGE) };
        match token {
            Some(token) => params = params.continue_token(&token),
            None => self.told.push_back(Told::Begin),
        }
        let request = Request::new(&self.collection.path).list(&params).map_err(kube::Error::BuildRequest)?;
        let text = self.client.request_text(request).await.map_err(Interrupted::of)?;
        let page: Page = serde_json::from_str(&text).map_err(|error| Interrupted::Garbled("list", error))?;
        self.told.extend(page.items.into_iter().flatten().map(Told::Listed));
        self.state = match page.metadata.next.filter(|token| !token.is_empty()) {
            Some(token) => State::List(Some(token)),
            None => {
                let revision = page.metadata.resource_version.unwrap_or_default();
                self.told.push_back(Told::Complete(revision.parse().unwrap_or(u64::MAX)));
                self.pause = Pause::default();
                State::Resume(revision)
            }
        };
        Ok(())
    }

    async fn watch(&mut self, revision: String) -> Result<(), Interrupted> {
        let Selection { fields, labels } = self.collection.selection.clone();
        let params =
            WatchParams { field_selector: fields, label_selector: labels, ..WatchParams::default().timeout(WATCH) };
        let request =
            Request::new(&self.collection.path).watch(&params, &revision).map_err(kube::Error::BuildRequest)?;
        let lines = Box::pin(self.client.request_stream(request).await.map_err(Interrupted::of)?);
        self.state = State::Watch { lines, first: revision.clone(), revision, begun: Instant::now() };
        Ok(())
    }

    /// The next watch goes on at once, unless this one was a server that is going away.
    fn ended(&mut self) -> Result<(), Interrupted> {
        if let State::Watch { revision, first, begun, .. } = &self.state {
            if revision == first && begun.elapsed() < BRIEF {
                return Err(Interrupted::Told("nothing".into()));
            }
            self.state = State::Resume(revision.clone());
        }
        Ok(())
    }

    /// One event of a watch.
    fn take(&mut self, line: &[u8]) -> Result<(), Interrupted> {
        let event: Event<'_> = serde_json::from_slice(line).map_err(|error| Interrupted::Garbled("event", error))?;
        let object = event.object;
        match event.happened.as_ref() {
            "ADDED" | "MODIFIED" => self.told.push_back(Told::Applied(object.to_owned())),
            "DELETED" => self.told.push_back(Told::Deleted(object.to_owned())),
            "ERROR" => return Err(failure(object)),
            // A bookmark, which has nothing but a revision, or something newer than this.
            _ => {}
        }
        let newer = wire::revision(object);
        if let (State::Watch { revision, .. }, Some(newer)) = (&mut self.state, newer) {
            *revision = newer;
            self.pause = Pause::default();
        }
        Ok(())
    }
}

/// Reads one line into `line`; false at the end of the stream, where a piece of a line counts as nothing.
async fn read_line(lines: &mut Lines, line: &mut Vec<u8>) -> std::io::Result<bool> {
    let read = lines.take(EVENT).read_until(b'\n', line).await;
    match read {
        Ok(_) if line.last() == Some(&b'\n') => Ok(true),
        Ok(length) if length as u64 >= EVENT => Err(std::io::Error::other("an event is too long")),
        Ok(_) => Ok(false),
        // How a server's connection ends when it has no time for more.
        Err(error) if error.to_string().contains("unexpected EOF") => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a status in the place of an object means.
fn failure(object: &RawValue) -> Interrupted {
    match serde_json::from_str(object.get()) {
        Ok(Failure { code: 410, message }) => Interrupted::Expired(message),
        Ok(Failure { message, .. }) => Interrupted::Told(message),
        Err(error) => Interrupted::Garbled("status", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn told(told: &Told) -> String {
        let name = |object: &RawValue| {
            let value: serde_json::Value = serde_json::from_str(object.get()).expect("JSON");
            value["metadata"]["name"].as_str().unwrap_or_default().to_owned()
        };
        match told {
            Told::Begin => "begin".into(),
            Told::Listed(object) => format!("listed {}", name(object)),
            Told::Complete(revision) => format!("complete {revision}"),
            Told::Applied(object) => format!("applied {}", name(object)),
            Told::Deleted(object) => format!("deleted {}", name(object)),
        }
    }

    fn maps() -> Collection {
        Collection {
            kind: "ConfigMap".into(),
            path: "/api/v1/configmaps".into(),
            selection: Selection::fields("metadata.name=a"),
        }
    }

    fn answer(code: u16, body: &str) -> http::Response<kube::client::Body> {
        let body = kube::client::Body::from(body.as_bytes().to_vec());
        http::Response::builder().status(code).body(body).expect("an answer")
    }

    /// A server that answers from `script`, one text per request, and writes down what it was asked; then it is silent for ever.
    fn server(script: Vec<(u16, &'static str)>) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (notes, script) = (Arc::clone(&asked), Arc::new(Mutex::new(script.into_iter())));
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            notes.lock().expect("lock").push(request.uri().query().unwrap_or_default().to_owned());
            let next = script.lock().expect("lock").next();
            async move {
                match next {
                    Some((code, body)) => Ok::<_, tower::BoxError>(answer(code, body)),
                    None => std::future::pending().await,
                }
            }
        });
        (Client::new(service, "default"), asked)
    }

    async fn run(script: Vec<(u16, &'static str)>) -> (Vec<String>, Vec<String>) {
        let expected = script.len() + 1;
        let (client, asked) = server(script);
        let mut stream = reflect(client, maps());
        let mut diary = Vec::new();
        while asked.lock().expect("lock").len() < expected {
            // As a loop does that has other things to do: nothing is lost when it turns to them.
            if let Ok(Some(event)) = timeout(Duration::from_millis(7), stream.next()).await {
                diary.push(told(&event));
            }
        }
        (diary, std::mem::take(&mut *asked.lock().expect("lock")))
    }

    const GONE: &str = r#"{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}"#;

    #[tokio::test(start_paused = true)]
    async fn a_list_in_pages_then_a_watch_from_its_revision() {
        let (told, queries) = run(vec![
            (200, r#"{"metadata":{"resourceVersion":"7","continue":"more"},"items":[{"metadata":{"name":"a"}}]}"#),
            (
                200,
                r#"{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"b"}},{"metadata":{"name":"c"}}]}"#,
            ),
            (
                200,
                concat!(
                    r#"{"type":"ADDED","object":{"metadata":{"name":"d","resourceVersion":"8"}}}"#,
                    "\n",
                    r#"{"type":"MODIFIED","object":{"metadata":{"name":"d","resourceVersion":"9"}}}"#,
                    "\n",
                    r#"{"type":"DELETED","object":{"metadata":{"name":"a","resourceVersion":"10"}}}"#,
                    "\n",
                    r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"12"}}}"#,
                    "\n",
                    r#"{"type":"ADDED","object":{"metadata":{"na"#
                ),
            ),
        ])
        .await;
        assert_eq!(
            told,
            ["begin", "listed a", "listed b", "listed c", "complete 7", "applied d", "applied d", "deleted a"]
        );
        assert_eq!(queries.len(), 4);
        assert!(
            queries[0].contains("limit=500") && queries[0].contains("fieldSelector=metadata.name%3Da"),
            "{}",
            queries[0]
        );
        assert!(queries[1].contains("continue=more"), "{}", queries[1]);
        assert!(queries[2].contains("watch=true") && queries[2].contains("resourceVersion=7"), "{}", queries[2]);
        assert!(
            queries[2].contains("allowWatchBookmarks=true") && queries[2].contains("timeoutSeconds=290"),
            "{}",
            queries[2]
        );
        assert!(queries[3].contains("resourceVersion=12"), "{}", queries[3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_revision_that_expired_leads_back_to_the_list() {
        let empty = r#"{"metadata":{"resourceVersion":"3"},"items":null}"#;
        let event = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}
"#;
        let (told, queries) = run(vec![(200, empty), (410, GONE), (200, empty), (200, event)]).await;
        assert_eq!(told, ["begin", "complete 3", "begin", "complete 3"]);
        let watches: Vec<bool> = queries.iter().map(|query| query.contains("watch=true")).collect();
        assert_eq!(watches, [false, true, false, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_resume_where_they_were() {
        let list = r#"{"metadata":{"resourceVersion":"3"},"items":[]}"#;
        let refused = r#"{"kind":"Status","status":"Failure","message":"later","reason":"TooManyRequests","code":429}"#;
        let event = r#"{"type":"ERROR","object":{"kind":"Status","code":500,"message":"no"}}
"#;
        let (told, queries) =
            run(vec![(429, refused), (200, list), (429, refused), (200, event), (200, "nonsense\n"), (200, "")]).await;
        assert_eq!(told, ["begin", "begin", "complete 3"]);
        let watches: Vec<bool> = queries.iter().map(|query| query.contains("resourceVersion=3")).collect();
        assert_eq!(watches, [false, false, true, true, true, true, true]);
    }
}
