//! Keeping the files true to what the API says.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::record::{Store, Surroundings, is_kept, record};
use crate::context::{Context, Shared};
use crate::pod::spec;
use crate::static_pods::is_static;

/// Changes of so long are written together.
const TOGETHER: Duration = Duration::from_secs(1);

/// What the files hold.
struct Keeper {
    store: Store,
    /// UIDs that have a file.
    on_disk: BTreeSet<String>,
    /// The version of each pod that was looked at last, and a digest of what is kept of it but for its version.
    seen: HashMap<String, (Option<String>, u64)>,
    around: Option<Surroundings>,
}

impl Keeper {
    fn new(store: Store) -> Self {
        Self { on_disk: store.uids(), store, seen: HashMap::new(), around: None }
    }

    /// Makes the files hold these pods and no others. What fails is tried again with the next change.
    fn keep(&mut self, pods: &[Arc<Pod>], around: Surroundings) {
        let kept: BTreeSet<String> = pods.iter().map(|pod| spec::uid(pod).to_owned()).collect();
        for uid in self.on_disk.difference(&kept).cloned().collect::<Vec<_>>() {
            match self.store.forget(&uid) {
                Ok(()) => {
                    self.on_disk.remove(&uid);
                }
                Err(error) => tracing::warn!(uid, "what was known of a pod stays on disk: {error}"),
            }
        }
        self.seen.retain(|uid, _| kept.contains(uid));
        for pod in pods {
            self.keep_one(pod);
        }
        // Without the API server's own Service the list is not here yet.
        if around.services.is_empty() || self.around.as_ref() == Some(&around) {
            return;
        }
        match self.store.put_surroundings(&around) {
            Ok(()) => self.around = Some(around),
            Err(error) => tracing::warn!("what is known of the cluster is not kept: {error}"),
        }
    }

    fn keep_one(&mut self, pod: &Pod) {
        let (uid, version) = (spec::uid(pod), &pod.metadata.resource_version);
        if self.seen.get(uid).is_some_and(|(seen, _)| seen == version) {
            return;
        }
        // A status that only counts on is no reason to write.
        let digest = digest(pod);
        let same = self.seen.get(uid).is_some_and(|(_, known)| *known == digest);
        if !same && let Err(error) = self.store.put(&record(pod)) {
            tracing::warn!(pod = %spec::describe(pod), "what is known of the pod is not kept: {error}");
            return;
        }
        self.on_disk.insert(uid.to_owned());
        self.seen.insert(uid.to_owned(), (version.clone(), digest));
    }
}

/// What tells one record of a pod from another, but for its version.
fn digest(pod: &Pod) -> u64 {
    let mut bare = record(pod);
    bare.metadata.resource_version = None;
    let mut hasher = DefaultHasher::new();
    serde_json::to_vec(&bare).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

fn around(context: &Context, pods: &[Arc<Pod>]) -> Surroundings {
    let pods: Vec<&Pod> = pods.iter().map(AsRef::as_ref).collect();
    let pod_cidr = context.node.borrow().pod_cidr.clone();
    Surroundings::of(&pods, pod_cidr, &context.services.known())
}

/// Keeps what the node knows, from the moment at which it knows all its pods. Runs for ever.
pub async fn keep_loop(context: Shared) {
    let mut view = context.pods.follow();
    let mut keeper = Keeper::new(context.known.clone());
    loop {
        let pods = {
            let view = view.borrow_and_update();
            let of_api = view.pods.iter().filter(|pod| !is_static(pod) && is_kept(pod)).cloned();
            view.listed.then(|| of_api.collect::<Vec<Arc<Pod>>>())
        };
        if let Some(pods) = pods {
            let around = around(&context, &pods);
            let written = tokio::task::spawn_blocking(move || {
                keeper.keep(&pods, around);
                keeper
            });
            match written.await {
                Ok(back) => keeper = back,
                Err(error) => {
                    tracing::error!("what the node knows is kept no longer: {error}");
                    return;
                }
            }
        }
        if view.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(TOGETHER).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;

    fn pod(uid: &str, version: &str, label: &str, restarts: i32) -> Arc<Pod> {
        let status = json!({"phase": "Running", "containerStatuses": [
            {"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": restarts}]});
        let meta = json!({"name": uid, "uid": uid, "resourceVersion": version, "labels": {"l": label}});
        Arc::new(serde_json::from_value(json!({"metadata": meta, "status": status})).unwrap())
    }

    #[test]
    fn files_follow_pods_and_are_written_for_what_matters_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        store.put(&pod("gone", "1", "a", 0)).unwrap();
        let path = dir.path().join("known/one.json");
        let written = || fs::metadata(&path).unwrap().modified().unwrap();
        let mut keeper = Keeper::new(store.clone());
        keeper.keep(&[pod("one", "1", "a", 0), pod("two", "1", "a", 0)], Surroundings::default());
        assert_eq!(store.uids(), BTreeSet::from(["one".to_owned(), "two".to_owned()]));
        fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        keeper.keep(&[pod("one", "2", "a", 7)], Surroundings::default());
        assert_eq!(written(), SystemTime::UNIX_EPOCH, "a container that restarted is no news");
        assert_eq!(store.uids(), BTreeSet::from(["one".to_owned()]));
        keeper.keep(&[pod("one", "3", "b", 7)], Surroundings::default());
        assert!(written() > SystemTime::UNIX_EPOCH);
        let kept = store.pods();
        assert_eq!(
            kept[0].metadata.resource_version.as_deref(),
            Some("3"),
            "what is out of date is noticed by the API"
        );
    }
}
