//! Our own binaries for the guests.

use crate::paths::Paths;
use crate::report::Step;
use crate::run;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The packages whose binaries go into the image.
const IMAGE: &[&str] = &["rk-init", "rk", "rk-shim"];
/// Programs that tests use on the host.
const HOST: &[&str] = &["rk-control", "rkctl"];
/// Any test: with one of them, crates have the features that tests ask of them, and are those of the tests.
const WITH_TESTS: [&str; 2] = ["--test", "conformance"];
/// The one target; the profile and its flags are in the workspace.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Added to the flags of the workspace for small images: nothing unwinds, so that nobody reads tables of how to.
const NO_TABLES: &str = "target.x86_64-unknown-linux-gnu.rustflags=['-Cforce-unwind-tables=no']";

/// How the programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build anew: for clusters of somebody who edits.
    Release,
    /// As the tests are, of the same crates (ADR 0298).
    Test,
    /// Small: for images that leave this machine, and for measuring.
    Image,
}

impl Profile {
    /// Its name in the workspace, and that of its folder.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Profile::Release => ("release", "release"),
            Profile::Test => ("dev", "debug"),
            Profile::Image => ("image", "image"),
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

/// Where the programs of a profile lie once they are built.
pub fn folder(paths: &Paths, profile: Profile) -> PathBuf {
    match profile {
        Profile::Test => paths.rk.join("programs"),
        other => paths.target.join(TARGET).join(other.names().1),
    }
}

fn command(paths: &Paths, profile: Profile) -> Command {
    let named = |command: &mut Command, packages: &[&str]| {
        packages.iter().for_each(|package| _ = command.args(["--package", package]));
    };
    let mut command = match profile {
        Profile::Test => run::cargo_for_all(&paths.root),
        _ => run::cargo(&paths.root),
    };
    command.args(["build", "--profile", profile.names().0, "--message-format", "json", "--target", TARGET]);
    match profile {
        Profile::Test => _ = command.args(run::ALL).arg("--bins").args(WITH_TESTS),
        Profile::Release => named(&mut command, &[IMAGE, HOST].concat()),
        Profile::Image => {
            named(&mut command, IMAGE);
            command.args(["--config", NO_TABLES]).envs(source(paths));
        }
    }
    command
}

/// Copies without symbols, as the other profiles make them: a guest holds its root in memory.
fn strip(paths: &Paths, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    let built = paths.target.join(TARGET).join(Profile::Test.names().1);
    let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    for name in IMAGE.iter().chain(HOST) {
        let (from, copy, part) = (built.join(name), to.join(name), to.join(format!("{name}.part")));
        if modified(&copy) < modified(&from) {
            run::output(Command::new("strip").arg("-o").arg(&part).arg(&from))?;
            std::fs::rename(&part, &copy).with_context(|| format!("rename {}", part.display()))?;
        }
    }
    Ok(())
}

/// Builds them and answers their folder.
pub fn build(paths: &Paths, step: &Step, profile: Profile) -> Result<(PathBuf, String)> {
    let mut command = command(paths, profile);
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
    let folder = folder(paths, profile);
    if profile == Profile::Test {
        strip(paths, &folder)?;
    }
    Ok((folder, note))
}
