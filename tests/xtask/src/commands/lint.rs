//! `lint` reads, `fix` writes.

use crate::lint;
use crate::paths::Paths;
use crate::run::{cargo, shown};
use anyhow::Result;
use std::process::ExitCode;

/// Runs all checks, also after a failed one, and tells which failed.
pub fn check(paths: &Paths) -> Result<ExitCode> {
    let mut failed = Vec::new();
    if !shown(cargo(&paths.root).args(["fmt", "--all", "--check"]))? {
        failed.push("format (run `cargo xtask fix`)");
    }
    if !shown(cargo(&paths.root).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        "rk-tests/guest",
        "--",
        "-D",
        "warnings",
    ]))? {
        failed.push("clippy");
    }
    let metadata = lint::Metadata::read(&paths.root)?;
    let checks = [
        ("dependency directions", lint::directions(&metadata)),
        ("licences", lint::licences(&metadata)),
        ("tests that promises name", lint::unknown_tests(&paths.root)?),
        ("index of decisions", lint::unlisted_decisions(&paths.root)?),
    ];
    for (name, findings) in checks {
        findings.iter().for_each(|f| say!("{name}: {f}"));
        if !findings.is_empty() {
            failed.push(name);
        }
    }
    for long in lint::long_files(&paths.root)? {
        say!("warning: {long}");
    }
    match failed.is_empty() {
        true => say!("lint: all is well"),
        false => say!("lint failed: {}", failed.join(", ")),
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Applies what tools can repair by themselves.
pub fn fix(paths: &Paths) -> Result<ExitCode> {
    let clippy = ["clippy", "--fix", "--allow-dirty", "--allow-staged", "--workspace", "--all-targets"];
    let fixed = shown(cargo(&paths.root).args(clippy))?;
    let formatted = shown(cargo(&paths.root).args(["fmt", "--all"]))?;
    Ok(if fixed && formatted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
