//! A request as the specification passes it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    conflist::is_name,
    types::{CniError, CniResult, VERSIONS},
};

/// What the runtime wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
}

impl Command {
    /// As `CNI_COMMAND` names it.
    pub fn parse(name: &str) -> Result<Self, CniError> {
        match name {
            "ADD" => Ok(Self::Add),
            "DEL" => Ok(Self::Del),
            "CHECK" => Ok(Self::Check),
            "GC" => Ok(Self::Gc),
            "STATUS" => Ok(Self::Status),
            other => Err(CniError::new(CniError::ENVIRONMENT, format!("unknown CNI_COMMAND {other:?}"))),
        }
    }
}

/// Where `CNI_*` come from.
#[derive(Debug, Clone)]
pub(super) enum Environment {
    /// The process' own.
    Process,
    /// What a process would be given.
    Given(Vec<(&'static str, String)>),
}

impl Environment {
    /// The value of `key`; an empty one is an absent one.
    pub fn get(&self, key: &str) -> Option<String> {
        let value = match self {
            Self::Process => std::env::var(key).ok(),
            Self::Given(all) => all.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone()),
        };
        value.filter(|value| !value.is_empty())
    }

    /// Gives it to a process that is about to start, which has the calling one's otherwise.
    pub fn hand_on(&self, process: &mut std::process::Command) {
        if let Self::Given(all) = self {
            process.env_clear().envs(all.iter().map(|(key, value)| (*key, value)));
        }
    }
}

/// A request to a plugin.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub command: Command,
    /// The configuration object.
    pub config: Value,
    pub version: String,
    pub name: String,
    pub container_id: String,
    /// `None` only for DEL, GC and STATUS.
    pub netns: Option<PathBuf>,
    pub if_name: String,
    pub path: Vec<PathBuf>,
    /// For plugins that this one runs.
    pub environment: Environment,
    /// The file of this program, links resolved.
    pub own: Option<PathBuf>,
}

/// An attachment that GC must keep.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Keep {
    #[serde(rename = "containerID")]
    pub container_id: String,
    pub ifname: String,
}

impl Request {
    /// A request with this configuration. `own` is the file of this program, links resolved.
    pub fn new(
        command: Command,
        config: Value,
        environment: Environment,
        own: Option<PathBuf>,
    ) -> Result<Self, CniError> {
        let version = config["cniVersion"].as_str().unwrap_or(VERSIONS[0]).to_owned();
        if !VERSIONS.contains(&version.as_str()) {
            return Err(CniError::new(CniError::VERSION, format!("cniVersion {version:?} is not one of {VERSIONS:?}")));
        }
        let name = config["name"].as_str().unwrap_or_default().to_owned();
        if !is_name(&name) {
            return Err(CniError::new(CniError::CONFIG, format!("network name {name:?} is missing or invalid")));
        }
        let env = |key: &str| environment.get(key);
        let request = Self {
            command,
            config,
            version,
            name,
            container_id: env("CNI_CONTAINERID").unwrap_or_default(),
            netns: env("CNI_NETNS").map(PathBuf::from),
            if_name: env("CNI_IFNAME").unwrap_or_default(),
            path: env("CNI_PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default(),
            environment,
            own,
        };
        request.complete()?;
        Ok(request)
    }

    /// Whether the plugin at `path` is one of this program.
    pub fn is_own(&self, path: &Path) -> bool {
        super::is_own(path, self.own.as_deref())
    }

    fn complete(&self) -> Result<(), CniError> {
        let missing = |what: &str| Err(CniError::new(CniError::ENVIRONMENT, format!("{what} is missing or invalid")));
        if matches!(self.command, Command::Gc | Command::Status) {
            return Ok(());
        }
        if !is_name(&self.container_id) {
            return missing("CNI_CONTAINERID");
        }
        let name = &self.if_name;
        if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(['/', ':', ' ']) {
            return missing("CNI_IFNAME");
        }
        if self.netns.is_none() && self.command != Command::Del {
            return missing("CNI_NETNS");
        }
        Ok(())
    }

    /// The configuration as a plugin's own type.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, CniError> {
        T::deserialize(&self.config).map_err(|e| CniError::new(CniError::CONFIG, format!("network config: {e}")))
    }

    /// The result of the plugins before this one, or of the ADD that CHECK and DEL follow.
    pub fn previous(&self) -> Result<Option<CniResult>, CniError> {
        match &self.config["prevResult"] {
            Value::Null => Ok(None),
            value => CniResult::deserialize(value)
                .map(Some)
                .map_err(|e| CniError::new(CniError::DECODE, format!("prevResult: {e}"))),
        }
    }

    /// Attachments that GC must keep.
    pub fn keep(&self) -> Result<Vec<Keep>, CniError> {
        match &self.config["cni.dev/valid-attachments"] {
            Value::Null => Ok(Vec::new()),
            value => Vec::deserialize(value)
                .map_err(|e| CniError::new(CniError::CONFIG, format!("cni.dev/valid-attachments: {e}"))),
        }
    }
}

/// A failure of this machine.
pub(super) fn failed(what: impl std::fmt::Display, error: impl std::fmt::Display) -> CniError {
    CniError::new(CniError::FAILED, format!("{what}: {error}"))
}
