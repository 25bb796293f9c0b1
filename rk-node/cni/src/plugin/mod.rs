//! The plugins' side: one request from environment and stdin, one document on stdout.

mod bridge;
mod host_local;
mod ipam;
mod link;
mod loopback;
mod masquerade;
mod portmap;
mod request;

use std::{
    io::{Read, Write},
    process::ExitCode,
};

use serde_json::{Value, json};

use crate::types::{CniError, VERSIONS};
use request::Request;

/// Requests carry a configuration and a result: a few KiB.
const MAX_INPUT: u64 = 1 << 20;

/// The plugins there are.
pub const NAMES: [&str; 4] = ["bridge", "host-local", "portmap", "loopback"];

/// What a plugin answers: a document to print, or nothing.
type Answer = Result<Option<Value>, CniError>;

/// Runs the plugin of this name on the process' own environment, stdin and stdout.
pub fn main(name: &str) -> ExitCode {
    let mut input = Vec::new();
    let read = std::io::stdin().lock().take(MAX_INPUT).read_to_end(&mut input);
    let answer =
        read.map_err(|e| CniError::new(CniError::IO, format!("read stdin: {e}"))).and_then(|_| answer(name, &input));
    let (document, code) = match answer {
        Ok(document) => (document, ExitCode::SUCCESS),
        Err(mut error) => {
            let version =
                serde_json::from_slice::<Value>(&input).ok().and_then(|c| c["cniVersion"].as_str().map(str::to_owned));
            error.cni_version = version.unwrap_or_else(|| VERSIONS[0].to_owned());
            (serde_json::to_value(error).ok(), ExitCode::FAILURE)
        }
    };
    if let Some(document) = document {
        let mut out = std::io::stdout().lock();
        if serde_json::to_writer(&mut out, &document)
            .and_then(|()| writeln!(out).map_err(serde_json::Error::io))
            .is_err()
        {
            return ExitCode::FAILURE;
        }
    }
    code
}

fn answer(name: &str, input: &[u8]) -> Answer {
    let command = std::env::var("CNI_COMMAND").unwrap_or_default();
    if command == "VERSION" {
        return Ok(Some(json!({"cniVersion": VERSIONS[VERSIONS.len() - 1], "supportedVersions": VERSIONS})));
    }
    let request = Request::read(&command, input)?;
    match name {
        "bridge" => bridge::run(&request),
        "host-local" => host_local::run(&request),
        "portmap" => portmap::run(&request),
        "loopback" => loopback::run(&request),
        other => Err(CniError::new(
            CniError::ENVIRONMENT,
            format!("called as {other:?}: link this binary as bridge, host-local, portmap or loopback"),
        )),
    }
}
