//! Reading manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Toleration};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::document::document;
use super::fetch::Fetched;
use super::references;
use super::removals::Removals;
use super::valid;
use crate::events::{PodRef, Recorder};
use crate::pod::spec;
use crate::runtime::{CONFIG_SEEN, CONFIG_SOURCE};

/// Annotation: what a static pod was made from.
pub const HASH: &str = "kubernetes.io/config.hash";
/// Annotation of a mirror pod: the hash of the static pod that it shows.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Where static pods come from: manifests of the node.
const FILE: &str = "file";
/// An address.
pub const HTTP: &str = "http";
/// What stands for the directory in the source of pods that the machine config has.
const GIVEN: &str = "machine-config";
/// How often the directory is looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// Larger files are no manifests.
const MAX_BYTES: u64 = 1 << 20;
/// More manifests than a node has pods are a mistake.
const MAX_FILES: usize = 256;

/// Whether a pod comes from a manifest of the node.
pub fn is_static(pod: &Pod) -> bool {
    matches!(annotation(pod, CONFIG_SOURCE), Some(FILE | HTTP))
}

/// Whether a pod comes from an address.
pub fn of_address(pod: &Pod) -> bool {
    annotation(pod, CONFIG_SOURCE) == Some(HTTP)
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

/// A static pod from the text of its manifest, which is at `path` of a kind of source.
pub fn parse(text: &str, path: &Path, source: &str, node: &str) -> Result<Pod, String> {
    let manifest = document(text)?;
    // By way of JSON, as every other pod comes: a second way to read a pod is a third of a megabyte of program.
    let said = manifest.to_string();
    let mut pod: Pod = serde_json::from_str(&said).map_err(|e| e.to_string())?;
    let name = pod.metadata.name.clone().filter(|n| !n.is_empty()).ok_or("metadata.name is missing")?;
    let spec = pod.spec.as_mut().ok_or("spec is missing")?;
    if let Some(problem) = references::refused(&manifest) {
        return Err(problem);
    }
    spec.node_name = Some(node.to_owned());
    if source == FILE {
        let everything =
            Toleration { operator: Some("Exists".into()), effect: Some("NoExecute".into()), ..Default::default() };
        spec.tolerations.get_or_insert_default().push(everything);
    }
    let mut hash = Sha256::new();
    // By what the manifest says, not by how it is written: a remark makes no other pod.
    for part in [node.as_bytes(), path.as_os_str().as_encoded_bytes(), said.as_bytes()] {
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
    annotations.insert(CONFIG_SOURCE.into(), source.into());
    annotations.insert(CONFIG_SEEN.into(), jiff::Timestamp::now().to_string());
    pod.status = None;
    valid::checked(&pod)
}

/// The static pods, each with the name of its manifest. What cannot be read is named in the log and left out.
fn read(dir: &Path, node: &str) -> Vec<(OsString, Pod)> {
    let mut pods = Vec::new();
    for path in files(dir) {
        let text = match fs::metadata(&path) {
            Ok(meta) if meta.len() > MAX_BYTES => Err(format!("it is larger than {MAX_BYTES} bytes")),
            Ok(_) => fs::read_to_string(&path).map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        match text.and_then(|text| parse(&text, &path, FILE, node)) {
            Ok(pod) => pods.push((path.file_name().unwrap_or_default().to_owned(), pod)),
            Err(problem) => tracing::warn!(manifest = %path.display(), "a static pod is left out: {problem}"),
        }
    }
    pods
}

/// The static pods that the machine config has, each with a name that no file has.
fn given(pods: &[Value], node: &str) -> Vec<(OsString, Pod)> {
    let mut read = Vec::new();
    for pod in pods {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let source = format!("{GIVEN}/{}/{}", text("/metadata/namespace"), text("/metadata/name"));
        match parse(&pod.to_string(), Path::new(&source), FILE, node) {
            Ok(pod) => read.push((source.into(), pod)),
            Err(problem) => tracing::warn!(manifest = source, "a static pod is left out: {problem}"),
        }
    }
    read
}

/// What the sources have now.
#[derive(Default)]
struct Found {
    pods: Vec<(OsString, Pod)>,
    /// Left out: another pod of their source has their name.
    doubles: Vec<Pod>,
}

impl Found {
    /// Adds what one source has. Of pods of one name the first is taken, as upstream does; one of another source is no double: it waits.
    fn add(&mut self, source: Vec<(OsString, Pod)>) {
        let mut names = BTreeSet::new();
        for (file, pod) in source {
            if names.insert((spec::namespace(&pod).to_owned(), spec::name(&pod).to_owned())) {
                self.pods.push((file, pod));
            } else {
                self.doubles.push(pod);
            }
        }
    }
}

/// Where the static pods of a node come from.
#[derive(Clone, Debug)]
pub struct Manifests {
    /// A directory of manifests, which need not be there.
    pub dir: PathBuf,
    /// Pods that are given besides.
    pub given: Vec<Value>,
    /// What an address tells besides.
    pub fetched: watch::Receiver<Fetched>,
    /// The node.
    pub node: String,
}

/// What the node's own manifests ask for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The pods, by their UID.
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// Every source was read once: what runs here and is not asked for is nobody's.
    pub whole: bool,
    /// Pods that are left out, since another one of their source has their name.
    pub doubles: Vec<Pod>,
}

impl Manifests {
    fn read(&self) -> Found {
        let mut own = read(&self.dir, &self.node);
        own.extend(given(&self.given, &self.node));
        let fetched = self.fetched.borrow().pods.clone();
        let mut found = Found::default();
        found.add(own);
        found.add(fetched);
        found
    }

    /// All static pods, as they are now.
    pub fn asked(&self) -> Asked {
        let whole = self.fetched.borrow().heard;
        let Found { pods, doubles } = self.read();
        let pods = pods.into_iter().map(|(_, pod)| (spec::uid(&pod).to_owned(), Arc::new(pod))).collect();
        Asked { pods, whole, doubles }
    }
}

/// Whether both are one pod from one appearance of its manifest: one that was taken away and put back is to run anew.
pub fn same_edition(one: &Pod, other: &Pod) -> bool {
    spec::uid(one) == spec::uid(other) && annotation(one, CONFIG_SEEN) == annotation(other, CONFIG_SEEN)
}

/// What is to run now when these manifests are there and files of these names were taken away since the last look. `None` when
/// that is what was known before.
fn news(
    known: &BTreeMap<String, Arc<Pod>>,
    found: Vec<(OsString, Pod)>,
    removed: &BTreeSet<OsString>,
) -> Option<BTreeMap<String, Arc<Pod>>> {
    let mut pods = BTreeMap::new();
    let mut back = false;
    for (file, pod) in found {
        let uid = spec::uid(&pod).to_owned();
        // A file that was only touched makes no new pod: its UID is that of its content.
        let stays = known.get(&uid).filter(|_| !removed.contains(&file)).cloned();
        back |= stays.is_none();
        pods.insert(uid, stays.unwrap_or_else(|| Arc::new(pod)));
    }
    (back || !known.keys().eq(pods.keys())).then_some(pods)
}

/// What tells one state of the directory from another.
fn stamp(dir: &Path) -> Vec<(PathBuf, u64, Option<std::time::SystemTime>)> {
    let of = |path: PathBuf| {
        let meta = fs::metadata(&path).ok();
        (path, meta.as_ref().map_or(0, fs::Metadata::len), meta.and_then(|m| m.modified().ok()))
    };
    files(dir).into_iter().map(of).collect()
}

/// Those of `doubles` that were not `told` of yet; from now on they were.
fn untold<'a>(doubles: &'a [Pod], told: &mut BTreeSet<String>) -> Vec<&'a Pod> {
    let news = doubles.iter().filter(|pod| !told.contains(spec::uid(pod))).collect();
    *told = doubles.iter().map(|pod| spec::uid(pod).to_owned()).collect();
    news
}

/// Tells of pods that are left out for their names.
fn report(doubles: &[Pod], told: &mut BTreeSet<String>, recorder: &Recorder) {
    for pod in untold(doubles, told) {
        let (described, name) = (spec::describe(pod), spec::name(pod));
        let source = annotation(pod, CONFIG_SOURCE).unwrap_or_default();
        tracing::warn!(pod = %described, source, "a static pod is left out: another one has its name");
        let message =
            format!("Error validating pod {described} from {source} due to duplicate pod name {name:?}, ignoring");
        recorder.warning(&PodRef::of(pod), "FailedValidation", message);
    }
}

/// Tells of changes for ever.
pub async fn watch_loop(mut manifests: Manifests, recorder: Recorder, tell: watch::Sender<Asked>) {
    let mut told = BTreeSet::new();
    report(&tell.borrow().doubles, &mut told, &recorder);
    let dir = manifests.dir.clone();
    let removals = Removals::new(&dir);
    let mut seen = stamp(&dir);
    // What was told before this began is looked at again.
    manifests.fetched.mark_changed();
    loop {
        tokio::time::sleep(PERIOD).await;
        // Removals come first: what goes after them is missing now or named the next time.
        let removed = removals.take(&dir);
        let now = stamp(&dir);
        // An address of which nobody tells any more is none.
        let fetched = manifests.fetched.has_changed().unwrap_or(false);
        if now == seen && removed.is_empty() && !fetched {
            continue;
        }
        seen = now;
        let whole = manifests.fetched.borrow_and_update().heard;
        let Found { pods: found, doubles } = manifests.read();
        report(&doubles, &mut told, &recorder);
        tell.send_if_modified(|known| {
            let pods = news(&known.pods, found, &removed);
            let changed = pods.is_some() || known.whole != whole;
            known.whole = whole;
            known.doubles = doubles;
            if let Some(pods) = pods {
                known.pods = pods;
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        let claiming = "{resourceClaims: [{name: a, resourceClaimName: b}], containers";
        write("claims.yaml", &good.replace("{containers", claiming));
        write("debugged.yaml", &good.replace("{containers", "{ephemeralContainers: [{name: e}], containers"));
        let of_address = watch::Sender::new(Fetched { heard: true, pods: Vec::new() });
        let mut manifests = Manifests {
            dir: dir.path().to_owned(),
            given: Vec::new(),
            fetched: of_address.subscribe(),
            node: "node-1".into(),
        };
        let pods = manifests.asked().pods;
        assert_eq!(pods.len(), 1);
        let (uid, pod) = pods.first_key_value().unwrap();
        assert_eq!(pod.metadata.name.as_deref(), Some("web-node-1"));
        assert_eq!((pod.metadata.namespace.as_deref(), annotation(pod, HASH)), (Some("default"), Some(uid.as_str())));
        assert!(is_static(pod) && !is_mirror(pod));
        assert_eq!(pod.spec.as_ref().unwrap().termination_grace_period_seconds, Some(30));
        let again = manifests.asked().pods;
        assert_eq!(again.keys().collect::<Vec<_>>(), [uid]);
        write("web.yaml", &format!("# A remark.\n{}", good.replace("kind: Pod", "kind:   'Pod'")));
        assert!(manifests.asked().pods.contains_key(uid), "what is written otherwise is the same pod");
        write("web.yaml", &good.replace("image: i", "image: j"));
        assert!(!manifests.asked().pods.contains_key(uid), "another content is another pod");
        let named = |name: &str| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "kube-system"},
                "spec": {"containers": [{"name": "c", "image": "i"}]}})
        };
        manifests.given = vec![named("own"), json!({"kind": "Pod", "metadata": {"name": "empty"}}), named("other")];
        let with_given = manifests.asked().pods;
        let own = with_given.values().find(|pod| pod.metadata.name.as_deref() == Some("own-node-1")).unwrap();
        assert_eq!((with_given.len(), spec::namespace(own), is_static(own)), (3, "kube-system", true));
        manifests.given.swap(0, 2);
        assert!(manifests.asked().pods.contains_key(spec::uid(own)), "their order means nothing");
        let there = parse(good, Path::new("url:u"), HTTP, "node-1").unwrap();
        of_address.send_replace(Fetched { heard: true, pods: vec![("url/a".into(), there)] });
        assert_eq!(manifests.asked().pods.len(), 4, "what an address tells comes along");
        of_address.send_replace(Fetched::default());
        assert!(!manifests.asked().whole, "an address that was not heard yet may ask for more");
    }

    #[test]
    fn of_pods_of_one_name_a_source_has_the_first_and_the_others_are_told_of_once() {
        let pod = |uid: &str, name: &str| -> (OsString, Pod) {
            let meta = json!({"name": name, "namespace": "default", "uid": uid});
            (uid.into(), serde_json::from_value(json!({"metadata": meta})).unwrap())
        };
        let uids = |pods: &[&Pod]| pods.iter().map(|pod| spec::uid(pod).to_owned()).collect::<Vec<_>>();
        let mut found = Found::default();
        found.add(vec![pod("1", "web"), pod("2", "db"), pod("3", "web")]);
        found.add(vec![pod("4", "web"), pod("5", "web")]);
        let kept: Vec<&Pod> = found.pods.iter().map(|(_, pod)| pod).collect();
        assert_eq!(uids(&kept), ["1", "2", "4"], "each source has one of a name");
        let mut told = BTreeSet::new();
        assert_eq!(uids(&untold(&found.doubles, &mut told)), ["3", "5"]);
        assert!(untold(&found.doubles, &mut told).is_empty());
        assert!(untold(&found.doubles[1..], &mut told).is_empty());
        assert_eq!(uids(&untold(&found.doubles, &mut told)), ["3"], "one that was away is told of again");
    }

    #[test]
    fn a_manifest_that_was_taken_away_and_put_back_is_another_edition_of_its_pod() {
        let pod = |uid: &str, seen: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"uid": uid, "annotations": {CONFIG_SEEN: seen}}})).unwrap()
        };
        let known =
            BTreeMap::from([("1".to_owned(), Arc::new(pod("1", "t1"))), ("2".into(), Arc::new(pod("2", "t1")))]);
        let found = || -> Vec<(OsString, Pod)> { vec![("a".into(), pod("1", "t2")), ("b".into(), pod("2", "t2"))] };
        let removed = |name: &str| BTreeSet::from([OsString::from(name)]);
        assert!(news(&known, found(), &BTreeSet::new()).is_none(), "files that were touched");
        assert!(news(&known, found(), &removed("c")).is_none(), "a file that was no manifest");
        let back = news(&known, found(), &removed("b")).unwrap();
        assert!(same_edition(&back["1"], &known["1"]) && !same_edition(&back["2"], &known["2"]));
        let less = news(&known, found().split_off(1), &removed("a")).unwrap();
        assert_eq!(less.keys().collect::<Vec<_>>(), ["2"]);
        let more = [found(), vec![("c".into(), pod("3", "t2"))]].concat();
        let more = news(&known, more, &BTreeSet::new()).unwrap();
        assert!(more.len() == 3 && same_edition(&more["1"], &known["1"]));
    }
}
