//! Watching a collection: what is there (if asked for), then every change, until the client or the clock ends it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rk_api::status::Status;
use rk_store::{Change, Revision, StoreError, Watch, WatchItem};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, Sleep};

use super::call::Call;
use super::selection::Selection;
use super::watch_encode::Encoder;
use super::watch_piece::{BEGINNING, Queue};
use super::watch_plan::{Plan, Start};
use crate::http::{Body, BoxError, bytes_response, rests, text_response};
use crate::proxy::Wish;
use crate::server::Core;
use crate::storage::{Cached, Event, Events, ResourceCache, prefix, store_status};

/// Events taken from the window at a time.
const BATCH: usize = 256;
/// How often a watcher that asked for bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its end a watch sends its last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// Serves a watch.
pub(super) async fn watch(call: &mut Call, mut request: Request<Body>) -> Result<Response<Body>, Status> {
    let selection = Selection::parse(call)?.with_name(&call.path.name);
    let plan = Plan::parse(call)?;
    let encoder = Encoder::new(call)?;
    let media_type = encoder.media_type();
    let wish = match Wish::of_events(&call.headers, &mut request, encoder.is_text()) {
        Ok(wish) => wish,
        Err(code) => return Ok(text_response(code, Bytes::new())),
    };
    let (cache, phase, position) = begin(call, &selection, &plan.start).await?;
    let open = call.core.metrics.open_watch(&call.resource, &call.path);
    if let Phase::Initial(objects) = &phase {
        open.begins_with(objects.len());
    }
    let now = Instant::now();
    // Boxed, since it is moved with every frame.
    let watcher = Box::new(Watcher {
        changed: cache.subscribe(),
        core: Arc::clone(&call.core),
        deadline: now + plan.life,
        alarm: Box::pin(tokio::time::sleep_until(now + plan.life)),
        bookmark_at: plan.bookmarks.then(|| now + BOOKMARK_EVERY.min(plan.life.saturating_sub(LAST_BOOKMARK))),
        mark_end: plan.mark_end,
        drained: false,
        rested: false,
        // A message of a WebSocket is one event.
        queue: if wish.is_some() { Queue::of_single_events() } else { Queue::default() },
        ended: false,
        open,
        cache,
        selection,
        namespace: call.path.namespace.clone(),
        phase,
        position,
        encoder,
    });
    let frames = stream::unfold(watcher, |mut watcher| async move {
        let piece = watcher.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(piece)), watcher))
    });
    let mut response = bytes_response(StatusCode::OK, media_type, Bytes::new());
    *response.body_mut() = StreamBody::new(frames).boxed_unsync();
    Ok(match wish {
        Some(wish) => wish.carry(response),
        None => response,
    })
}

/// What a watch is sent first, after which revision, and the cache that it follows.
async fn begin(
    call: &Call,
    selection: &Selection,
    start: &Start,
) -> Result<(Arc<ResourceCache>, Phase, Revision), Status> {
    let storage = &call.core.storage;
    if let Start::State(Some(revision)) = start
        && let Err(status) = storage.wait_for(*revision).await
    {
        // The watch has begun, and is told as one.
        let failed = Phase::Failed(Box::new(status));
        return Ok((storage.cache(&call.hub).await?, failed, *revision));
    }
    let floor = match start {
        Start::State(None) => storage.fresh().await?,
        Start::State(Some(_)) | Start::After(_) => storage.progress(),
    };
    let cache = storage.cache(&call.hub).await?;
    let until = cache.floor();
    let (phase, position) = match start {
        Start::State(_) => {
            let snapshot = cache.snapshot(&call.path.namespace, floor, |object| selection.may_match(object));
            let objects = selection.sift(&call.core, snapshot.objects).await?;
            (Phase::Initial(objects.into_iter()), snapshot.revision)
        }
        Start::After(revision) if *revision < until => {
            (replayed(storage.store().watch(&prefix(&call.hub), *revision).await, until)?, *revision)
        }
        Start::After(revision) => (Phase::Live, *revision),
    };
    Ok((cache, phase, position))
}

/// The phase of a watch whose beginning only the store's history has, if that has it still.
fn replayed(watch: Result<Watch, StoreError>, until: Revision) -> Result<Phase, Status> {
    match watch {
        Ok(watch) => Ok(Phase::Replay { watch, until }),
        Err(StoreError::Compacted { compacted, .. }) => Ok(Phase::TooOld(compacted)),
        Err(error) => Err(store_status(&error)),
    }
}

enum Phase {
    /// The present state as ADDED events.
    Initial(std::vec::IntoIter<Arc<Cached>>),
    /// History that the window no longer holds, read from the store up to where the window begins.
    Replay { watch: Watch, until: Revision },
    /// The shared window.
    Live,
    /// The beginning is forgotten.
    TooOld(Revision),
    /// The beginning did not come.
    Failed(Box<Status>),
}

struct Watcher {
    core: Arc<Core>,
    cache: Arc<ResourceCache>,
    changed: Receiver<Revision>,
    selection: Selection,
    namespace: String,
    phase: Phase,
    /// Everything up to here was sent or did not concern this watch.
    position: Revision,
    /// Everything of the window was taken at the last look.
    drained: bool,
    /// It has waited before.
    rested: bool,
    queue: Queue,
    encoder: Encoder,
    deadline: Instant,
    /// When there is something to do without a change.
    alarm: Pin<Box<Sleep>>,
    bookmark_at: Option<Instant>,
    mark_end: bool,
    ended: bool,
    open: crate::metrics::OpenWatch,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.queue.take(|size| self.open.sent(size)) {
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            match &mut self.phase {
                Phase::Initial(_) => self.begin().await,
                Phase::TooOld(oldest) => {
                    self.ended = true;
                    self.queue.extend(self.encoder.error(&Status::too_old_resource_version(self.position, *oldest)));
                }
                Phase::Failed(status) => {
                    self.ended = true;
                    self.queue.extend(self.encoder.error(status));
                }
                Phase::Replay { .. } => self.replay().await,
                Phase::Live => self.live().await,
            }
        }
    }

    /// Queues some of what is there.
    async fn begin(&mut self) {
        let mut size = 0;
        while size < BEGINNING {
            let Phase::Initial(objects) = &mut self.phase else { return };
            // What is ready does not wait for what another server converts first.
            if size > 0 && objects.as_slice().first().is_some_and(|next| self.encoder.asks(next)) {
                return;
            }
            let Some(object) = objects.next() else {
                self.phase = Phase::Live;
                if self.mark_end {
                    self.queue.extend(self.encoder.bookmark(self.position, true));
                }
                return;
            };
            let event = self.encoder.added(&object).await;
            size += event.as_ref().map_or(0, Bytes::len);
            self.queue.extend(event);
        }
    }

    /// Queues the next of history; or what the clock asks for, since a store may have nothing to say of it for long.
    async fn replay(&mut self) {
        if self.core.shutdown.is_cancelled() || self.is_over() {
            return self.end();
        }
        if self.look_at_clock() {
            return;
        }
        self.set_alarm();
        let Phase::Replay { watch, until } = &mut self.phase else { return };
        let until = *until;
        let item = tokio::select! {
            biased;
            () = self.core.shutdown.cancelled() => return,
            item = watch.next() => item,
            () = self.alarm.as_mut() => return,
        };
        match item {
            Some(Ok(WatchItem::Changes(changes))) => {
                for change in &changes {
                    if change.entry.mod_revision > until {
                        break;
                    }
                    self.position = change.entry.mod_revision;
                    self.queue_change(change).await;
                }
                if changes.last().is_some_and(|last| last.entry.mod_revision >= until) {
                    self.go_live(until);
                }
            }
            Some(Ok(WatchItem::Progress(revision))) if revision >= until => self.go_live(until),
            Some(Ok(WatchItem::Progress(_))) => {}
            Some(Err(StoreError::Compacted { compacted, .. })) => self.phase = Phase::TooOld(compacted),
            Some(Err(_)) | None => self.ended = true,
        }
    }

    /// Queues what the watcher sees of a change that was read from the store.
    async fn queue_change(&mut self, change: &Change) {
        match Encoder::event_of(self.cache.hub(), change) {
            Ok(event) => {
                self.queue.extend(self.encoder.event(&event, &self.namespace, &self.selection).await);
            }
            Err(error) => {
                tracing::error!(key = %change.entry.key, %error, "skipping a value that cannot be read as an object")
            }
        }
    }

    fn go_live(&mut self, until: Revision) {
        self.position = self.position.max(until);
        self.phase = Phase::Live;
    }

    async fn live(&mut self) {
        // Changes can be seen before those who watch are woken for them: who took all and was not woken since has nothing to look for.
        let nothing_new = self.drained && matches!(self.changed.has_changed(), Ok(false));
        if !nothing_new && self.look().await {
            return;
        }
        self.wait().await;
    }

    /// Queues what is new, or what the clock asks for; answers whether there is any reason not to wait.
    async fn look(&mut self) -> bool {
        // Both are read before the events, so that neither promises more than was looked at. Whoever ends watches wakes them after saying so.
        self.changed.mark_unchanged();
        let progress = self.core.storage.progress();
        self.drained = false;
        // Looked at after the progress: a cache that follows still has all up to it. And before the events: where there are always
        // some, a watch would never end.
        if self.is_over() {
            self.end();
            return true;
        }
        match self.cache.events_after(self.position, BATCH) {
            Events::Forgotten => {
                self.phase = Phase::TooOld(self.cache.floor());
                true
            }
            Events::One(event) => {
                self.show(&event).await;
                self.drained = true;
                true
            }
            Events::Many(events) => {
                self.drained = self.show_ready(&events).await && events.len() < BATCH;
                true
            }
            Events::None => {
                self.position = self.position.max(progress);
                self.look_at_clock()
            }
        }
    }

    /// Queues what is new, as far as nothing that is ready waits for what another server converts first; answers whether that was all.
    async fn show_ready(&mut self, events: &[Arc<Event>]) -> bool {
        for event in events {
            // Changes of one revision stay together: the next look is for those after it.
            let may_wait = !self.queue.is_empty() && event.object.revision > self.position;
            if may_wait && self.encoder.asks(&event.object) {
                return false;
            }
            self.show(event).await;
        }
        true
    }

    async fn show(&mut self, event: &Event) {
        self.queue.extend(self.encoder.event(event, &self.namespace, &self.selection).await);
        self.position = self.position.max(event.object.revision);
    }

    /// Whether the cache will not change any more, as when the server ends, or the time of the watch is up.
    fn is_over(&self) -> bool {
        self.cache.is_abandoned() || Instant::now() >= self.deadline
    }

    /// Ends the watch, with the bookmark that has been due since before: whoever was not read for long, or came late to the clock, is told
    /// all the same how far it was.
    fn end(&mut self) {
        self.look_at_clock();
        self.ended = true;
    }

    /// Queues a bookmark when it is time for one; answers whether it was.
    fn look_at_clock(&mut self) -> bool {
        let now = Instant::now();
        if self.bookmark_at.is_none_or(|at| now < at) {
            return false;
        }
        self.queue.extend(self.encoder.bookmark(self.position, false));
        let last = self.deadline - LAST_BOOKMARK.min(self.deadline - now);
        let next = now + BOOKMARK_EVERY;
        self.bookmark_at = if now >= last { None } else { Some(next.min(last)) };
        true
    }

    /// Sets the timer for what is to be done without a change. One timer for the life of the watch: with a thousand watchers, a new one
    /// for each event is most of the work.
    fn set_alarm(&mut self) {
        let wake = self.bookmark_at.unwrap_or(self.deadline).min(self.deadline);
        if self.alarm.deadline() != wake {
            self.alarm.as_mut().reset(wake);
        }
    }

    /// Waits for a change or the clock.
    async fn wait(&mut self) {
        self.drained = false;
        if !std::mem::replace(&mut self.rested, true) {
            rests();
            // A server that ends abandons the caches that there are, and a definition that changes or goes that of its kind; the watch may
            // be of a later one.
            if self.core.shutdown.is_cancelled() || !self.core.is_current(self.cache.hub()) {
                self.ended = true;
                return;
            }
        }
        self.set_alarm();
        tokio::select! {
            biased;
            changed = self.changed.changed() => self.ended |= changed.is_err(),
            () = self.alarm.as_mut() => {}
        }
    }
}
