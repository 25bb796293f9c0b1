//! Writing pod statuses to the API, and deleting the objects of pods that have ended.
//!
//! Workers publish what is; this task makes the API say so. It is level-triggered: only the latest status of a pod is kept, and
//! what failed is tried again. Patches carry UID and resourceVersion, so neither another pod of the same name nor a newer write
//! of someone else's condition is ever overwritten.

mod patch;
mod turns;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::sync::Notify;

use crate::api_error::unless_forbidden;
use crate::pod::spec;
use crate::static_pods::{is_static, shows};
use patch::{since_first, status_patch};

/// How often a status is written against conflicts before others get their turn.
const ATTEMPTS: u32 = 5;
/// The pace of tries while somebody waits for the last one.
const HURRY: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Entry {
    pod: Arc<Pod>,
    status: PodStatus,
    /// Higher with every publication of any pod; what was written is compared with it.
    version: u64,
    written: u64,
    /// Its place among those that wait: the lowest is written first.
    place: u64,
    /// The kubelet is done with the pod: its object may go.
    finished: bool,
    /// The version of `pod` that the last write began with, and what the API answered.
    answer: Option<(Option<String>, Arc<Pod>)>,
}

impl Entry {
    /// Something newer is published. Who waits already keeps its place, however often it changes.
    fn renew(&mut self, version: u64) {
        if self.written >= self.version {
            self.place = version;
        }
        self.version = version;
    }

    /// The newest version known: until the watch shows another one, the answer to the last write is.
    fn newest(&self) -> &Arc<Pod> {
        let answered = self.answer.as_ref().filter(|(from, _)| *from == self.pod.metadata.resource_version);
        answered.map_or(&self.pod, |(_, pod)| pod)
    }
}

/// Handle; clones share the state.
#[derive(Clone)]
pub struct StatusManager {
    entries: Arc<Mutex<HashMap<String, Entry>>>,
    kick: Arc<Notify>,
    /// Never starts over: a write for what was forgotten says nothing of what has its UID now.
    versions: Arc<AtomicU64>,
    client: Client,
}

impl StatusManager {
    /// The manager and its task.
    pub fn new(client: Client) -> (Self, impl Future<Output = ()> + Send) {
        let kick = Arc::new(Notify::new());
        let manager = Self { entries: Arc::default(), kick, versions: Arc::default(), client };
        (manager.clone(), manager.run())
    }

    fn with<T>(&self, f: impl FnOnce(&mut HashMap<String, Entry>) -> T) -> T {
        f(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Called with the entries locked, so that a later publication has a higher one.
    fn next_version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Publishes the status of a pod. `finished`: no container, volume or cgroup of it is left.
    pub fn publish(&self, pod: &Arc<Pod>, status: PodStatus, finished: bool) {
        let changed = self.with(|entries| {
            let uid = spec::uid(pod).to_owned();
            match entries.get_mut(&uid) {
                Some(entry) => {
                    let status = since_first(&entry.status, status);
                    let same =
                        entry.status == status && entry.finished == finished && entry.pod.metadata == pod.metadata;
                    if same {
                        return false;
                    }
                    if entry.pod.metadata.resource_version != pod.metadata.resource_version {
                        entry.answer = None;
                    }
                    entry.pod = pod.clone();
                    entry.status = status;
                    entry.finished = finished;
                    entry.renew(self.next_version());
                    true
                }
                None => {
                    let version = self.next_version();
                    let (pod, written, place) = (pod.clone(), 0, version);
                    let entry = Entry { pod, status, version, written, place, finished, answer: None };
                    entries.insert(uid, entry);
                    true
                }
            }
        });
        if changed {
            self.kick.notify_one();
        }
    }

    /// Notes what the API answered to a write that began with this version of the pod, unless the watch was faster.
    fn answered(&self, pod: &Pod, answer: &Pod) {
        let from = &pod.metadata.resource_version;
        self.with(|entries| {
            let entry = entries.get_mut(spec::uid(pod));
            if let Some(entry) = entry.filter(|entry| entry.pod.metadata.resource_version == *from) {
                entry.answer = Some((from.clone(), Arc::new(answer.clone())));
            }
        });
    }

    /// The latest published status of a pod.
    pub fn latest(&self, uid: &str) -> Option<PodStatus> {
        self.with(|entries| entries.get(uid).map(|e| e.status.clone()))
    }

    /// Writes the status of a pod again: its object was made anew.
    pub fn write_again(&self, uid: &str) {
        self.with(|entries| {
            if let Some(entry) = entries.get_mut(uid) {
                entry.renew(self.next_version());
            }
        });
        self.kick.notify_one();
    }

    /// Forgets a pod whose object is gone.
    pub fn forget(&self, uid: &str) {
        self.with(|entries| entries.remove(uid));
    }

    /// What is published of the pod, if that is newer than what is being written.
    fn newer(&self, entry: &Entry) -> Option<Entry> {
        let is_newer = |found: &&Entry| found.version > entry.version;
        self.with(|entries| entries.get(spec::uid(&entry.pod)).filter(is_newer).cloned())
    }

    fn behind(&self) -> bool {
        self.with(|entries| entries.values().any(|e| e.written < e.version))
    }

    /// Resolves when the API has heard everything that is published by now; what fails is tried again until then.
    pub async fn written(&self) {
        while self.behind() {
            self.kick.notify_one();
            tokio::time::sleep(HURRY).await;
        }
    }

    /// Resolves when the API has heard what is published of a pod by now, or after so long.
    pub async fn heard(&self, uid: &str, limit: Duration) {
        let behind = || self.with(|entries| entries.get(uid).is_some_and(|e| e.written < e.version));
        let hearing = async {
            while behind() {
                tokio::time::sleep(HURRY).await;
            }
        };
        if tokio::time::timeout(limit, hearing).await.is_err() {
            tracing::debug!(uid, "the API has not heard of a pod's status yet");
        }
    }

    /// Writes a status; false when it must be tried again: there is no object to write it to yet, or others change it all the time.
    async fn write_one(&self, due: &Entry) -> Result<bool, kube::Error> {
        let mut entry = due.clone();
        let name = spec::name(&due.pod);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), spec::namespace(&due.pod));
        let of_file = is_static(&due.pod);
        let mut current: Pod = (**entry.newest()).clone();
        if of_file {
            match unless_forbidden(api.get_opt(name).await)? {
                Some(mirror) if shows(&mirror, &entry.pod) => current = mirror,
                _ => return Ok(false),
            }
        }
        let uid = spec::uid(&current).to_owned();
        let uid = uid.as_str();
        // The first try trusts the watch and the last answer; after a conflict the object is read anew.
        for attempt in 1.. {
            let Some(patch) = status_patch(&current.status.clone().unwrap_or_default(), &entry.status) else { break };
            let body = json!({"metadata": {"uid": uid, "resourceVersion": current.metadata.resource_version}, "status": patch});
            match api.patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await {
                Ok(updated) => {
                    // That of a mirror is read anew each time.
                    if !of_file {
                        self.answered(&entry.pod, &updated);
                    }
                    current = updated;
                    break;
                }
                Err(kube::Error::Api(status)) if status.code == 409 || status.code == 422 => {
                    if attempt == ATTEMPTS && status.code == 409 {
                        return Ok(false);
                    }
                    if attempt == ATTEMPTS {
                        // What the server refuses as invalid is not better a moment later, and must not hold the pod back for ever.
                        tracing::warn!(pod = %spec::describe(&entry.pod), "the pod's status is refused: {}", status.message);
                        break;
                    }
                    // What is known to be old is not written over what is new.
                    entry = self.newer(&entry).unwrap_or(entry);
                    match unless_forbidden(api.get_opt(name).await)? {
                        Some(fresh) if fresh.metadata.uid.as_deref() == Some(uid) => current = fresh,
                        Some(_) => return Ok(true),
                        // Gone, or its name is that of another node's pod by now; the worker forgets it when the watch tells.
                        None => return Ok(false),
                    }
                }
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(!of_file),
                Err(error) => return Err(error),
            }
        }
        let deleting = entry.pod.metadata.deletion_timestamp.is_some() || current.metadata.deletion_timestamp.is_some();
        if entry.finished && deleting && !of_file {
            self.delete(&api, name, uid).await?;
        }
        Ok(true)
    }

    async fn delete(&self, api: &Api<Pod>, name: &str, uid: &str) -> Result<(), kube::Error> {
        let preconditions = Some(Preconditions { uid: Some(uid.into()), resource_version: None });
        let params = DeleteParams { grace_period_seconds: Some(0), preconditions, ..Default::default() };
        match api.delete(name, &params).await {
            Ok(_) => {
                tracing::debug!(pod = name, "the pod's object was deleted");
                Ok(())
            }
            // Gone already, or the name belongs to a new pod.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_written_over_the_last_answer_until_the_watch_shows_another_version() {
        let pod = |version: &str| {
            let object = json!({"metadata": {"uid": "u", "resourceVersion": version}});
            Arc::new(serde_json::from_value::<Pod>(object).unwrap())
        };
        let answer = Some((Some("1".to_owned()), pod("2")));
        let (status, version, written, place, finished) = (PodStatus::default(), 1, 0, 1, false);
        let mut entry = Entry { pod: pod("1"), status, version, written, place, finished, answer };
        let newest = |entry: &Entry| entry.newest().metadata.resource_version.clone();
        assert_eq!(newest(&entry).as_deref(), Some("2"), "the watch has not shown it yet");
        entry.pod = pod("3");
        assert_eq!(newest(&entry).as_deref(), Some("3"));
        entry = Entry { pod: pod("1"), answer: None, ..entry };
        assert_eq!(newest(&entry).as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn a_write_that_is_overtaken_goes_on_with_what_is_newer() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u"}});
        let (object, asked) = (pod.to_string(), Arc::new(Mutex::new(Vec::<String>::new())));
        let noted = Arc::clone(&asked);
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (object, noted) = (object.clone(), Arc::clone(&noted));
            async move {
                let method = request.method().to_string();
                let body = http_body_util::BodyExt::collect(request.into_body()).await?.to_bytes();
                let mut noted = noted.lock().unwrap();
                noted.push(format!("{method} {}", String::from_utf8_lossy(&body)));
                let conflict =
                    r#"{"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": "no"}"#;
                let (code, text) = if noted.len() == 1 { (409, conflict.to_owned()) } else { (200, object) };
                let answer = kube::client::Body::from(text.into_bytes());
                Ok::<_, tower::BoxError>(http::Response::builder().status(code).body(answer)?)
            }
        });
        let (manager, _) = StatusManager::new(Client::new(service, "default"));
        let pod: Arc<Pod> = Arc::new(serde_json::from_value(pod).unwrap());
        let status = |phase: &str| PodStatus { phase: Some(phase.to_owned()), ..Default::default() };
        manager.publish(&pod, status("Pending"), false);
        let due = manager.with(|entries| entries.get("u").cloned()).unwrap();
        manager.publish(&pod, status("Running"), false);
        assert!(manager.write_one(&due).await.unwrap());
        let asked = asked.lock().unwrap();
        let phases = asked.iter().map(|told| (&told[..4], told.contains("Pending"), told.contains("Running")));
        assert_eq!(phases.collect::<Vec<_>>(), [("PATC", true, false), ("GET ", false, false), ("PATC", false, true)]);
    }
}
