//! Reading manifests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Toleration};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::pod::spec::DEFAULT_GRACE;
use crate::runtime::{CONFIG_SEEN, CONFIG_SOURCE};

/// Annotation: what a static pod was made from.
pub const HASH: &str = "kubernetes.io/config.hash";
/// Annotation of a mirror pod: the hash of the static pod that it shows.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Where static pods come from.
const FILE: &str = "file";
/// How often the directory is looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// Larger files are no manifests.
const MAX_BYTES: u64 = 1 << 20;
/// More manifests than a node has pods are a mistake.
const MAX_FILES: usize = 256;

/// Whether a pod comes from a manifest of the node.
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, CONFIG_SOURCE) == Some(FILE)
}

/// Whether an API object only shows a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR).is_some()
}

/// An annotation of a pod.
pub fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The manifest files of a directory, in order of their names.
fn files(dir: &Path) -> Vec<PathBuf> {
    let manifest = |path: &PathBuf| {
        let visible = path.file_name().is_some_and(|n| !n.as_encoded_bytes().starts_with(b"."));
        visible && path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known))
    };
    let mut files: Vec<_> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).filter(manifest).collect();
    files.sort();
    files.truncate(MAX_FILES);
    files
}

/// A static pod from the text of its manifest. JSON is YAML, too.
fn parse(text: &str, path: &Path, node: &str) -> Result<Pod, String> {
    let mut pod: Pod = serde_yaml_ng::from_str(text).map_err(|e| e.to_string())?;
    let name = pod.metadata.name.clone().filter(|n| !n.is_empty()).ok_or("metadata.name is missing")?;
    let spec = pod.spec.as_mut().ok_or("spec is missing")?;
    if spec.containers.is_empty() {
        return Err("spec.containers is empty".into());
    }
    if spec.ephemeral_containers.as_ref().is_some_and(|l| !l.is_empty()) {
        return Err("static pods have no ephemeral containers".into());
    }
    if spec.service_account_name.as_ref().is_some_and(|n| !n.is_empty()) {
        return Err("static pods may not use a service account".into());
    }
    spec.node_name = Some(node.to_owned());
    // What the API server fills in for all others.
    spec.termination_grace_period_seconds.get_or_insert(DEFAULT_GRACE);
    let everything =
        Toleration { operator: Some("Exists".into()), effect: Some("NoExecute".into()), ..Default::default() };
    spec.tolerations.get_or_insert_default().push(everything);
    let mut hash = Sha256::new();
    for part in [node.as_bytes(), path.as_os_str().as_encoded_bytes(), text.as_bytes()] {
        hash.update(part);
        hash.update([0]);
    }
    let uid = hex::encode(&hash.finalize()[..16]);
    let meta = &mut pod.metadata;
    meta.name = Some(format!("{name}-{}", node.to_lowercase()));
    meta.namespace.get_or_insert_with(|| "default".into());
    meta.uid = Some(uid.clone());
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(HASH.into(), uid);
    annotations.insert(CONFIG_SOURCE.into(), FILE.into());
    annotations.insert(CONFIG_SEEN.into(), jiff::Timestamp::now().to_string());
    pod.status = None;
    Ok(pod)
}

/// All static pods, by their UID. What cannot be read is named in the log and left out.
pub fn read_all(dir: &Path, node: &str) -> BTreeMap<String, Arc<Pod>> {
    let mut pods = BTreeMap::new();
    for path in files(dir) {
        let text = match fs::metadata(&path) {
            Ok(meta) if meta.len() > MAX_BYTES => Err(format!("it is larger than {MAX_BYTES} bytes")),
            Ok(_) => fs::read_to_string(&path).map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        match text.and_then(|text| parse(&text, &path, node)) {
            Ok(pod) => drop(pods.insert(pod.metadata.uid.clone().unwrap_or_default(), Arc::new(pod))),
            Err(problem) => tracing::warn!(manifest = %path.display(), "a static pod is left out: {problem}"),
        }
    }
    pods
}

/// What tells one state of the directory from another.
fn stamp(dir: &Path) -> Vec<(PathBuf, u64, Option<std::time::SystemTime>)> {
    let of = |path: PathBuf| {
        let meta = fs::metadata(&path).ok();
        (path, meta.as_ref().map_or(0, fs::Metadata::len), meta.and_then(|m| m.modified().ok()))
    };
    files(dir).into_iter().map(of).collect()
}

/// Tells of changes for ever.
pub async fn watch_loop(dir: PathBuf, node: String, tell: watch::Sender<BTreeMap<String, Arc<Pod>>>) {
    let mut seen = stamp(&dir);
    loop {
        tokio::time::sleep(PERIOD).await;
        let now = stamp(&dir);
        if now != seen {
            seen = now;
            let pods = read_all(&dir, &node);
            tell.send_if_modified(|known| {
                // A file that was only touched makes no new pod: its UID is that of its content.
                let same = known.keys().eq(pods.keys());
                if !same {
                    *known = pods;
                }
                !same
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_become_pods_of_this_node_and_wrong_ones_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let good = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: i}]}\n";
        write("web.yaml", good);
        write(".hidden.yaml", good);
        write("notes.txt", good);
        write("torn.yaml", "apiVersion: v1\nkind: Pod\nmeta");
        write("empty.json", r#"{"metadata": {"name": "e"}, "spec": {"containers": []}}"#);
        write("account.yaml", &good.replace("{containers", "{serviceAccountName: a, containers"));
        let pods = read_all(dir.path(), "Node-1");
        assert_eq!(pods.len(), 1);
        let (uid, pod) = pods.first_key_value().unwrap();
        assert_eq!(pod.metadata.name.as_deref(), Some("web-node-1"));
        assert_eq!((pod.metadata.namespace.as_deref(), annotation(pod, HASH)), (Some("default"), Some(uid.as_str())));
        assert!(is_static(pod) && !is_mirror(pod));
        assert_eq!(pod.spec.as_ref().unwrap().termination_grace_period_seconds, Some(30));
        let again = read_all(dir.path(), "Node-1");
        assert_eq!(again.keys().collect::<Vec<_>>(), [uid]);
        write("web.yaml", &good.replace("image: i", "image: j"));
        assert!(!read_all(dir.path(), "Node-1").contains_key(uid), "another content is another pod");
    }
}
