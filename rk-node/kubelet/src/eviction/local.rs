//! What pods take of the node's disk outside of volumes and writable layers: their logs, and the kubelet's own files of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use rk_figures::{Ask, Figures, Taken};

use super::usage::{logs, own_files};

/// How old the count may be: the pace at which pods' limits are watched, and cAdvisor's of file systems.
pub const FILES_AGE: Duration = Duration::from_secs(10);
/// How long one pod's files keep whoever asks.
const PATIENCE: Duration = Duration::from_secs(1);

/// Files of one pod.
#[derive(Clone, Debug, Default)]
pub struct LocalFiles {
    /// Logs by container.
    pub logs: BTreeMap<String, Taken>,
    /// The kubelet's own files of the pod.
    pub own: Taken,
}

/// Files of all pods: counted once for all who ask.
pub struct LocalUse {
    root: PathBuf,
    /// By UID, and whether the pod is known: without it nobody knows where its logs are.
    figures: Figures<(String, bool), LocalFiles>,
}

impl LocalUse {
    /// Logs are below `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), figures: Figures::new(PATIENCE) }
    }

    /// What is known of a pod with the directory `dir`; nothing, when that cannot be counted soon enough.
    pub async fn of(&self, uid: &str, pod: Option<&Arc<Pod>>, dir: PathBuf, ask: Ask) -> LocalFiles {
        let key = (uid.to_owned(), pod.is_some());
        let (pod, root) = (pod.cloned(), self.root.clone());
        let look = || async move {
            // Walking trees blocks.
            let walked = tokio::task::spawn_blocking(move || LocalFiles {
                logs: pod.map(|pod| logs(&pod, &root)).unwrap_or_default(),
                own: own_files(&dir),
            });
            walked.await.ok()
        };
        self.figures.get(&key, ask, look).await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_pod_s_logs_and_own_files_are_counted_once_for_all_who_ask() {
        let (root, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "u"}, "spec": {"containers": [{"name": "main"}]}
        }))
        .unwrap();
        let place = crate::translate::log_directory(root.path(), &pod).join("main");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("0.log"), vec![1; 50_000]).unwrap();
        let (local, pod) = (LocalUse::new(root.path()), Arc::new(pod));
        let ask = Ask::new(Duration::from_secs(60), Duration::from_secs(60));
        let first = local.of("u", Some(&pod), dir.path().to_owned(), ask).await;
        assert!(first.logs["main"].bytes >= 50_000, "{first:?}");
        std::fs::remove_dir_all(&place).unwrap();
        let second = local.of("u", Some(&pod), dir.path().to_owned(), ask).await;
        assert_eq!(second.logs, first.logs, "not looked for again");
        assert!(local.of("u", None, dir.path().to_owned(), ask).await.logs.is_empty());
    }
}
