//! Events: recorded without waiting, repeats merged into a count, similar ones combined, floods dropped.

use crate::verbs::Verbs;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::Client;
use kube::api::Patch;
use rk_watch::{Object, ObjectKey};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Longest message, in bytes, that the server accepts in an Event with an `action`.
const MAX_MESSAGE: usize = 1024;
/// Events that wait to be written; a flood beyond is dropped, events are hints.
const WAITING: usize = 1024;
/// Remembered events and objects; the memory is emptied when it is full, which only costs merging.
const REMEMBERED: usize = 2048;
/// After this many different messages for one reason and object in [`SIMILAR_WINDOW`], they share one Event.
const SIMILAR_MAX: usize = 10;
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
/// Per object: a burst, then one per five minutes.
const BURST: f64 = 25.0;
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;

/// The `type` of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// Things go as meant.
    Normal,
    /// Someone may want to look.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

#[derive(Debug)]
struct Record {
    component: &'static str,
    about: ObjectReference,
    type_: EventType,
    reason: &'static str,
    action: &'static str,
    message: String,
    related: Option<ObjectReference>,
}

/// The process' sink of Events; hands out [`Recorder`]s.
#[derive(Clone, Debug)]
pub struct Recorders {
    sink: mpsc::Sender<Record>,
}

impl Recorders {
    /// Starts the writing task; it ends when all recorders are gone.
    pub fn new(client: Client) -> Self {
        let (sink, mut records) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let mut memory = Memory::default();
            while let Some(record) = records.recv().await {
                memory.write(&client, record).await;
            }
        });
        Self { sink }
    }

    /// A recorder that signs as `component`, such as `deployment-controller`.
    pub fn of(&self, component: &'static str) -> Recorder {
        Recorder { component, sink: self.sink.clone() }
    }
}

/// Records Events of one component.
#[derive(Clone, Debug)]
pub struct Recorder {
    component: &'static str,
    sink: mpsc::Sender<Record>,
}

impl Recorder {
    /// Records what happened to `about`.
    pub fn event<K: Object>(&self, about: &K, type_: EventType, reason: &'static str, message: impl Into<String>) {
        self.about(about.object_ref(&()), type_, reason, "", message.into(), None);
    }

    /// A Normal event.
    pub fn normal<K: Object>(&self, about: &K, reason: &'static str, message: impl Into<String>) {
        self.event(about, EventType::Normal, reason, message);
    }

    /// A Warning event.
    pub fn warning<K: Object>(&self, about: &K, reason: &'static str, message: impl Into<String>) {
        self.event(about, EventType::Warning, reason, message);
    }

    /// Records with every field: `action` and `related` are those of `events.k8s.io/v1`.
    pub fn about(
        &self,
        about: ObjectReference,
        type_: EventType,
        reason: &'static str,
        action: &'static str,
        message: String,
        related: Option<ObjectReference>,
    ) {
        let record = Record { component: self.component, about, type_, reason, action, message, related };
        if self.sink.try_send(record).is_err() {
            tracing::debug!(component = self.component, reason, "event dropped: too many wait");
        }
    }
}

#[derive(Debug)]
struct Known {
    key: ObjectKey,
    count: i32,
}

#[derive(Debug)]
struct Similar {
    messages: HashSet<String>,
    since: Instant,
}

#[derive(Debug, Default)]
struct Memory {
    known: HashMap<String, Known>,
    similar: HashMap<String, Similar>,
    buckets: HashMap<String, (f64, Instant)>,
}

impl Memory {
    async fn write(&mut self, client: &Client, mut record: Record) {
        if !self.admit(&record, Instant::now()) {
            return;
        }
        self.combine(&mut record, Instant::now());
        let id = format!("{}\0{}", similarity(&record), record.message);
        if let Some(known) = self.known.get_mut(&id) {
            known.count = known.count.saturating_add(1);
            let patch = serde_json::json!({"count": known.count, "lastTimestamp": Time(Timestamp::now()), "message": record.message});
            if client.patch::<Event, _>(&known.key, &Patch::Merge(patch)).await.is_ok() {
                return;
            }
            self.known.remove(&id);
        }
        let event = build(&record, Timestamp::now());
        match client.create(&event).await {
            Ok(_) => {
                make_room(&mut self.known);
                self.known.insert(id, Known { key: ObjectKey::of(&event), count: 1 });
            }
            // A namespace that ends takes no new Events: expected.
            Err(error) => tracing::debug!(reason = record.reason, %error, "event not written"),
        }
    }

    /// A bucket per object and component.
    fn admit(&mut self, record: &Record, now: Instant) -> bool {
        make_room(&mut self.buckets);
        let id = format!("{}\0{}", record.component, record.about.uid.as_deref().unwrap_or_default());
        let (tokens, at) = self.buckets.entry(id).or_insert((BURST, now));
        *tokens = (*tokens + now.saturating_duration_since(*at).as_secs_f64() * REFILL_PER_SECOND).min(BURST);
        *at = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }

    fn combine(&mut self, record: &mut Record, now: Instant) {
        make_room(&mut self.similar);
        let similar =
            self.similar.entry(similarity(record)).or_insert_with(|| Similar { messages: HashSet::new(), since: now });
        if now.saturating_duration_since(similar.since) > SIMILAR_WINDOW {
            *similar = Similar { messages: HashSet::new(), since: now };
        }
        if similar.messages.len() < SIMILAR_MAX {
            similar.messages.insert(record.message.clone());
        } else if !similar.messages.contains(&record.message) {
            record.message = format!("(combined from similar events): {}", record.message);
        }
    }
}

fn make_room<V>(map: &mut HashMap<String, V>) {
    if map.len() >= REMEMBERED {
        map.clear();
    }
}

fn similarity(record: &Record) -> String {
    let about = &record.about;
    let parts = [
        about.kind.as_deref(),
        about.namespace.as_deref(),
        about.name.as_deref(),
        about.uid.as_deref(),
        about.field_path.as_deref(),
    ];
    let parts: Vec<&str> = parts.into_iter().map(Option::unwrap_or_default).collect();
    format!("{}\0{}\0{}\0{}", record.component, parts.join("\0"), record.type_.as_str(), record.reason)
}

/// The part of a message that the server takes (1024 bytes).
fn bounded(message: &str) -> &str {
    let end = (0..=MAX_MESSAGE.min(message.len())).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    message.get(..end).unwrap_or_default()
}

fn build(record: &Record, now: Timestamp) -> Event {
    let namespace = record.about.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".to_owned());
    let name = format!("{}.{:x}", record.about.name.as_deref().unwrap_or_default(), now.as_nanosecond());
    let mut event = Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        involved_object: record.about.clone(),
        reason: Some(record.reason.to_owned()),
        message: Some(bounded(&record.message).to_owned()),
        type_: Some(record.type_.as_str().to_owned()),
        related: record.related.clone(),
        reporting_component: Some(record.component.to_owned()),
        ..Event::default()
    };
    if record.action.is_empty() {
        event.source = Some(EventSource { component: Some(record.component.to_owned()), host: None });
        event.first_timestamp = Some(Time(now));
        event.last_timestamp = Some(Time(now));
        event.count = Some(1);
    } else {
        event.action = Some(record.action.to_owned());
        event.event_time = Some(MicroTime(now));
        event.reporting_instance = Some(format!("{}-rk", record.component));
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &str) -> Record {
        let about = ObjectReference {
            kind: Some("Pod".into()),
            name: Some("web".into()),
            uid: Some("1".into()),
            ..ObjectReference::default()
        };
        Record {
            component: "test",
            about,
            type_: EventType::Normal,
            reason: "R",
            action: "",
            message: message.into(),
            related: None,
        }
    }

    #[test]
    fn an_object_that_floods_is_silenced_after_its_burst() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let admitted = (0..100).filter(|_| memory.admit(&record("m"), now)).count();
        assert_eq!(admitted, 25);
        assert!(memory.admit(&record("m"), now + Duration::from_secs(301)));
    }

    #[test]
    fn the_eleventh_different_message_is_combined() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let mut last = String::new();
        for n in 0..11 {
            let mut r = record(&format!("message {n}"));
            memory.combine(&mut r, now);
            last = r.message;
        }
        assert_eq!(last, "(combined from similar events): message 10");
    }
}
