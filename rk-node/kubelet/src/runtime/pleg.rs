//! Pod lifecycle event generator: lists the runtime about once a second, and at once on a CRI event, and says which pods changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;

use super::client::{Runtime, RuntimeError};
use super::labels;

/// Period of the relist; also how long a change may go unseen when the runtime has no event stream.
const PERIOD: Duration = Duration::from_secs(1);
/// With a working event stream the relist is only a safety net.
const PERIOD_WITH_EVENTS: Duration = Duration::from_secs(30);

/// What one relist saw: pod UID to the states of its sandboxes and containers by ID.
pub type Seen = HashMap<String, BTreeMap<String, i32>>;

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

/// The task that relists.
pub struct Pleg {
    runtime: Runtime,
    seen: Seen,
}

impl Pleg {
    /// A generator over this runtime.
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, seen: Seen::new() }
    }

    /// Sends the UIDs of changed pods. `healthy` tells whether the last relist worked. Runs for ever.
    pub async fn run(mut self, changes: mpsc::Sender<String>, healthy: watch::Sender<Result<(), String>>) {
        // One slot suffices: a kick means "list now", and two kicks mean the same.
        let (kick, mut kicked) = mpsc::channel::<()>(1);
        let (streaming, stream_up) = watch::channel(false);
        let _events = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(follow_events(
            self.runtime.clone(),
            kick,
            streaming,
        )));
        let mut last: Option<Instant> = None;
        loop {
            let begun = Instant::now();
            if let Some(last) = last.replace(begun) {
                self.runtime.meters.relist_intervals.observe(&[], begun.saturating_duration_since(last));
            }
            let listed = self.relist().await;
            self.runtime.meters.relists.observe(&[], begun.elapsed());
            match listed {
                Ok(after) => {
                    let uids = changed(&self.seen, &after);
                    self.seen = after;
                    for uid in uids {
                        if changes.send(uid).await.is_err() {
                            return;
                        }
                    }
                    healthy.send_if_modified(|h| {
                        h.is_err() && {
                            *h = Ok(());
                            true
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!("listing the runtime's pods: {} {error}", error.call);
                    healthy.send_if_modified(|h| {
                        h.is_ok() && {
                            *h = Err(error.to_string());
                            true
                        }
                    });
                }
            }
            let period = if *stream_up.borrow() { PERIOD_WITH_EVENTS } else { PERIOD };
            tokio::select! {
                () = tokio::time::sleep(period) => {}
                Some(()) = kicked.recv() => {}
            }
        }
    }

    async fn relist(&self) -> Result<Seen, RuntimeError> {
        let mut seen = Seen::new();
        for sandbox in self.runtime.list_sandboxes().await? {
            if let Some(uid) = sandbox.labels.get(labels::POD_UID) {
                seen.entry(uid.clone()).or_default().insert(sandbox.id, sandbox.state);
            }
        }
        for container in self.runtime.list_containers().await? {
            if let Some(uid) = container.labels.get(labels::POD_UID) {
                seen.entry(uid.clone()).or_default().insert(container.id, container.state);
            }
        }
        Ok(seen)
    }
}

/// Turns CRI events into kicks. A runtime without events leaves the relist at its short period.
async fn follow_events(runtime: Runtime, kick: mpsc::Sender<()>, up: watch::Sender<bool>) {
    loop {
        match runtime.events().await {
            Ok(mut stream) => {
                up.send_replace(true);
                while let Some(Ok(_)) = stream.next().await {
                    // A full slot means that a relist is due anyway.
                    let _ = kick.try_send(());
                }
            }
            Err(error) => tracing::debug!("no container events: {error}"),
        }
        up.send_replace(false);
        tokio::time::sleep(Duration::from_secs(10)).await;
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
}
