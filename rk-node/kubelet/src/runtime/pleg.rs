//! Pod lifecycle event generator: takes the runtime's events, lists it now and then for what they missed, and says which pods changed.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use jiff::Timestamp;
use rk_cri_api::v1 as cri;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;

use super::client::{Runtime, RuntimeError};
use super::labels;
use super::model::States;

/// Period of the relist; also how long a change may go unseen when the runtime has no event stream.
const PERIOD: Duration = Duration::from_secs(1);
/// With a working event stream the relist is only a safety net.
const PERIOD_WITH_EVENTS: Duration = Duration::from_secs(30);
/// Pause before a stream of events that ended is opened again.
const AGAIN: Duration = Duration::from_secs(10);
/// Events that wait to be taken; beyond it the stream waits, and the runtime tells when it lagged.
const NEWS: usize = 256;

/// What the runtime has: pod UID to states.
pub type Seen = HashMap<String, States>;

/// A pod to look at.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// The pod.
    pub uid: String,
    /// What the runtime has of it now; `None` when the look is for another reason.
    pub states: Option<States>,
}

/// What the stream of events tells.
#[derive(Debug, PartialEq)]
enum News {
    /// The states of a sandbox of this pod and of the containers in it.
    Of(String, States),
    /// The sandbox or container of this ID is removed.
    Gone(String),
    /// Something that only a list tells: what was missed.
    Unclear,
}

/// What an event tells; `None` of what is no pod of a kubelet.
fn news(event: cri::ContainerEventResponse) -> Option<News> {
    if event.container_event_type() == cri::ContainerEventType::ContainerDeletedEvent {
        return Some(News::Gone(event.container_id));
    }
    let Some(sandbox) = event.pod_sandbox_status else { return Some(News::Unclear) };
    let uid = labels::pod_uid(&sandbox.labels)?.clone();
    let containers = event.containers_statuses.into_iter().map(|container| (container.id, container.state));
    Some(News::Of(uid, containers.chain([(sandbox.id, sandbox.state)]).collect()))
}

/// The UIDs whose sandboxes or containers differ between two relists.
pub fn changed(before: &Seen, after: &Seen) -> BTreeSet<String> {
    let mut uids = BTreeSet::new();
    for (uid, states) in after {
        if before.get(uid) != Some(states) {
            uids.insert(uid.clone());
        }
    }
    uids.extend(before.keys().filter(|uid| !after.contains_key(*uid)).cloned());
    uids
}

/// When the next list is due. One that failed has dropped the news before it: the next one makes up for them.
fn period(listed: bool, streaming: bool) -> Duration {
    if listed && streaming { PERIOD_WITH_EVENTS } else { PERIOD }
}

/// Tells how the last list went, where the one before went otherwise: another reason for the same is no news.
fn tell_health(healthy: &watch::Sender<Result<(), String>>, now: Result<(), String>) {
    healthy.send_if_modified(|before| {
        let turned = before.is_ok() != now.is_ok();
        if turned {
            *before = now;
        }
        turned
    });
}

/// The task that listens and relists.
pub struct Pleg {
    runtime: Runtime,
    seen: Seen,
}

impl Pleg {
    /// A generator over this runtime.
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, seen: Seen::new() }
    }

    /// Sends the pods that changed. `healthy` tells whether the last relist worked. Runs for ever.
    pub async fn run(mut self, changes: mpsc::Sender<Change>, healthy: watch::Sender<Result<(), String>>) {
        let (tell, mut told) = mpsc::channel(NEWS);
        let (streaming, stream_up) = watch::channel(false);
        let _events = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(
            follow_events(self.runtime.clone(), tell, streaming).boxed(),
        ));
        let mut last: Option<Instant> = None;
        loop {
            // What the list tells is newer.
            while told.try_recv().is_ok() {}
            let (begun, since) = (Instant::now(), Timestamp::now());
            if let Some(last) = last.replace(begun) {
                self.runtime.meters.relist_intervals.observe(&[], begun.saturating_duration_since(last));
            }
            let listed = self.relist().await;
            self.runtime.meters.relists.observe(&[], begun.elapsed());
            if let Err(error) = &listed {
                tracing::warn!("listing the runtime's pods: {} {error}", error.call);
            }
            tell_health(&healthy, listed.as_ref().map(|_| ()).map_err(ToString::to_string));
            let succeeded = listed.is_ok();
            if succeeded {
                self.runtime.meters.last_relist.set(since.as_second() as f64);
            }
            if let Ok(after) = listed
                && !self.take(after, &changes).await
            {
                return;
            }
            let period = period(succeeded, *stream_up.borrow());
            if !self.listen(&mut told, period, &changes).await {
                return;
            }
        }
    }

    /// Takes a list over; false when nobody wants to know any more.
    async fn take(&mut self, after: Seen, changes: &mpsc::Sender<Change>) -> bool {
        let uids = changed(&self.seen, &after);
        self.seen = after;
        for uid in uids {
            if !self.tell(uid, changes).await {
                return false;
            }
        }
        true
    }

    /// Takes news until a list is due; false when nobody wants to know any more.
    async fn listen(
        &mut self,
        told: &mut mpsc::Receiver<News>,
        period: Duration,
        changes: &mpsc::Sender<Change>,
    ) -> bool {
        let due = tokio::time::Instant::now() + period;
        loop {
            let changed = match tokio::time::timeout_at(due, told.recv()).await {
                Ok(Some(News::Of(uid, states))) => self.note(&uid, states).then_some(uid),
                Ok(Some(News::Gone(id))) => self.removed(&id),
                Ok(Some(News::Unclear) | None) | Err(_) => return true,
            };
            if let Some(uid) = changed
                && !self.tell(uid, changes).await
            {
                return false;
            }
        }
    }

    /// Forgets what is removed; answers with its pod.
    fn removed(&mut self, id: &str) -> Option<String> {
        let (uid, states) = self.seen.iter_mut().find(|(_, states)| states.contains_key(id))?;
        let uid = uid.clone();
        states.remove(id);
        if states.is_empty() {
            self.seen.remove(&uid);
        }
        Some(uid)
    }

    /// Takes states over; whether there is anything new in them. What a pod has besides is told by events of its own.
    fn note(&mut self, uid: &str, states: States) -> bool {
        let known = self.seen.entry(uid.to_owned()).or_default();
        states.into_iter().fold(false, |new, (id, state)| known.insert(id, state) != Some(state) || new)
    }

    async fn tell(&self, uid: String, changes: &mpsc::Sender<Change>) -> bool {
        let states = Some(self.seen.get(&uid).cloned().unwrap_or_default());
        changes.send(Change { uid, states }).await.is_ok()
    }

    async fn relist(&self) -> Result<Seen, RuntimeError> {
        let mut seen = Seen::new();
        for sandbox in self.runtime.list_sandboxes().await? {
            if let Some(uid) = labels::pod_uid(&sandbox.labels) {
                seen.entry(uid.clone()).or_default().insert(sandbox.id, sandbox.state);
            }
        }
        for container in self.runtime.list_containers().await? {
            if let Some(uid) = labels::pod_uid(&container.labels) {
                seen.entry(uid.clone()).or_default().insert(container.id, container.state);
            }
        }
        Ok(seen)
    }
}

/// Passes the runtime's events on. A runtime without events leaves the relist at its short period.
async fn follow_events(runtime: Runtime, tell: mpsc::Sender<News>, up: watch::Sender<bool>) {
    loop {
        match runtime.events().await {
            Ok(stream) => {
                up.send_replace(true);
                let passed = pass_on(stream, &tell).await;
                up.send_replace(false);
                // What moves from now on is seen by lists alone.
                if !passed || tell.send(News::Unclear).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::debug!("no container events: {error}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Passes the events of one stream on to its end; false when nobody takes them any more.
async fn pass_on(mut stream: tonic::Streaming<cri::ContainerEventResponse>, tell: &mpsc::Sender<News>) -> bool {
    // What moved before the stream began.
    let mut next = Some(News::Unclear);
    loop {
        if let Some(news) = next
            && tell.send(news).await.is_err()
        {
            return false;
        }
        match stream.next().await {
            Some(Ok(event)) => next = news(event),
            Some(Err(_)) | None => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(rows: &[(&str, &str, i32)]) -> Seen {
        let mut seen = Seen::new();
        for (uid, id, state) in rows {
            seen.entry((*uid).into()).or_default().insert((*id).into(), *state);
        }
        seen
    }

    #[test]
    fn only_pods_whose_states_moved_are_named() {
        let before = seen(&[("a", "1", 1), ("b", "2", 1), ("c", "3", 1)]);
        let after = seen(&[("a", "1", 1), ("b", "2", 2), ("d", "4", 0)]);
        assert_eq!(changed(&before, &after).into_iter().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert!(changed(&after, &after).is_empty());
    }

    #[test]
    fn only_a_list_that_succeeded_leaves_the_rest_to_events() {
        assert_eq!(period(true, true), PERIOD_WITH_EVENTS);
        assert_eq!([period(true, false), period(false, true), period(false, false)], [PERIOD; 3]);
    }

    #[test]
    fn health_is_told_when_it_turns() {
        let (tell, mut told) = watch::channel(Ok(()));
        let fails = |why: &str| Err(why.to_owned());
        for (now, news) in [(Ok(()), false), (fails("a"), true), (fails("b"), false), (Ok(()), true)] {
            tell_health(&tell, now.clone());
            assert_eq!(told.has_changed().unwrap(), news, "{now:?}");
            told.mark_unchanged();
        }
    }

    fn event(kind: cri::ContainerEventType, uid: Option<&str>, container: i32) -> cri::ContainerEventResponse {
        let labels = uid.map(|uid| (labels::POD_UID.to_owned(), uid.to_owned())).into_iter().collect();
        cri::ContainerEventResponse {
            container_id: "c".into(),
            container_event_type: kind.into(),
            pod_sandbox_status: Some(cri::PodSandboxStatus { id: "s".into(), labels, ..Default::default() }),
            containers_statuses: vec![cri::ContainerStatus { id: "c".into(), state: container, ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn an_event_tells_the_states_of_its_pod_or_what_is_removed() {
        use cri::ContainerEventType::{ContainerDeletedEvent, ContainerStartedEvent};
        let states = States::from([("s".to_owned(), 0), ("c".to_owned(), 1)]);
        assert_eq!(news(event(ContainerStartedEvent, Some("a"), 1)), Some(News::Of("a".into(), states)));
        assert_eq!(news(event(ContainerStartedEvent, None, 1)), None);
        assert_eq!(news(event(ContainerDeletedEvent, Some("a"), 1)), Some(News::Gone("c".into())));
        let gone = cri::ContainerEventResponse { pod_sandbox_status: None, ..event(ContainerStartedEvent, None, 1) };
        assert_eq!(news(gone), Some(News::Unclear));
    }

    #[tokio::test]
    async fn only_news_are_passed_on_until_a_list_is_due() {
        let mut pleg = Pleg::new(Runtime::connect(std::path::Path::new("/nowhere")));
        pleg.seen = seen(&[("a", "old", 1)]);
        let (tell, mut told) = mpsc::channel(8);
        let (changes, mut changed) = mpsc::channel(8);
        for state in [0, 1, 1] {
            tell.send(News::Of("a".into(), States::from([("c".into(), state)]))).await.unwrap();
        }
        for id in ["old", "old", "c"] {
            tell.send(News::Gone(id.into())).await.unwrap();
        }
        tell.send(News::Unclear).await.unwrap();
        assert!(pleg.listen(&mut told, Duration::from_secs(60), &changes).await);
        let states = [&[("old", 1), ("c", 0)][..], &[("old", 1), ("c", 1)], &[("c", 1)], &[]];
        for states in states {
            let states: States = states.iter().map(|(id, state)| ((*id).to_owned(), *state)).collect();
            assert_eq!(changed.try_recv(), Ok(Change { uid: "a".into(), states: Some(states) }));
        }
        assert!(pleg.seen.is_empty(), "nothing is left of the pod");
        assert!(changed.try_recv().is_err(), "what is known is no change");
        assert!(pleg.listen(&mut told, Duration::ZERO, &changes).await, "then a list is due");
        drop(changed);
        tell.send(News::Of("b".into(), States::from([("d".into(), 0)]))).await.unwrap();
        assert!(!pleg.listen(&mut told, Duration::from_secs(60), &changes).await);
    }
}
