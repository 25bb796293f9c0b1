//! Events: recorded without waiting, and written as far as `rk-correlator` has them told.

use crate::verbs::Verbs;
use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::Client;
use kube::api::Patch;
use rk_correlator::{Correlator, Occurrence, Told};
use rk_watch::{Object, ObjectKey};
use tokio::sync::mpsc;

/// Events that wait to be written; a flood beyond is dropped, events are hints.
const WAITING: usize = 1024;

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
        let task = async move {
            let mut memory = Memory::default();
            while let Some(record) = records.recv().await {
                memory.write(&client, record).await;
            }
        };
        tokio::spawn(task.boxed());
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

/// Writes what is recorded, as far as it is to be told.
#[derive(Default)]
struct Memory {
    correlator: Correlator<ObjectKey>,
}

impl Memory {
    async fn write(&mut self, client: &Client, record: Record) {
        let now = Timestamp::now();
        let part = |of: &Option<String>| of.clone().unwrap_or_default();
        let about = &record.about;
        let [kind, namespace, name, uid, version] =
            [&about.kind, &about.namespace, &about.name, &about.uid, &about.api_version].map(part);
        let occurrence = Occurrence {
            about: &[record.component, &kind, &namespace, &name, &uid, &version],
            field_path: about.field_path.as_deref().unwrap_or_default(),
            type_: record.type_.as_str(),
            reason: record.reason,
            message: &record.message,
        };
        let Some(told) = self.correlator.correlate(&occurrence, now) else { return };
        if let Some(written) = &told.written {
            let patch = serde_json::json!({"count": told.count, "lastTimestamp": Time(now), "message": told.message});
            if client.patch::<Event, _>(written, &Patch::Merge(patch)).await.is_ok() {
                return;
            }
        }
        let event = build(&record, &told, now);
        match client.create(&event).await {
            Ok(_) => self.correlator.wrote(told.key, ObjectKey::of(&event)),
            // A namespace that ends takes no new Events: expected.
            Err(error) => tracing::debug!(reason = record.reason, %error, "event not written"),
        }
    }
}

fn build(record: &Record, told: &Told<ObjectKey>, now: Timestamp) -> Event {
    let namespace = record.about.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".to_owned());
    let name = format!("{}.{:x}", record.about.name.as_deref().unwrap_or_default(), now.as_nanosecond());
    let mut event = Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        involved_object: record.about.clone(),
        reason: Some(record.reason.to_owned()),
        message: Some(told.message.clone()),
        type_: Some(record.type_.as_str().to_owned()),
        related: record.related.clone(),
        reporting_component: Some(record.component.to_owned()),
        ..Event::default()
    };
    if record.action.is_empty() {
        event.source = Some(EventSource { component: Some(record.component.to_owned()), host: None });
        event.first_timestamp = Some(Time(told.first));
        event.last_timestamp = Some(Time(now));
        event.count = Some(told.count);
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
    fn an_event_tells_since_when_and_how_often_unless_it_has_an_action() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let told = Told { key: 1, message: "as it is told".to_owned(), count: 3, first: at(2), written: None };
        for (action, count, first, time) in
            [("", Some(3), Some(Time(at(2))), None), ("Binding", None, None, Some(MicroTime(at(9))))]
        {
            let event = build(&Record { action, ..record("as it occurred") }, &told, at(9));
            assert_eq!(event.message.as_deref(), Some("as it is told"), "{action}");
            assert_eq!((event.count, event.first_timestamp, event.event_time), (count, first, time), "{action}");
        }
    }
}
