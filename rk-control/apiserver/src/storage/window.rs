//! The recent past of one resource: what watchers read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rk_api::resources::Resource;
use rk_store::Revision;

use super::object::Cached;

/// Most events kept per resource. At 100 writes a second this is forty seconds for a watcher to catch up in.
const EVENTS: usize = 4096;
/// Most bytes kept per resource; large objects shorten the window before they lengthen the process.
const BYTES: usize = 16 * 1024 * 1024;

/// The latest events of a resource, which keep their frames: nearly all watchers read an event soon after it happened, and what few
/// need later is made anew rather than kept for as long as the window lasts.
const FRAMED: usize = 256;
/// How long the frame of a table is reused: its cells show ages, in seconds.
const TABLE_LIFE: Duration = Duration::from_secs(1);

/// What happened, as watchers of everything see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// New object.
    Added,
    /// Changed object.
    Modified,
    /// Gone object.
    Deleted,
}

impl EventKind {
    /// The word in a watch stream.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
        }
    }
}

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The new state; for a deletion the last state at the revision of the deletion.
    pub object: Arc<Cached>,
    /// The state before, for selectors that matched it.
    pub previous: Option<Arc<Cached>>,
    /// What it weighed when it came into the window, in bytes.
    weight: usize,
    frames: Mutex<Frames>,
}

/// What watchers are sent of an event, under its own kind.
#[derive(Debug, Default)]
struct Frames {
    /// No longer one of the latest events: nothing is kept any more.
    past: bool,
    json: Option<Bytes>,
    proto: Option<Bytes>,
    metadata: Option<Bytes>,
    metadata_proto: Option<Bytes>,
    table: Option<Table>,
}

/// The frame of a table.
#[derive(Debug)]
struct Table {
    /// The row whose columns it has.
    row: Arc<Resource>,
    made: Instant,
    frame: Bytes,
}

impl Event {
    /// A change.
    #[must_use]
    pub fn new(kind: EventKind, object: Arc<Cached>, previous: Option<Arc<Cached>>) -> Self {
        let weight = object.size();
        Self { kind, object, previous, weight, frames: Mutex::default() }
    }

    /// The event's JSON frame as seen under `kind`; shared by those who see the event's own kind soon after it happened.
    #[must_use]
    pub fn json_frame(&self, kind: EventKind) -> Bytes {
        let make = || json_frame(kind.as_str(), self.object.json());
        if kind != self.kind {
            return make();
        }
        let mut frames = self.frames();
        if frames.past {
            drop(frames);
            return make();
        }
        frames.json.get_or_insert_with(make).clone()
    }

    /// The event's protobuf frame as seen under `kind`; `None` for kinds without a message.
    #[must_use]
    pub fn proto_frame(&self, api_version: &str, kind_name: &str, kind: EventKind) -> Option<Bytes> {
        let make = || {
            let body = rk_api::proto::envelope(api_version, kind_name, self.object.message()?);
            Some(rk_api::proto::watch_frame(kind.as_str(), &body))
        };
        if kind == self.kind { self.kept(|frames| &mut frames.proto, make) } else { make() }
    }

    /// The frame of the object's metadata, in protobuf or JSON, under the event's own kind: made once, for the first that asks.
    pub fn metadata_frame(&self, protobuf: bool, make: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        self.kept(move |frames| if protobuf { &mut frames.metadata_proto } else { &mut frames.metadata }, make)
    }

    /// The frame at a place: made for the first that asks and shared, or made for each once the event is past.
    fn kept(
        &self,
        place: impl Fn(&mut Frames) -> &mut Option<Bytes>,
        make: impl FnOnce() -> Option<Bytes>,
    ) -> Option<Bytes> {
        let mut frames = self.frames();
        if frames.past {
            drop(frames);
            return make();
        }
        let place = place(&mut frames);
        if place.is_none() {
            *place = make();
        }
        place.clone()
    }

    /// The frame of the object's table with the columns of `row`, without their definitions, under the event's own kind: made once
    /// for all who ask soon.
    pub fn table_frame(&self, row: &Arc<Resource>, make: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        let mut frames = self.frames();
        if let Some(table) = &frames.table
            && Arc::ptr_eq(&table.row, row)
            && table.made.elapsed() < TABLE_LIFE
        {
            return Some(table.frame.clone());
        }
        if frames.past {
            drop(frames);
            return make();
        }
        let frame = make()?;
        frames.table = Some(Table { row: Arc::clone(row), made: Instant::now(), frame: frame.clone() });
        Some(frame)
    }

    /// Keeps no frames any more.
    fn forget_frames(&self) {
        *self.frames() = Frames { past: true, ..Frames::default() };
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line of a JSON watch stream around a serialized object.
#[must_use]
pub fn json_frame(kind: &str, object: &[u8]) -> Bytes {
    frame_of(kind, &[object])
}

/// As [`json_frame`], of an object that is told without its managed fields. Nobody shares it, so nothing keeps it.
#[must_use]
pub fn unmanaged_frame(kind: &str, object: &Cached) -> Bytes {
    frame_of(kind, &object.unmanaged())
}

fn frame_of(kind: &str, pieces: &[&[u8]]) -> Bytes {
    let mut out = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum::<usize>() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(b"}\n");
    Bytes::from(out)
}

/// What is after a revision.
#[derive(Debug)]
pub enum Events {
    /// Some of it is no longer here.
    Forgotten,
    /// Nothing.
    None,
    /// One event: what a watcher that keeps up finds, so no list is made for it.
    One(Arc<Event>),
    /// More of them, in revision order.
    Many(Vec<Arc<Event>>),
}

/// The events after `floor`, in revision order.
#[derive(Debug)]
pub(super) struct Window {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Everything after this revision is here.
    floor: Revision,
}

impl Window {
    pub(super) fn new(floor: Revision) -> Self {
        Self { events: VecDeque::new(), bytes: 0, floor }
    }

    pub(super) fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.weight;
        self.events.push_back(event);
        if let Some(past) = self.events.len().checked_sub(FRAMED + 1).and_then(|place| self.events.get(place)) {
            past.forget_frames();
        }
        while self.events.len() > EVENTS || (self.bytes > BYTES && self.events.len() > 1) {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.weight;
            self.floor = oldest.object.revision;
        }
    }

    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    /// The place of the first event after a revision.
    fn start_after(&self, revision: Revision) -> usize {
        // Who keeps up finds it at the end: nothing or one event is new.
        let new = self.events.iter().rev().take(2).take_while(|event| event.object.revision > revision).count();
        if new < 2 {
            return self.events.len() - new;
        }
        self.events.partition_point(|event| event.object.revision <= revision)
    }

    /// At most `limit` events after a revision, and those of the last one's own revision.
    pub(super) fn after(&self, revision: Revision, limit: usize) -> Events {
        if revision < self.floor {
            return Events::Forgotten;
        }
        let start = self.start_after(revision);
        if self.events.len() <= start + 1 {
            return self.events.get(start).cloned().map_or(Events::None, Events::One);
        }
        let mut out: Vec<Arc<Event>> = self.events.range(start..).take(limit).cloned().collect();
        // Never cut inside one revision: the next read starts after a whole one.
        if out.len() == limit
            && let Some(last) = out.last().map(|event| event.object.revision)
        {
            out.extend(self.events.range(start + limit..).take_while(|event| event.object.revision == last).cloned());
        }
        Events::Many(out)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rk_api::resources::Registry;
    use serde_json::json;

    use super::*;

    fn window(floor: Revision, revisions: &[Revision]) -> Window {
        let registry = Registry::builtin();
        let maps = registry.get("", "v1", "configmaps").unwrap();
        let mut window = Window::new(floor);
        for revision in revisions {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
            let object = Arc::new(Cached::new(maps, &object, *revision));
            window.push(Arc::new(Event::new(EventKind::Modified, object, None)));
        }
        window
    }

    #[test]
    fn what_is_after_a_revision_is_whole_or_said_to_be_forgotten() {
        // Two changes of one transaction share a revision.
        let window = window(4, &[5, 6, 8, 8, 9]);
        for (after, limit, revisions) in [
            (4, 10, vec![5, 6, 8, 8, 9]),
            (4, 2, vec![5, 6]),
            (5, 2, vec![6, 8, 8]),
            (7, 10, vec![8, 8, 9]),
            (8, 1, vec![9]),
            (9, 10, vec![]),
            (12, 10, vec![]),
        ] {
            let events = match window.after(after, limit) {
                Events::Forgotten => panic!("{after} is not forgotten"),
                Events::None => Vec::new(),
                Events::One(event) => vec![event],
                Events::Many(events) => events,
            };
            let found: Vec<Revision> = events.iter().map(|event| event.object.revision).collect();
            assert_eq!(found, revisions, "after {after}, at most {limit}");
        }
        assert!(matches!(window.after(3, 10), Events::Forgotten));
    }

    #[test]
    fn who_keeps_up_finds_what_is_new_at_the_end() {
        let cases: [(&[Revision], Revision, usize); 8] = [
            (&[], 4, 0),
            (&[5], 4, 1),
            (&[5], 5, 0),
            (&[5, 6], 5, 1),
            (&[5, 8, 8], 4, 3),
            (&[5, 8, 8], 5, 2),
            (&[5, 8, 8], 7, 2),
            (&[5, 8, 8], 8, 0),
        ];
        for (revisions, after, found) in cases {
            let start = window(4, revisions).start_after(after);
            assert_eq!(revisions.len() - start, found, "{revisions:?} after {after}");
        }
    }

    fn event(hub: &Resource, revision: Revision) -> Arc<Event> {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}});
        Arc::new(Event::new(EventKind::Added, Arc::new(Cached::new(hub, &map, revision)), None))
    }

    #[test]
    fn frames_are_made_once_and_kept_by_the_latest_events_alone() {
        let registry = Registry::builtin();
        let maps = registry.get("", "v1", "configmaps").unwrap();
        let made = Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            Some(Bytes::from_static(b"frame"))
        };
        let mut window = Window::new(0);
        let first = event(maps, 1);
        window.push(Arc::clone(&first));
        for (protobuf, count) in [(false, 1), (false, 1), (true, 2), (true, 2)] {
            assert_eq!(first.metadata_frame(protobuf, make).unwrap(), "frame");
            assert_eq!(made.get(), count, "protobuf: {protobuf}");
        }
        assert!(first.metadata_frame(true, || None).is_some(), "nobody asks again");
        let same = |one: Bytes, other: Bytes| one == other && one.as_ptr() == other.as_ptr();
        let both = |event: &Event| {
            let proto = || event.proto_frame("v1", "ConfigMap", EventKind::Added).unwrap();
            [same(event.json_frame(EventKind::Added), event.json_frame(EventKind::Added)), same(proto(), proto())]
        };
        assert_eq!(both(&first), [true, true]);
        let (before, proto) =
            (first.json_frame(EventKind::Added), first.proto_frame("v1", "ConfigMap", EventKind::Added));
        for revision in 2..2 + FRAMED as u64 {
            window.push(event(maps, revision));
        }
        first.metadata_frame(false, make).unwrap();
        first.metadata_frame(false, make).unwrap();
        assert_eq!(made.get(), 4, "what is long past keeps nothing");
        assert_eq!(both(&first), [false, false]);
        assert_eq!(first.json_frame(EventKind::Added), before);
        assert_eq!(first.proto_frame("v1", "ConfigMap", EventKind::Added), proto);
        assert_eq!(window.bytes, window.events.iter().map(|event| event.weight).sum::<usize>());
    }

    #[test]
    fn a_table_is_shared_by_those_who_see_the_same_columns() {
        let registry = Registry::builtin();
        let maps = registry.get("", "v1", "configmaps").unwrap();
        let first = event(maps, 1);
        let table = |row: &Arc<Resource>, text: &'static str| {
            first.table_frame(row, || Some(Bytes::from_static(text.as_bytes()))).unwrap()
        };
        let began = Instant::now();
        let (one, two) = (table(maps, "one"), table(maps, "two"));
        // A machine that stood still for a second tells ages anew.
        assert!(one == "one" && (two == "one" || began.elapsed() >= TABLE_LIFE));
        let others = Arc::new(Resource::clone(maps));
        assert_eq!(table(&others, "others"), "others");
    }
}
