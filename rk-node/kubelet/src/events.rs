//! Events: what happened to which pod, written to the API in the background; `rk-correlator` decides which and as what.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use rk_correlator::{Correlator, Occurrence, Told, bounded};
use serde_json::json;
use tokio::sync::mpsc;

use crate::pod::spec;
use crate::throttle::{Rate, Throttle};

/// Component name in events.
const COMPONENT: &str = "kubelet";
/// Events waiting to be written; a flood beyond it is dropped, because events are hints and must not hold pods up.
const QUEUE: usize = 512;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodRef {
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
    resource_version: Option<String>,
    field_path: Option<String>,
}

impl PodRef {
    /// The pod itself.
    pub fn of(pod: &Pod) -> Self {
        Self {
            kind: "Pod",
            namespace: spec::namespace(pod).into(),
            name: spec::name(pod).into(),
            uid: spec::uid(pod).into(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path: None,
        }
    }

    /// Namespace, name and UID.
    pub fn identity(&self) -> [&str; 3] {
        [self.namespace.as_str(), self.name.as_str(), self.uid.as_str()]
    }

    /// One container of the pod, in a list of its spec.
    pub fn container_named(&self, name: &str, list: &str) -> Self {
        Self { field_path: Some(format!("{list}{{{name}}}")), ..self.clone() }
    }

    /// A PersistentVolumeClaim.
    pub fn claim(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            kind: "PersistentVolumeClaim",
            namespace: namespace.into(),
            name: name.into(),
            uid: uid.into(),
            resource_version: None,
            field_path: None,
        }
    }

    /// A Node; events about it live in the default namespace and name it as UID, as upstream's do.
    pub fn node(name: &str) -> Self {
        Self {
            kind: "Node",
            namespace: "default".into(),
            name: name.into(),
            uid: name.into(),
            resource_version: None,
            field_path: None,
        }
    }
}

struct Record {
    about: PodRef,
    type_: &'static str,
    reason: String,
    message: String,
    annotations: BTreeMap<String, String>,
    at: Timestamp,
}

/// Handle for recording; clones share one writer.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Record>,
}

impl Recorder {
    /// A recorder and the task that writes its events as `node`, so often at most.
    pub fn new(client: kube::Client, node: String, rate: Rate) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, records) = mpsc::channel(QUEUE);
        (Self { queue }, write(client, node, records, Throttle::new(rate, Instant::now())))
    }

    /// Something ordinary.
    pub fn normal(&self, about: &PodRef, reason: &str, message: impl Into<String>) {
        self.record(about, "Normal", reason, message.into(), BTreeMap::new());
    }

    /// Something wrong.
    pub fn warning(&self, about: &PodRef, reason: &str, message: impl Into<String>) {
        self.record(about, "Warning", reason, message.into(), BTreeMap::new());
    }

    /// Something wrong, of which programs read the details.
    pub fn warning_with(&self, about: &PodRef, reason: &str, message: String, annotations: BTreeMap<String, String>) {
        self.record(about, "Warning", reason, message, annotations);
    }

    fn record(
        &self,
        about: &PodRef,
        type_: &'static str,
        reason: &str,
        mut message: String,
        annotations: BTreeMap<String, String>,
    ) {
        message.truncate(bounded(&message).len());
        tracing::debug!(object = %about.name, namespace = %about.namespace, reason, "{message}");
        let (about, at) = (about.clone(), Timestamp::now());
        let record = Record { about, type_, reason: reason.into(), message, annotations, at };
        if self.queue.try_send(record).is_err() {
            tracing::debug!("the event queue is full: one event dropped");
        }
    }
}

async fn write(client: kube::Client, node: String, mut records: mpsc::Receiver<Record>, throttle: Throttle) {
    let mut correlator = Correlator::default();
    while let Some(record) = records.recv().await {
        let about = &record.about;
        let occurrence = Occurrence {
            about: &[COMPONENT, &node, about.kind, &about.namespace, &about.name, &about.uid],
            field_path: about.field_path.as_deref().unwrap_or_default(),
            type_: record.type_,
            reason: &record.reason,
            message: &record.message,
        };
        let Some(told) = correlator.correlate(&occurrence, record.at) else { continue };
        while let Err(wait) = throttle.take(Instant::now()) {
            tokio::time::sleep(wait).await;
        }
        let api: Api<Event> = Api::namespaced(client.clone(), &about.namespace);
        match put(&api, &node, &record, &told).await {
            Ok(name) => correlator.wrote(told.key, name),
            Err(error) => {
                tracing::debug!(reason = %record.reason, "an event was not written: {}", crate::api_error::chain(&error));
            }
        }
    }
}

/// Writes it in the place of the event that was written before, or as a new one; the name of the event.
async fn put(api: &Api<Event>, node: &str, record: &Record, told: &Told<String>) -> Result<String, kube::Error> {
    if let Some(name) = &told.written {
        let patch = json!({"count": told.count, "lastTimestamp": Time(record.at), "message": told.message});
        match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            // Events go after an hour.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => return other.map(|_| name.clone()),
        }
    }
    let name = format!("{}.{:x}", record.about.name, record.at.as_nanosecond());
    api.create(&PostParams::default(), &event(name.clone(), node, record, told)).await?;
    Ok(name)
}

fn event(name: String, node: &str, record: &Record, told: &Told<String>) -> Event {
    let about = &record.about;
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(about.namespace.clone()),
            annotations: Some(record.annotations.clone()).filter(|all| !all.is_empty()),
            ..Default::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some(about.kind.into()),
            name: Some(about.name.clone()),
            namespace: (about.kind != "Node").then(|| about.namespace.clone()),
            uid: Some(about.uid.clone()),
            resource_version: about.resource_version.clone(),
            field_path: about.field_path.clone(),
        },
        reason: Some(record.reason.clone()),
        message: Some(told.message.clone()),
        type_: Some(record.type_.into()),
        count: Some(told.count),
        first_timestamp: Some(Time(told.first)),
        last_timestamp: Some(Time(record.at)),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: Some(node.into()) }),
        reporting_component: Some(COMPONENT.into()),
        reporting_instance: Some(node.into()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_tells_since_when_and_how_often_its_occurrence_was_seen() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let about = PodRef::node("n1");
        let (reason, message) = ("Rebooted".to_owned(), "as it occurred".to_owned());
        let annotations = BTreeMap::from([("starved_resource".to_owned(), "memory".to_owned())]);
        let record = Record { about, type_: "Warning", reason, message, annotations: annotations.clone(), at: at(9) };
        let told = Told { key: 1, message: "as it is told".to_owned(), count: 3, first: at(2), written: None };
        let event = event("e".to_owned(), "n1", &record, &told);
        assert_eq!((event.count, event.message.as_deref()), (Some(3), Some("as it is told")));
        assert_eq!((event.first_timestamp, event.last_timestamp), (Some(Time(at(2))), Some(Time(at(9)))));
        assert_eq!(event.involved_object.namespace, None, "nodes have none");
        assert_eq!(event.metadata.annotations, Some(annotations));
    }
}
