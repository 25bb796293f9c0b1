//! Whose status is written when.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::{Entry, StatusManager};
use crate::pod::spec;

/// Writes at the same time.
const PARALLEL: usize = 4;
/// After failed writes the next try comes this late; without them nothing is looked for.
const PERIOD: Duration = Duration::from_secs(5);
/// No write takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

impl StatusManager {
    /// The pod that waits longest for its status to be written, but for these.
    fn due(&self, resting: &HashSet<String>) -> Option<Entry> {
        self.with(|entries| {
            let behind = entries.iter().filter(|(uid, entry)| entry.written < entry.version && !resting.contains(*uid));
            behind.min_by_key(|(_, entry)| entry.place).map(|(_, entry)| entry.clone())
        })
    }

    /// Each write begins with what is newest when its turn comes, and waits for no other pod's.
    pub(super) async fn run(self) {
        let mut writing = FuturesUnordered::new();
        // Pods that are being written, and those whose write failed since something moved last.
        let (mut resting, mut failed) = (HashSet::new(), Vec::<String>::new());
        loop {
            while writing.len() < PARALLEL
                && let Some(entry) = self.due(&resting)
            {
                resting.insert(spec::uid(&entry.pod).to_owned());
                writing.push(self.write(entry));
            }
            let again = tokio::select! {
                Some((uid, rests)) = writing.next() => {
                    if rests {
                        failed.push(uid);
                    } else {
                        resting.remove(&uid);
                    }
                    false
                }
                () = self.kick.notified() => true,
                () = tokio::time::sleep(PERIOD), if !failed.is_empty() => true,
            };
            if again {
                for uid in failed.drain(..) {
                    resting.remove(&uid);
                }
            }
        }
    }

    /// Writes a status; answers with the pod, and whether that failed and nothing newer is published, so that it rests for a while.
    async fn write(&self, entry: Entry) -> (String, bool) {
        let uid = spec::uid(&entry.pod).to_owned();
        let written = match tokio::time::timeout(PATIENCE, self.write_one(&entry)).await {
            // False: the object that shows a static pod is not there yet: tried again soon.
            Ok(Ok(written)) => written,
            Ok(Err(error)) => {
                tracing::warn!(pod = %spec::describe(&entry.pod), "writing the pod's status: {}", crate::api_error::chain(&error));
                false
            }
            Err(_) => {
                tracing::warn!(pod = %spec::describe(&entry.pod), "writing the pod's status took too long");
                false
            }
        };
        let rests = self.with(|entries| {
            let Some(current) = entries.get_mut(&uid) else { return false };
            // Written or not, its next turn comes after those of all who wait now.
            current.place = self.next_version();
            if written {
                current.written = current.written.max(entry.version);
            }
            !written && current.version <= entry.version
        });
        (uid, rests)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::{Pod, PodStatus};
    use kube::Client;
    use serde_json::json;

    use super::*;

    async fn next(told: &mut tokio::sync::mpsc::UnboundedReceiver<String>) -> String {
        tokio::time::timeout(Duration::from_secs(60), told.recv()).await.unwrap().unwrap()
    }

    fn publish(manager: &StatusManager, name: &str, phase: &str) {
        let pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name}});
        let pod = Arc::new(serde_json::from_value::<Pod>(pod).unwrap());
        manager.publish(&pod, PodStatus { phase: Some(phase.to_owned()), ..Default::default() }, false);
    }

    #[tokio::test]
    async fn who_waits_keeps_its_place_however_often_it_changes_and_who_failed_comes_last() {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, tower::BoxError>("not there".into())
        });
        let (manager, _) = StatusManager::new(Client::new(service, "default"));
        for (name, phase) in [("a", "Pending"), ("b", "Pending"), ("a", "Running")] {
            publish(&manager, name, phase);
        }
        let due = || manager.due(&HashSet::new()).unwrap();
        let first = due();
        assert_eq!((spec::uid(&first.pod), first.status.phase.as_deref()), ("a", Some("Running")));
        assert_eq!(manager.write(first).await, ("a".to_owned(), true));
        assert_eq!(spec::uid(&due().pod), "b");
        assert_eq!(manager.write(due()).await, ("b".to_owned(), true));
        publish(&manager, "b", "Running");
        assert_eq!(spec::uid(&due().pod), "a", "of two that failed the one that did so first");
    }

    #[tokio::test]
    async fn a_write_that_hangs_holds_up_no_other_pod_and_who_waited_writes_its_newest_status() {
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let held = Arc::clone(&gate);
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (held, tell) = (Arc::clone(&held), tell.clone());
            async move {
                let name = request.uri().path().split('/').nth(6).unwrap_or_default().to_owned();
                let body = http_body_util::BodyExt::collect(request.into_body()).await?.to_bytes();
                let _ = tell.send(format!("{name} {}", String::from_utf8_lossy(&body)));
                if name.starts_with("slow") {
                    drop(held.acquire().await);
                }
                let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "uid": name}});
                let answer = kube::client::Body::from(object.to_string().into_bytes());
                Ok::<_, tower::BoxError>(http::Response::builder().status(200).body(answer)?)
            }
        });
        let (manager, writes) = StatusManager::new(Client::new(service, "default"));
        let _writes = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(writes));
        let publish = |name: &str, phase: &str| publish(&manager, name, phase);
        publish("slow-0", "Pending");
        assert!(next(&mut told).await.starts_with("slow-0 "));
        publish("quick", "Pending");
        assert!(next(&mut told).await.starts_with("quick "), "beside one that hangs");
        for nth in 1..PARALLEL {
            publish(&format!("slow-{nth}"), "Pending");
            assert!(next(&mut told).await.starts_with("slow-"));
        }
        publish("late", "Pending");
        publish("late", "Running");
        gate.add_permits(1);
        let late = next(&mut told).await;
        assert!(late.starts_with("late ") && late.contains("Running"), "{late}");
        tokio::time::timeout(Duration::from_secs(60), manager.written()).await.unwrap();
        assert!(told.try_recv().is_err(), "what was overtaken is not written");
    }
}
