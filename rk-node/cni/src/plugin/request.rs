//! A request as the specification passes it.

use std::path::PathBuf;

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

/// A request to a plugin.
#[derive(Debug)]
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
}

/// An attachment that GC must keep.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Keep {
    #[serde(rename = "containerID")]
    pub container_id: String,
    pub ifname: String,
}

impl Request {
    pub fn read(command: &str, input: &[u8]) -> Result<Self, CniError> {
        let command = match command {
            "ADD" => Command::Add,
            "DEL" => Command::Del,
            "CHECK" => Command::Check,
            "GC" => Command::Gc,
            "STATUS" => Command::Status,
            other => return Err(CniError::new(CniError::ENVIRONMENT, format!("unknown CNI_COMMAND {other:?}"))),
        };
        let config: Value = serde_json::from_slice(input)
            .map_err(|e| CniError::new(CniError::DECODE, format!("network config is not JSON: {e}")))?;
        let version = config["cniVersion"].as_str().unwrap_or(VERSIONS[0]).to_owned();
        if !VERSIONS.contains(&version.as_str()) {
            return Err(CniError::new(CniError::VERSION, format!("cniVersion {version:?} is not one of {VERSIONS:?}")));
        }
        let name = config["name"].as_str().unwrap_or_default().to_owned();
        if !is_name(&name) {
            return Err(CniError::new(CniError::CONFIG, format!("network name {name:?} is missing or invalid")));
        }
        let env = |key: &str| std::env::var(key).ok().filter(|v| !v.is_empty());
        let request = Self {
            command,
            config,
            version,
            name,
            container_id: env("CNI_CONTAINERID").unwrap_or_default(),
            netns: env("CNI_NETNS").map(PathBuf::from),
            if_name: env("CNI_IFNAME").unwrap_or_default(),
            path: env("CNI_PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default(),
        };
        request.complete()?;
        Ok(request)
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
