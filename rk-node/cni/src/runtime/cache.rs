//! What ADD did, kept in the file format that other runtimes use too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Attachment, PortMapping};
use crate::{
    conflist::{NetworkList, write_file},
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
    capability_args: CapabilityArgs,
    #[serde(default)]
    netns: Option<PathBuf>,
    /// Absent between the start of ADD and its end.
    #[serde(default)]
    pub result: Option<Value>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CapabilityArgs {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    port_mappings: Vec<PortMapping>,
}

impl Cached {
    pub fn new(network: &NetworkList, attachment: &Attachment, result: Option<Value>) -> Self {
        Self {
            kind: "cniCacheV1".into(),
            container_id: attachment.container_id.clone(),
            config: STANDARD.encode(network.raw.to_string()),
            if_name: attachment.if_name.clone(),
            network_name: network.name.clone(),
            cni_args: attachment.args.clone(),
            capability_args: CapabilityArgs { port_mappings: attachment.port_mappings.clone() },
            netns: attachment.netns.clone(),
            result,
        }
    }

    fn path(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}-{}-{}", self.network_name, self.container_id, self.if_name))
    }

    pub fn store(&self, directory: &Path) -> Result<()> {
        write_file(&self.path(directory), &serde_json::to_vec(self).unwrap_or_default())
    }

    /// The network is not part of the question: a container has one interface of a name, whatever network made it.
    pub fn load(directory: &Path, attachment: &Attachment) -> Option<Self> {
        Self::all(directory).into_iter().find(|cached| cached.is_of(attachment))
    }

    /// Every readable entry; torn and foreign files are passed over.
    pub fn all(directory: &Path) -> Vec<Self> {
        Self::files(directory).into_iter().map(|(_, cached)| cached).collect()
    }

    /// Removes what speaks of the attachment, under whatever name: a runtime that was killed may have left what it wrote beside its place.
    pub fn remove(directory: &Path, attachment: &Attachment) -> Result<()> {
        for (path, _) in Self::files(directory).iter().filter(|(_, cached)| cached.is_of(attachment)) {
            match fs::remove_file(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                done => done.at("remove", path)?,
            }
        }
        Ok(())
    }

    fn files(directory: &Path) -> Vec<(PathBuf, Self)> {
        let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
        let read = |entry: fs::DirEntry| {
            let path = entry.path();
            let cached = serde_json::from_slice::<Self>(&fs::read(&path).ok()?).ok()?;
            Some((path, cached))
        };
        entries.flatten().filter_map(read).filter(|(_, cached)| cached.kind == "cniCacheV1").collect()
    }

    fn is_of(&self, attachment: &Attachment) -> bool {
        self.container_id == attachment.container_id && self.if_name == attachment.if_name
    }

    pub fn network(&self) -> Option<NetworkList> {
        let raw = STANDARD.decode(&self.config).ok()?;
        NetworkList::parse(serde_json::from_slice(&raw).ok()?).ok()
    }

    pub fn attachment(&self) -> Attachment {
        Attachment {
            container_id: self.container_id.clone(),
            netns: self.netns.clone().filter(|path| path.exists()),
            if_name: self.if_name.clone(),
            args: self.cni_args.clone(),
            port_mappings: self.capability_args.port_mappings.clone(),
        }
    }

    /// The attachment as it was made, where the caller no longer knows.
    pub fn complete(&self, given: &Attachment) -> Attachment {
        let mut whole = self.attachment();
        whole.netns = given.netns.clone().or(whole.netns);
        whole
    }
}
