//! The plugins' side: one request from environment and stdin, one document on stdout; or, within a process of ours, one call.

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
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Value, json};

use crate::types::{CniError, VERSIONS};
use request::{Command, Environment, Request};

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
        Err(error) => {
            let config = serde_json::from_slice::<Value>(&input).unwrap_or_default();
            (serde_json::to_value(versioned(error, &config)).ok(), ExitCode::FAILURE)
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

/// Runs the plugin of this name on the calling thread, which must be in the host's namespaces. `environment` is what a process would be
/// given, `own` the file of this program; the answer is null where a process would print nothing.
pub(crate) fn call(
    name: &str,
    config: Value,
    environment: Vec<(&'static str, String)>,
    own: PathBuf,
) -> Result<Value, CniError> {
    let environment = Environment::Given(environment);
    let asked = Command::parse(&environment.get("CNI_COMMAND").unwrap_or_default());
    let request = asked.and_then(|command| Request::new(command, config.clone(), environment, Some(own)));
    let answer = request.and_then(|request| run(name, &request));
    answer.map(Option::unwrap_or_default).map_err(|error| versioned(error, &config))
}

/// Whether what is at `path`, links resolved, is the file `own`: then a plugin there is the one of this program.
pub(crate) fn is_own(path: &Path, own: Option<&Path>) -> bool {
    own.is_some_and(|own| path.canonicalize().is_ok_and(|real| real == own))
}

/// An error speaks the version of the configuration that it is about.
fn versioned(mut error: CniError, config: &Value) -> CniError {
    error.cni_version = config["cniVersion"].as_str().unwrap_or(VERSIONS[0]).to_owned();
    error
}

fn answer(name: &str, input: &[u8]) -> Answer {
    let environment = Environment::Process;
    let command = environment.get("CNI_COMMAND").unwrap_or_default();
    if command == "VERSION" {
        return Ok(Some(json!({"cniVersion": VERSIONS[VERSIONS.len() - 1], "supportedVersions": VERSIONS})));
    }
    let command = Command::parse(&command)?;
    let config = serde_json::from_slice(input)
        .map_err(|e| CniError::new(CniError::DECODE, format!("network config is not JSON: {e}")))?;
    run(name, &Request::new(command, config, environment, std::env::current_exe().ok())?)
}

fn run(name: &str, request: &Request) -> Answer {
    match name {
        "bridge" => bridge::run(request),
        "host-local" => host_local::run(request),
        "portmap" => portmap::run(request),
        "loopback" => loopback::run(request),
        other => Err(CniError::new(
            CniError::ENVIRONMENT,
            format!("called as {other:?}: link this binary as bridge, host-local, portmap or loopback"),
        )),
    }
}
