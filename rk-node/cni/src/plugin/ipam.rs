//! Delegation to an address plugin: an executable like any other, which gets our own request. Where that is this program again, it is
//! called without a process.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    host_local,
    request::{self, Request, failed},
};
use crate::types::{CniError, CniResult};

/// Runs the `ipam.type` plugin with `command`; `None` when it prints nothing.
pub(super) fn delegate(request: &Request, command: &str) -> Result<Option<CniResult>, CniError> {
    let kind = request.config["ipam"]["type"].as_str().unwrap_or_default();
    if kind.is_empty() || kind.contains('/') {
        return Err(CniError::new(CniError::CONFIG, format!("ipam.type {kind:?} is missing or invalid")));
    }
    let found = request.path.iter().map(|directory| directory.join(kind)).find(|path| path.is_file());
    let path =
        found.ok_or_else(|| failed(format!("find ipam plugin {kind:?}"), format!("not in {:?}", request.path)))?;
    // This kind alone: a request for itself would have no end.
    if kind == "host-local" && request.is_own(&path) {
        let delegated = Request { command: request::Command::parse(command)?, ..request.clone() };
        return host_local::run(&delegated)?.map(|value| result(kind, value)).transpose();
    }
    let mut process = Command::new(&path);
    request.environment.hand_on(&mut process);
    let mut child = process
        .env("CNI_COMMAND", command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| failed(path.display(), e))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A plugin that ends without reading tells why on its stdout.
        let _ = stdin.write_all(request.config.to_string().as_bytes());
    }
    let output = child.wait_with_output().map_err(|e| failed(path.display(), e))?;
    if !output.status.success() {
        let told = serde_json::from_slice::<CniError>(&output.stdout).ok();
        return Err(told.unwrap_or_else(|| failed(format!("ipam plugin {kind:?}"), output.status)));
    }
    if output.stdout.trim_ascii().is_empty() {
        return Ok(None);
    }
    let value: Value =
        serde_json::from_slice(&output.stdout).map_err(|e| failed(format!("result of ipam plugin {kind:?}"), e))?;
    result(kind, value).map(Some)
}

fn result(kind: &str, value: Value) -> Result<CniResult, CniError> {
    CniResult::deserialize(value).map_err(|e| failed(format!("result of ipam plugin {kind:?}"), e))
}
