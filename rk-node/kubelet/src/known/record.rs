//! The files: one of each pod, and one of what is around them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde::{Deserialize, Serialize};

use crate::disk::{read_json, read_or_default, write_atomically};
use crate::pod::{given, spec};
use crate::translate::ServiceInfo;

/// Below the kubelet's directory.
const DIR: &str = "known";
/// The file of what is around pods; no UID has a dot.
const SURROUNDINGS: &str = "surroundings.of-pods.json";
/// More pods than any node runs.
const MAX_PODS: usize = 1024;
/// The API takes no larger objects, and nodes have no more neighbours.
const MAX_BYTES: usize = 2 << 20;

/// What pods need to know of their node and its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Surroundings {
    /// The node's pod CIDR, or both with a comma between.
    pub pod_cidr: Option<String>,
    /// Services that environments of its pods name.
    pub services: Vec<Neighbour>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is kept of it.
    pub info: ServiceInfo,
}

impl Surroundings {
    /// Of what is known, what these pods can see: Services of their namespaces and the API server's.
    pub fn of(pods: &[&Pod], pod_cidr: Option<String>, services: &BTreeMap<(String, String), ServiceInfo>) -> Self {
        let namespaces: BTreeSet<&str> = pods.iter().map(|pod| spec::namespace(pod)).collect();
        let seen = services.iter().filter(|((namespace, name), _)| {
            namespaces.contains(namespace.as_str()) || (namespace == "default" && name == "kubernetes")
        });
        let services = seen.map(|((namespace, name), info)| Neighbour {
            namespace: namespace.clone(),
            name: name.clone(),
            info: info.clone(),
        });
        Self { pod_cidr, services: services.collect() }
    }

    /// The Services by namespace and name.
    pub fn into_services(self) -> BTreeMap<(String, String), ServiceInfo> {
        self.services.into_iter().map(|of| ((of.namespace, of.name), of.info)).collect()
    }
}

/// Whether a pod is to run when the API is away: one that has ended is not.
pub fn is_kept(pod: &Pod) -> bool {
    !spec::terminal_phase(pod.status.as_ref().and_then(|status| status.phase.as_deref()))
}

/// What is kept of a pod: what it asks for, or what it was given while it waits for that, which claims were made for it, and that it was
/// admitted. Without the API nobody knows what it was given otherwise, and it would have at once what the node cannot give.
pub fn record(pod: &Pod) -> Pod {
    let mut pod = if given::waits(pod) { Arc::unwrap_or_clone(given::as_given(pod)) } else { pod.clone() };
    pod.metadata.managed_fields = None;
    pod.status = pod.status.map(|status| PodStatus {
        phase: status.phase,
        start_time: status.start_time,
        qos_class: status.qos_class,
        resource_claim_statuses: status.resource_claim_statuses,
        extended_resource_claim_status: status.extended_resource_claim_status,
        ..PodStatus::default()
    });
    pod
}

/// The directory of these files.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The one below the kubelet's directory.
    pub fn new(kubelet: &Path) -> Self {
        Self { dir: kubelet.join(DIR) }
    }

    fn path(&self, uid: &str) -> io::Result<PathBuf> {
        let plain = !uid.is_empty() && uid.len() <= 64 && uid.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        match plain {
            true => Ok(self.dir.join(format!("{uid}.json"))),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{uid:?} is no UID"))),
        }
    }

    /// UIDs of the pods that are kept, at most [`MAX_PODS`].
    pub fn uids(&self) -> BTreeSet<String> {
        let names =
            fs::read_dir(&self.dir).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
        let pods = names.filter(|name| name != SURROUNDINGS && !name.starts_with('.'));
        pods.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).take(MAX_PODS).collect()
    }

    /// Keeps a pod, whole or not at all, readable by root alone.
    pub fn put(&self, pod: &Pod) -> io::Result<()> {
        write(&self.path(spec::uid(pod))?, pod)
    }

    /// Keeps what is around pods.
    pub fn put_surroundings(&self, around: &Surroundings) -> io::Result<()> {
        write(&self.dir.join(SURROUNDINGS), around)
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) -> io::Result<()> {
        match fs::remove_file(self.path(uid)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The pods that are kept, the oldest first. What cannot be read is named in the log and left out.
    pub fn pods(&self) -> Vec<Pod> {
        let mut pods: Vec<Pod> = Vec::new();
        for uid in self.uids() {
            let read = self.path(&uid).and_then(|path| read_json::<Pod>(&path));
            match read {
                Ok(Some(pod)) if spec::uid(&pod) == uid && is_kept(&pod) => pods.push(pod),
                Ok(_) => {}
                Err(error) => tracing::warn!(uid, "what was known of a pod cannot be read: {error}"),
            }
        }
        pods.sort_by(|a, b| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp));
        pods
    }

    /// What was around pods, as far as it can be read.
    pub fn surroundings(&self) -> Surroundings {
        read_or_default(&self.dir.join(SURROUNDINGS), "pods wait until the cluster tells it anew")
    }
}

fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::other)?;
    if text.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {MAX_BYTES} bytes")));
    }
    write_atomically(path, &text, 0o600)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    fn pod(uid: &str, created: &str, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": uid, "creationTimestamp": created, "managedFields": [{}]},
            "spec": {"containers": [{"name": "c"}]},
            "status": {"phase": phase, "startTime": created, "message": "m", "containerStatuses": []}}))
        .unwrap()
    }

    #[test]
    fn what_is_kept_is_read_again_by_root_alone_the_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert!(store.pods().is_empty() && store.surroundings() == Surroundings::default());
        let old = pod("b-1", "2024-01-01T00:00:00Z", "Running");
        let young = pod("a-1", "2024-01-02T00:00:00Z", "Pending");
        for pod in [&young, &old, &pod("c-1", "2024-01-03T00:00:00Z", "Failed")] {
            store.put(&record(pod)).unwrap();
        }
        let info = ServiceInfo { cluster_ip: "10.96.0.1".into(), ports: vec![("https".into(), 443, "TCP".into())] };
        let all = ["default/kubernetes", "ns/web", "other/web"].map(|of| {
            let (namespace, name) = of.split_once('/').unwrap();
            ((namespace.to_owned(), name.to_owned()), info.clone())
        });
        let around = Surroundings::of(&[&old], Some("10.244.1.0/24".into()), &BTreeMap::from(all));
        assert_eq!(around.services.len(), 2, "those of other namespaces are nobody's here");
        store.put_surroundings(&around).unwrap();
        let pods = store.pods();
        assert_eq!(pods.iter().map(spec::uid).collect::<Vec<_>>(), ["b-1", "a-1"], "what has ended does not run again");
        let kept = pods[0].status.clone().unwrap();
        assert_eq!((kept.phase.as_deref(), kept.start_time.is_some(), kept.message), (Some("Running"), true, None));
        assert!(pods[0].metadata.managed_fields.is_none() && pods[0].spec == old.spec);
        assert_eq!(store.surroundings(), around);
        let mode = |name: &str| fs::metadata(dir.path().join(DIR).join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a-1.json"), mode(SURROUNDINGS)), (0o600, 0o600));
        store.forget("a-1").unwrap();
        store.forget("a-1").unwrap();
        assert_eq!(store.uids(), BTreeSet::from(["b-1".to_owned(), "c-1".to_owned()]));
    }

    #[test]
    fn a_pod_whose_resize_waits_is_kept_with_what_it_was_given() {
        for (status, want) in [("True", "1"), ("False", "6")] {
            let pod = json!({"metadata": {"uid": "u"},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "6"}}}]},
                "status": {"phase": "Running", "conditions": [{"type": "PodResizePending", "status": status}],
                    "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                        "allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "1"}}}]}});
            let kept = record(&serde_json::from_value(pod).unwrap());
            let container = kept.spec.unwrap().containers.remove(0);
            assert_eq!(container.resources.unwrap().requests.unwrap()["cpu"].0, want);
            assert_eq!(kept.status.unwrap().conditions, None);
        }
    }

    #[test]
    fn a_pod_is_kept_with_the_claims_that_were_made_for_it() {
        let made = json!({"resourceClaimStatuses": [{"name": "a", "resourceClaimName": "p-a-x"}],
            "extendedResourceClaimStatus": {"resourceClaimName": "p-extended", "requestMappings": []}});
        let kept = record(&serde_json::from_value(json!({"metadata": {"uid": "u"}, "status": made})).unwrap());
        assert_eq!(serde_json::to_value(kept.status).unwrap(), made);
    }

    #[test]
    fn what_is_no_record_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        store.put(&pod("good", "2024-01-01T00:00:00Z", "Running")).unwrap();
        for (name, text) in
            [("torn.json", "{\"metadata\""), (".x.json.new", "{}"), ("other.json", "{}"), (SURROUNDINGS, "[")]
        {
            fs::write(dir.path().join(DIR).join(name), text).unwrap();
        }
        assert_eq!(store.pods().iter().map(spec::uid).collect::<Vec<_>>(), ["good"]);
        assert_eq!(store.surroundings(), Surroundings::default());
        for uid in ["", "../x", "a/b", "a.b"] {
            assert!(store.forget(uid).is_err(), "{uid}");
        }
    }
}
