//! Writing watch events: the shared serialized form where it is what was asked for, else a fresh one.

use std::sync::Arc;

use bytes::Bytes;
use rk_api::resources::Resource;
use rk_api::status::Status;
use rk_api::table::IncludeObject;
use rk_store::{Change, ChangeKind, Revision};
use serde_json::{Value, json};

use super::call::Call;
use super::render::include_object;
use super::selection::Selection;
use crate::conversion;
use crate::http::{Accept, Format, MetaVersion, Shape, Subject};
use crate::server::{Core, UNMANAGED};
use crate::storage::{Cached, Event, EventKind, json_frame, unmanaged_frame};

/// How events can be had, as upstream names it.
const STREAMED: &[&str] = &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// Turns events into frames of one watch.
pub(super) struct Encoder {
    core: Arc<Core>,
    resource: Arc<Resource>,
    accept: Accept,
    include: IncludeObject,
    /// Table columns are sent with the first event only, also if that is a bookmark; later ones have null there, which clients tell
    /// from an empty list.
    headers_sent: bool,
    /// Whether objects are told without their managed fields, where they are told as they are kept.
    unmanaged: bool,
}

impl Encoder {
    pub(super) fn new(call: &Call) -> Result<Self, Status> {
        let accept = call.accept(Subject::Events)?;
        if accept.format == Format::Yaml {
            // YAML has no stream framing.
            return Err(Status::not_acceptable(STREAMED));
        }
        Ok(Self {
            core: Arc::clone(&call.core),
            resource: Arc::clone(&call.resource),
            accept,
            include: include_object(&call.query)?,
            headers_sent: false,
            unmanaged: call.headers.contains_key(UNMANAGED),
        })
    }

    pub(super) fn media_type(&self) -> &'static str {
        self.accept.format.stream_type()
    }

    /// Whether events are text.
    pub(super) fn is_text(&self) -> bool {
        self.accept.format != Format::Protobuf
    }

    /// The event of a change read from history.
    pub(super) fn event_of(hub: &Arc<Resource>, change: &Change) -> Result<Event, Status> {
        let object = Arc::new(Cached::from_entry(hub, &change.entry)?);
        let previous = change.previous.as_ref().map(|value| {
            let entry = rk_store::Entry { value: value.clone(), ..change.entry.clone() };
            Cached::from_entry(hub, &entry).map(Arc::new)
        });
        let kind = match change.kind {
            ChangeKind::Created => EventKind::Added,
            ChangeKind::Updated => EventKind::Modified,
            ChangeKind::Deleted => EventKind::Deleted,
        };
        Ok(Event::new(kind, object, previous.transpose()?))
    }

    /// An object of the present state.
    pub(super) async fn added(&mut self, object: &Cached) -> Option<Bytes> {
        if self.is_plain(object) {
            match self.accept.format {
                Format::Protobuf => {
                    let body = rk_api::proto::envelope(
                        &self.resource.api_version(),
                        &self.resource.gvk.kind,
                        object.message()?,
                    );
                    return Some(rk_api::proto::watch_frame("ADDED", &body));
                }
                _ if self.unmanaged => return Some(unmanaged_frame("ADDED", object)),
                _ => return Some(json_frame("ADDED", object.json())),
            }
        }
        self.fresh("ADDED", object.value()).await
    }

    /// An event as this watch sees it: entering the selection is an addition, leaving it a deletion.
    pub(super) async fn event(&mut self, event: &Event, namespace: &str, selection: &Selection) -> Option<Bytes> {
        if !namespace.is_empty() && *event.object.namespace != *namespace {
            return None;
        }
        let kind = if selection.is_everything() {
            event.kind
        } else {
            let (before, now) = match self.crossing(event, selection).await {
                Ok(sides) => sides,
                Err(status) => return self.error(&status),
            };
            match (before, now) {
                (false, false) => return None,
                (false, true) => EventKind::Added,
                (true, true) => EventKind::Modified,
                (true, false) => EventKind::Deleted,
            }
        };
        if kind == EventKind::Deleted && event.kind != EventKind::Deleted {
            // What left the selection is shown as it last matched, at the revision at which it left.
            let mut value = event.previous.as_ref()?.value();
            value["metadata"]["resourceVersion"] = json!(event.object.revision.to_string());
            return self.fresh(kind.as_str(), value).await;
        }
        if self.is_plain(&event.object) {
            return match self.accept.format {
                Format::Protobuf => event.proto_frame(&self.resource.api_version(), &self.resource.gvk.kind, kind),
                _ if self.unmanaged => Some(unmanaged_frame(kind.as_str(), &event.object)),
                _ => Some(event.json_frame(kind)),
            };
        }
        if kind == event.kind
            && self.is_current(&event.object)
            && let Some(frame) = self.shared(event)
        {
            return Some(frame);
        }
        self.fresh(kind.as_str(), event.object.value()).await
    }

    /// The frame of an event that every watch of this shape gets; `None` where there is none.
    fn shared(&self, event: &Event) -> Option<Bytes> {
        if self.accept.version != MetaVersion::V1 {
            return None;
        }
        let (kind, protobuf) = (event.kind.as_str(), self.accept.format == Format::Protobuf);
        match self.accept.shape {
            Shape::Metadata => event
                .metadata_frame(protobuf, || self.frame(kind, &rk_api::table::partial_metadata(&event.object.value()))),
            Shape::Table if self.headers_sent && self.include == IncludeObject::Metadata && !protobuf => event
                .table_frame(&self.resource, || {
                    let mut table = self.table(&event.object.value());
                    table["columnDefinitions"] = Value::Null;
                    self.frame(kind, &table)
                }),
            Shape::Object | Shape::Table => None,
        }
    }

    fn table(&self, object: &Value) -> Value {
        let metadata = object.get("metadata").unwrap_or(&Value::Null);
        rk_api::table::table(&self.resource, std::iter::once(object), metadata, self.include, jiff::Timestamp::now())
    }

    /// Whether the object was selected before the event, and whether it is after it.
    async fn crossing(&self, event: &Event, selection: &Selection) -> Result<(bool, bool), Status> {
        let gone = event.kind == EventKind::Deleted;
        let mut sides = vec![&*event.object];
        sides.extend(event.previous.as_deref());
        let verdicts = selection.judge(&self.core, &sides).await?;
        let object = verdicts.first().is_some_and(|selected| *selected);
        let before = verdicts.get(1).map_or(gone && object, |selected| *selected);
        Ok((before, !gone && object))
    }

    /// A bookmark: everything up to `revision` was sent. `end` marks the end of the initial state.
    pub(super) fn bookmark(&mut self, revision: Revision, end: bool) -> Option<Bytes> {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, api_version) = (&*self.resource.gvk.kind, self.resource.api_version());
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        let shaped = self.shaped(object);
        self.frame("BOOKMARK", &self.accept.versioned(shaped))
    }

    /// The last event of a watch that failed.
    pub(super) fn error(&mut self, status: &Status) -> Option<Bytes> {
        self.frame("ERROR", &status.to_value())
    }

    fn is_plain(&self, object: &Cached) -> bool {
        self.accept.shape == Shape::Object && self.is_current(object)
    }

    /// Whether another server may have to be asked before an object is told, which takes as long as that likes.
    pub(super) fn asks(&self, object: &Cached) -> bool {
        let custom = self.resource.custom.as_ref();
        !self.is_current(object) && custom.is_some_and(|custom| custom.conversion.is_some())
    }

    /// Whether the object is in the version of this watch already.
    fn is_current(&self, object: &Cached) -> bool {
        self.resource.is_hub() && !object.is_foreign()
    }

    async fn fresh(&mut self, kind: &str, object: Value) -> Option<Bytes> {
        let object = match conversion::to(&self.core, object, &self.resource).await {
            Ok(object) => object,
            Err(error) => return self.error(&error),
        };
        let shaped = self.shaped(object);
        self.frame(kind, &self.accept.versioned(shaped))
    }

    /// An object, or what stands for one, in the shape of this watch.
    fn shaped(&mut self, object: Value) -> Value {
        match self.accept.shape {
            Shape::Object => object,
            Shape::Metadata => rk_api::table::partial_metadata(&object),
            Shape::Table => {
                let mut table = self.table(&object);
                if std::mem::replace(&mut self.headers_sent, true) {
                    table["columnDefinitions"] = Value::Null;
                }
                table
            }
        }
    }

    fn frame(&self, kind: &str, object: &Value) -> Option<Bytes> {
        if self.accept.format == Format::Protobuf
            && let Some(body) = rk_api::proto::encode(object)
        {
            return Some(rk_api::proto::watch_frame(kind, &body));
        }
        Some(json_frame(kind, &serde_json::to_vec(object).ok()?))
    }
}
