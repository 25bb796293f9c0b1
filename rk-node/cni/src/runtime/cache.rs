//! What ADD did, kept in the file format that other runtimes use too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Attachment;
use crate::{
    conflist::{NetworkList, replace_file},
    error::{IoContext, Result},
};

/// One cached attachment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cached {
    kind: String,
    container_id: String,
    /// The network list, base64.
    config: String,
    if_name: String,
    network_name: String,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    #[serde(default)]
    capability_args: Map<String, Value>,
    #[serde(default)]
    netns: Option<PathBuf>,
    /// Absent between the start of ADD and its end.
    #[serde(default)]
    pub result: Option<Value>,
}

impl Cached {
    /// An entry for an attachment; `result` is what ADD printed, once it has.
    pub fn new(network: &NetworkList, attachment: &Attachment, result: Option<Value>) -> Self {
        Self {
            kind: "cniCacheV1".into(),
            container_id: attachment.container_id.clone(),
            config: STANDARD.encode(network.raw.to_string()),
            if_name: attachment.if_name.clone(),
            network_name: network.name.clone(),
            cni_args: attachment.args.clone(),
            capability_args: attachment.capabilities.clone(),
            netns: attachment.netns.clone(),
            result,
        }
    }

    fn path(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}-{}-{}", self.network_name, self.container_id, self.if_name))
    }

    /// Not flushed: what it speaks of ends with the boot, and an address that is reserved is also given back without it.
    pub fn store(&self, directory: &Path) -> Result<()> {
        replace_file(&self.path(directory), &serde_json::to_vec(self).unwrap_or_default())
    }

    /// The network is not part of the question: a container has one interface of a name, whatever network made it.
    pub fn load(directory: &Path, attachment: &Attachment) -> Option<Self> {
        Self::of(directory, attachment).into_iter().next().map(|(_, cached)| cached)
    }

    /// Every readable entry; torn and foreign files are passed over.
    pub fn all(directory: &Path) -> Vec<Self> {
        Self::files(directory, "").into_iter().map(|(_, cached)| cached).collect()
    }

    /// Removes all that speaks of the attachment: a runtime that was killed may have left what it wrote beside its place.
    pub fn remove(directory: &Path, attachment: &Attachment) -> Result<()> {
        for (path, _) in Self::of(directory, attachment) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                done => done.at("remove", &path)?,
            }
        }
        Ok(())
    }

    /// What speaks of the attachment. Every runtime names such a file after its container: those of others are not even read.
    fn of(directory: &Path, attachment: &Attachment) -> Vec<(PathBuf, Self)> {
        let files = Self::files(directory, &attachment.container_id);
        files.into_iter().filter(|(_, cached)| cached.is_of(attachment)).collect()
    }

    /// The readable entries with this in their names.
    fn files(directory: &Path, named: &str) -> Vec<(PathBuf, Self)> {
        let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
        let fits = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains(named);
        let read = |entry: fs::DirEntry| {
            let path = entry.path();
            let cached = serde_json::from_slice::<Self>(&fs::read(&path).ok()?).ok()?;
            Some((path, cached))
        };
        entries.flatten().filter(fits).filter_map(read).filter(|(_, cached)| cached.kind == "cniCacheV1").collect()
    }

    fn is_of(&self, attachment: &Attachment) -> bool {
        self.container_id == attachment.container_id && self.if_name == attachment.if_name
    }

    /// The network as it was when the attachment was made; `None` when it cannot be read.
    pub fn network(&self) -> Option<NetworkList> {
        let raw = STANDARD.decode(&self.config).ok()?;
        NetworkList::parse(serde_json::from_slice(&raw).ok()?).ok()
    }

    /// The attachment that the entry describes; its network namespace only while that exists.
    pub fn attachment(&self) -> Attachment {
        Attachment {
            container_id: self.container_id.clone(),
            netns: self.netns.clone().filter(|path| path.exists()),
            if_name: self.if_name.clone(),
            args: self.cni_args.clone(),
            capabilities: self.capability_args.clone(),
        }
    }

    /// The attachment as it was made, where the caller no longer knows.
    pub fn complete(&self, given: &Attachment) -> Attachment {
        let mut whole = self.attachment();
        whole.netns = given.netns.clone().or(whole.netns);
        whole
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attachment(container: &str) -> Attachment {
        Attachment {
            container_id: container.to_owned(),
            netns: None,
            if_name: "eth0".to_owned(),
            args: Vec::new(),
            capabilities: Map::new(),
        }
    }

    #[test]
    fn what_speaks_of_a_container_is_found_by_its_name_and_told_by_its_content() {
        let dir = tempfile::tempdir().expect("tempdir");
        let network = NetworkList::parse(json!({"cniVersion": "1.0.0", "name": "n", "type": "bridge"})).expect("list");
        // The name of each lies in that of the next.
        for container in ["a", "ab", "abc"] {
            Cached::new(&network, &attachment(container), Some(json!(container))).store(dir.path()).expect("store");
        }
        // Left by a runtime that was killed before it renamed it.
        fs::copy(dir.path().join("n-ab-eth0"), dir.path().join("n-ab-eth0.new")).expect("copy");
        let result =
            |container: &str| Cached::load(dir.path(), &attachment(container)).and_then(|cached| cached.result);
        assert_eq!(
            ["a", "ab", "abc", "b"].map(result),
            [Some(json!("a")), Some(json!("ab")), Some(json!("abc")), None]
        );
        Cached::remove(dir.path(), &attachment("ab")).expect("remove");
        let mut left: Vec<_> = Cached::all(dir.path()).into_iter().map(|cached| cached.container_id).collect();
        left.sort();
        assert_eq!(left, ["a", "abc"]);
        assert_eq!(fs::read_dir(dir.path()).expect("entries").count(), 2);
    }
}
