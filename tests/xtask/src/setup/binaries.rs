//! Our own binaries for the guests.

use crate::paths::Paths;
use crate::report::Step;
use crate::run;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The packages whose binaries go into the image.
const IMAGE: &[&str] = &["rk-init", "rk", "rk-shim"];
/// Programs that tests use on the host.
const HOST: &[&str] = &["rk-control", "rkctl"];
/// The one target; the profile and its flags are in the workspace.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Added to the flags of the workspace for small images: nothing unwinds, so that nobody reads tables of how to.
const NO_TABLES: &str = "target.x86_64-unknown-linux-gnu.rustflags=['-Cforce-unwind-tables=no']";

/// How the programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build anew: for clusters and tests of somebody who edits.
    Release,
    /// Small: for images that leave this machine, and for measuring.
    Image,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Image => "image",
        }
    }
}

/// What `/version` tells of the source: the commit, its date, and whether there are changes besides. Nothing outside of a
/// repository.
fn source(paths: &Paths) -> Vec<(&'static str, String)> {
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(&paths.root).args(args).env("TZ", "UTC");
        run::output(&mut command).ok().map(|text| text.trim().to_owned())
    };
    let date = ["show", "--no-patch", "--format=%cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "HEAD"];
    let (Some(commit), Some(date), Some(changes)) =
        (git(&["rev-parse", "HEAD"]), git(&date), git(&["status", "--porcelain"]))
    else {
        return Vec::new();
    };
    let tree = if changes.is_empty() { "clean" } else { "dirty" };
    vec![("RK_GIT_COMMIT", commit), ("RK_BUILD_DATE", date), ("RK_GIT_TREE_STATE", tree.to_owned())]
}

/// Builds them and answers their folder.
pub fn build(paths: &Paths, step: &Step, profile: Profile) -> Result<(PathBuf, String)> {
    let mut command = run::cargo(&paths.root);
    command.args(["build", "--profile", profile.name(), "--message-format", "json", "--target", TARGET]);
    let host = if profile == Profile::Release { HOST } else { &[] };
    for package in IMAGE.iter().chain(host) {
        command.args(["--package", package]);
    }
    if profile == Profile::Image {
        command.args(["--config", NO_TABLES]).envs(source(paths));
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let stderr = child.stderr.take();
    let said = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.map(|mut stream| stream.read_to_string(&mut text));
        text
    });
    let mut log = String::new();
    let mut built = 0;
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
        if let Some(rendered) = message.pointer("/message/rendered").and_then(Value::as_str) {
            log.push_str(rendered);
        }
        if message.get("fresh") == Some(&Value::Bool(false)) {
            built += 1;
            let name = message.pointer("/target/name").and_then(Value::as_str).unwrap_or_default();
            step.say(format!("{built} crates compiled, {name}"));
        }
    }
    let status = child.wait().context("cargo")?;
    if !status.success() {
        let stderr = said.join().unwrap_or_default();
        bail!("cargo build failed:\n{}\n{}", run::tail(&log), run::tail(&stderr));
    }
    let note = if built == 0 { "up to date".to_owned() } else { format!("{built} crates compiled") };
    Ok((paths.target.join(TARGET).join(profile.name()), note))
}
