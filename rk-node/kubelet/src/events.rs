//! Events: what happened to which pod, written to the API in the background. Repetitions raise the count of one event.

use std::collections::HashMap;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

use crate::clock;
use crate::pod::spec;
use crate::throttle::{Rate, Throttle};

/// Component name in events.
const COMPONENT: &str = "kubelet";
/// Events waiting to be written; a flood beyond it is dropped, because events are hints and must not hold pods up.
const QUEUE: usize = 512;
/// Distinct events remembered for counting.
const REMEMBERED: usize = 1024;
/// Burst and refill (seconds per event) of one object's events.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;
/// Longest message.
const MAX_MESSAGE: usize = 1024;

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
        self.record(about, "Normal", reason, message.into());
    }

    /// Something wrong.
    pub fn warning(&self, about: &PodRef, reason: &str, message: impl Into<String>) {
        self.record(about, "Warning", reason, message.into());
    }

    fn record(&self, about: &PodRef, type_: &'static str, reason: &str, mut message: String) {
        if message.len() > MAX_MESSAGE {
            let cut = (0..=MAX_MESSAGE).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
            message.truncate(cut);
        }
        tracing::debug!(object = %about.name, namespace = %about.namespace, reason, "{message}");
        let record = Record { about: about.clone(), type_, reason: reason.into(), message, at: Timestamp::now() };
        if self.queue.try_send(record).is_err() {
            tracing::debug!("the event queue is full: one event dropped");
        }
    }
}

#[derive(PartialEq, Eq, Hash, Clone)]
struct Key {
    about: PodRef,
    type_: &'static str,
    reason: String,
    message: String,
}

struct Known {
    name: String,
    count: i32,
    last: Timestamp,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

/// Takes one token of an object's bucket, if there is one.
fn allow(bucket: &mut Bucket, now: Timestamp) -> bool {
    let refill = clock::elapsed(now, bucket.at).as_secs_f64() / REFILL_SECONDS;
    bucket.tokens = (bucket.tokens + refill).min(BURST);
    bucket.at = now;
    if bucket.tokens < 1.0 {
        return false;
    }
    bucket.tokens -= 1.0;
    true
}

async fn write(client: kube::Client, node: String, mut records: mpsc::Receiver<Record>, throttle: Throttle) {
    let mut known: HashMap<Key, Known> = HashMap::new();
    let mut buckets: HashMap<String, Bucket> = HashMap::new();
    while let Some(record) = records.recv().await {
        let bucket = buckets
            .entry(format!("{}/{}", record.about.uid, record.about.name))
            .or_insert_with(|| Bucket { tokens: BURST, at: record.at });
        if !allow(bucket, record.at) {
            continue;
        }
        while let Err(wait) = throttle.take(Instant::now()) {
            tokio::time::sleep(wait).await;
        }
        let mut about = record.about.clone();
        // The version at which it was seen does not make two events different.
        about.resource_version = None;
        let key = Key { about, type_: record.type_, reason: record.reason.clone(), message: record.message.clone() };
        let api: Api<Event> = Api::namespaced(client.clone(), &record.about.namespace);
        let result = match known.get_mut(&key) {
            Some(entry) => {
                entry.count = entry.count.saturating_add(1);
                entry.last = record.at;
                let patch = json!({"count": entry.count, "lastTimestamp": Time(record.at)});
                match api.patch(&entry.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {
                        create(&api, &node, &record, &mut known, key).await
                    }
                    other => other.map(drop),
                }
            }
            None => create(&api, &node, &record, &mut known, key).await,
        };
        if let Err(error) = result {
            tracing::debug!(reason = %record.reason, "an event was not written: {}", crate::api_error::chain(&error));
        }
        if known.len() > REMEMBERED {
            let oldest = known.values().map(|k| k.last).min();
            known.retain(|_, k| Some(k.last) != oldest);
        }
        if buckets.len() > REMEMBERED {
            buckets.retain(|_, b| clock::elapsed(record.at, b.at).as_secs_f64() < REFILL_SECONDS * BURST);
        }
    }
}

async fn create(
    api: &Api<Event>,
    node: &str,
    record: &Record,
    known: &mut HashMap<Key, Known>,
    key: Key,
) -> Result<(), kube::Error> {
    let about = &record.about;
    let name = format!("{}.{:x}", about.name, record.at.as_nanosecond());
    let event = Event {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(about.namespace.clone()),
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
        message: Some(record.message.clone()),
        type_: Some(record.type_.into()),
        count: Some(1),
        first_timestamp: Some(Time(record.at)),
        last_timestamp: Some(Time(record.at)),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: Some(node.into()) }),
        reporting_component: Some(COMPONENT.into()),
        reporting_instance: Some(node.into()),
        ..Default::default()
    };
    api.create(&PostParams::default(), &event).await?;
    known.insert(key, Known { name, count: 1, last: record.at });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut bucket = Bucket { tokens: BURST, at: at(0) };
        assert_eq!((0..100).filter(|_| allow(&mut bucket, at(0))).count(), 25);
        assert!(!allow(&mut bucket, at(299)));
        assert!(allow(&mut bucket, at(301)));
    }
}
