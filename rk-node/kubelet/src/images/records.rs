//! Which images were pulled here, and with whose credentials: in upstream's files below `image_manager`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::access::{Access, PullSource};
use super::verification::{Verification, without_tag};
use crate::disk::{read_json, read_optional, write_atomically};

/// Secrets noted for one image just because their credentials are known from another one: more would fill the disk.
const MOST_NOTED: usize = 100;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    kind: String,
    api_version: String,
    last_updated_time: String,
    image_ref: String,
    credential_mapping: BTreeMap<String, Access>,
}

/// A pull that began, and of which nobody knows yet what became.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Intent {
    kind: String,
    api_version: String,
    image: String,
    /// What was everybody's under this name when the pull began; upstream's intents lack it.
    #[serde(skip_serializing_if = "Option::is_none")]
    present_ref: Option<String>,
}

impl Intent {
    /// Whether the pull may have brought this image here.
    fn may_have_brought(&self, image_ref: &str) -> bool {
        self.present_ref.as_deref() != Some(image_ref)
    }
}

/// The records. Whoever reads or writes them holds the count of the pulls under way, by image.
pub struct PullRecords {
    dir: PathBuf,
    policy: Verification,
    under_way: Mutex<BTreeMap<String, usize>>,
}

/// A pull under way; what becomes of one that is given up is not known, and noted as such.
pub struct Pulling<'a> {
    records: &'a PullRecords,
    image: String,
    settled: bool,
}

impl Drop for Pulling<'_> {
    fn drop(&mut self) {
        self.records.end(&self.image, self.settled);
    }
}

impl Pulling<'_> {
    /// It failed.
    pub fn failed(mut self) {
        self.settled = true;
    }

    /// The image is here, by these credentials, or by none but the node's.
    pub fn succeeded(mut self, image_ref: &str, source: Option<&PullSource>) {
        match self.records.note(&self.image, image_ref, source) {
            Ok(()) => self.settled = true,
            // The pull stays noted as under way: then credentials are asked for the next time.
            Err(problem) => tracing::warn!(image = %self.image, "noting whose credentials pulled it: {problem}"),
        }
    }
}

fn file_of(name: &str) -> String {
    format!("sha256-{}", hex::encode(&Sha256::digest(name.as_bytes())[..]))
}

impl PullRecords {
    /// The records below the kubelet's root.
    pub fn open(kubelet: &Path, policy: Verification) -> Self {
        Self { dir: kubelet.join("image_manager"), policy, under_way: Mutex::default() }
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record_path(&self, image_ref: &str) -> PathBuf {
        self.dir.join("pulled").join(file_of(image_ref))
    }

    fn intent_path(&self, image: &str) -> PathBuf {
        self.dir.join("pulling").join(file_of(image))
    }

    fn read(&self, image_ref: &str) -> Result<Option<Record>, String> {
        read_json(&self.record_path(image_ref)).map_err(|error| error.to_string())
    }

    /// The pull of this name that is under way or was given up; one that cannot be read may have brought anything.
    fn intent(&self, image: &str) -> Option<Intent> {
        match read_optional(&self.intent_path(image)) {
            Ok(text) => text.map(|text| serde_json::from_slice(&text).unwrap_or_default()),
            Err(_) => Some(Intent::default()),
        }
    }

    /// Notes that a pull begins, before the runtime is asked: an image is never here without a trace of who wanted it. `present`: the
    /// image of this name that is here and was not pulled here.
    pub fn begin(&self, image: &str, present: Option<&str>) -> Result<Pulling<'_>, String> {
        let mut under_way = self.under_way();
        // Another pull may have begun since the caller looked.
        let before = self.intent(image);
        let present = present.filter(|id| !before.is_some_and(|intent| intent.may_have_brought(id)));
        let intent = Intent {
            kind: "ImagePullIntent".to_owned(),
            api_version: "kubelet.config.k8s.io/v1beta1".to_owned(),
            image: image.to_owned(),
            present_ref: present.map(str::to_owned),
        };
        let failed = |problem: String| format!("failed to record image pull intent: {problem}");
        let text = serde_json::to_vec(&intent).map_err(|error| failed(error.to_string()))?;
        write_atomically(&self.intent_path(image), &text, 0o600).map_err(|error| failed(error.to_string()))?;
        *under_way.entry(image.to_owned()).or_default() += 1;
        Ok(Pulling { records: self, image: image.to_owned(), settled: false })
    }

    fn end(&self, image: &str, settled: bool) {
        let mut under_way = self.under_way();
        let left = under_way.get(image).map_or(0, |number| number.saturating_sub(1));
        if left > 0 {
            under_way.insert(image.to_owned(), left);
            return;
        }
        under_way.remove(image);
        if settled && let Err(error) = std::fs::remove_file(self.intent_path(image)) {
            tracing::debug!(image, "removing the note of a pull: {error}");
        }
    }

    fn note(&self, image: &str, image_ref: &str, source: Option<&PullSource>) -> Result<(), String> {
        let _held = self.under_way();
        // One that cannot be read is written anew: it allowed nothing.
        let record = self.read(image_ref).ok().flatten().unwrap_or_default();
        self.add(record, image, image_ref, source)
    }

    fn add(&self, mut record: Record, image: &str, image_ref: &str, source: Option<&PullSource>) -> Result<(), String> {
        let access = record.credential_mapping.entry(without_tag(image).to_owned()).or_default();
        if !access.add(source) {
            return Ok(());
        }
        record.kind = "ImagePulledRecord".to_owned();
        record.api_version = "kubelet.config.k8s.io/v1beta1".to_owned();
        record.image_ref = image_ref.to_owned();
        record.last_updated_time = Timestamp::now().to_string();
        let text = serde_json::to_vec(&record).map_err(|error| error.to_string())?;
        write_atomically(&self.record_path(image_ref), &text, 0o600).map_err(|error| error.to_string())
    }

    /// Whether an image that is here came, or may have come, by a pull of this kubelet.
    pub fn pulled_here(&self, image: &str, image_ref: &str) -> bool {
        let under_way = self.under_way();
        // A record that cannot be read is one of a pull.
        let recorded = !matches!(self.read(image_ref), Ok(None));
        recorded || self.may_be_pulled(&under_way, image, image_ref)
    }

    fn may_be_pulled(&self, under_way: &BTreeMap<String, usize>, image: &str, image_ref: &str) -> bool {
        match self.intent(image) {
            Some(intent) => intent.may_have_brought(image_ref),
            None => under_way.contains_key(image),
        }
    }

    /// Whether an image that is here must be pulled again, so that the registry says whether a pod with these credentials may use it.
    pub fn must_pull(&self, image: &str, image_ref: &str, sources: &[PullSource]) -> bool {
        let under_way = self.under_way();
        let record = match self.read(image_ref) {
            Ok(record) => record,
            Err(problem) => {
                tracing::warn!(image, "whose credentials pulled it cannot be read: {problem}");
                return true;
            }
        };
        let name = without_tag(image);
        let pulled_here = record.is_some() || self.may_be_pulled(&under_way, image, image_ref);
        if !self.policy.asks(name, pulled_here) {
            return false;
        }
        let Some(record) = record else { return true };
        let Some(access) = record.credential_mapping.get(name) else { return true };
        if access.node_pods_accessible {
            return false;
        }
        let (Some(known), noted) = (access.known(sources), access.noted()) else { return true };
        if noted < MOST_NOTED
            && let Err(problem) = self.add(record, image, image_ref, Some(known))
        {
            tracing::warn!(image, "noting who may use it: {problem}");
        }
        false
    }

    /// Forgets images that are not here any more and were not pulled since `before`.
    pub fn prune(&self, here: &[String], before: Timestamp) {
        let _held = self.under_way();
        let keep: std::collections::BTreeSet<String> = here.iter().map(|image_ref| file_of(image_ref)).collect();
        for entry in std::fs::read_dir(self.dir.join("pulled")).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| keep.contains(name)) {
                continue;
            }
            let text = std::fs::read(entry.path()).unwrap_or_default();
            let record: Record = serde_json::from_slice(&text).unwrap_or_default();
            if record.last_updated_time.parse::<Timestamp>().is_ok_and(|at| at >= before) {
                continue;
            }
            if let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::warn!(file = %entry.path().display(), "forgetting a pull: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::access::SecretSource;
    use super::*;

    fn secret(name: &str, hash: &str) -> PullSource {
        let (uid, name) = (name.to_owned(), name.to_owned());
        PullSource::Secret(SecretSource { uid, namespace: "n".into(), name, credential_hash: hash.into() })
    }

    #[test]
    fn an_image_that_was_pulled_with_a_secret_is_for_those_who_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let open = || PullRecords::open(dir.path(), Verification::default());
        let records = open();
        assert!(!records.must_pull("r.io/a:1", "id", &[]), "it was here before");
        records.begin("r.io/a:1", Some("id")).unwrap().succeeded("id", Some(&secret("s", "h")));
        for (records, what) in [(records, "at once"), (open(), "after a restart")] {
            assert!(records.must_pull("r.io/a:1", "id", &[]), "{what}: no secret");
            assert!(records.must_pull("r.io/a:1", "id", &[secret("t", "g")]), "{what}: another secret");
            assert!(!records.must_pull("r.io/a:1", "id", &[secret("t", "g"), secret("s", "h")]), "{what}: the secret");
            assert!(!records.must_pull("r.io/a:2", "id", &[secret("s", "new")]), "{what}: the secret, changed");
            assert!(!records.must_pull("r.io/a:1", "id", &[secret("u", "new")]), "{what}: what it says now");
            assert!(records.must_pull("r.io/b:1", "id", &[secret("s", "h")]), "{what}: under another name");
        }
        let records = open();
        records.begin("r.io/a:1", None).unwrap().succeeded("id", None);
        assert!(!records.must_pull("r.io/a:1", "id", &[]), "the registry gives it to everybody");
        assert_eq!(std::fs::read_dir(dir.path().join("image_manager/pulling")).unwrap().count(), 0);
    }

    #[test]
    fn a_pull_that_was_given_up_leaves_an_image_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let records = PullRecords::open(dir.path(), Verification::default());
        drop(records.begin("a", None).unwrap());
        assert!(records.must_pull("a", "id", &[]));
        let (first, second) = (records.begin("a", None).unwrap(), records.begin("a", None).unwrap());
        first.failed();
        assert!(records.must_pull("a", "id", &[]), "another pull is under way");
        second.failed();
        assert!(!records.must_pull("a", "id", &[]), "it is not from here");
    }

    #[test]
    fn what_was_everybodys_before_a_pull_that_was_given_up_stays_so() {
        // What was here as the first and the second pull began, what is here now, and whether it must be pulled.
        for (first, second, now, want) in [
            (Some("old"), None, "old", false),
            (Some("old"), None, "new", true),
            (None, None, "old", true),
            (Some("old"), Some(Some("old")), "old", false),
            (Some("old"), Some(Some("old")), "new", true),
            (Some("old"), Some(None), "old", true),
            // The first may have brought it, whatever the second was told.
            (None, Some(Some("new")), "new", true),
            (Some("old"), Some(Some("new")), "new", true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let records = PullRecords::open(dir.path(), Verification::default());
            drop(records.begin("a", first).unwrap());
            if let Some(present) = second {
                drop(records.begin("a", present).unwrap());
            }
            assert_eq!(records.must_pull("a", now, &[]), want, "{first:?} {second:?} {now}");
            assert_eq!(records.pulled_here("a", now), want, "{first:?} {second:?} {now}");
            records.begin("a", None).unwrap().succeeded(now, Some(&secret("s", "h")));
            assert!(records.must_pull("a", now, &[]) && records.pulled_here("a", now));
        }
    }

    #[test]
    fn intents_that_tell_nothing_of_before_excuse_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let records = PullRecords::open(dir.path(), Verification::default());
        std::fs::create_dir_all(dir.path().join("image_manager/pulling")).unwrap();
        for text in
            [r#"{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1","image":"a"}"#, "torn", ""]
        {
            std::fs::write(records.intent_path("a"), text).unwrap();
            assert!(records.must_pull("a", "id", &[]), "{text}");
        }
        std::fs::remove_file(records.intent_path("a")).unwrap();
        assert!(!records.must_pull("a", "id", &[]) && !records.pulled_here("a", "id"));
    }

    #[test]
    fn records_go_with_their_images() {
        let dir = tempfile::tempdir().unwrap();
        let records = PullRecords::open(dir.path(), Verification::default());
        for id in ["one", "two"] {
            records.begin("a", None).unwrap().succeeded(id, Some(&secret("s", "h")));
        }
        records.prune(&["one".to_owned()], Timestamp::MIN);
        assert!(records.must_pull("a", "two", &[]), "it may have been pulled just now");
        records.prune(&["one".to_owned()], Timestamp::MAX);
        assert!(records.must_pull("a", "one", &[]) && !records.must_pull("a", "two", &[]));
        std::fs::write(records.record_path("one"), "torn").unwrap();
        assert!(records.must_pull("a", "one", &[secret("s", "h")]), "what cannot be read allows nothing");
    }
}
