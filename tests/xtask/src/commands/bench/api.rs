//! `rk-control` alone under load: how many creates it takes, how fast watchers hear, what a long list costs.

use super::host::{mb, ms, resident_kib, start};
use super::table::Row;
use crate::paths::Paths;
use crate::report::Step;
use crate::run;
use anyhow::{Context, Result};
use std::process::Command;
use std::time::Duration;

/// Where `cargo build` puts binaries for the one target.
const RELEASE: &str = "x86_64-unknown-linux-gnu/release";

/// Builds server and load, and measures.
pub fn measure(paths: &Paths, step: &Step) -> Result<Vec<Row>> {
    step.say("building");
    let mut build = run::cargo(&paths.root);
    build.args([
        "build",
        "--release",
        "--package",
        "rk-control",
        "--package",
        "rk-apiserver",
        "--bin",
        "rk-control",
        "--example",
        "load",
    ]);
    run::output(&mut build)?;
    let release = paths.target.join(RELEASE);
    let dir = paths.rk.join("bench-api");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    step.say("starting");
    let binary = release.join("rk-control");
    drop(start(&binary, &dir)?);
    let (again, process) = start(&binary, &dir)?;
    std::thread::sleep(Duration::from_secs(5));
    let idle = resident_kib(process.id()).unwrap_or(0);
    let mut rows = vec![
        Row::new("start to /readyz, existing store", ms(again), "≤ 100 ms"),
        Row::new("resident, idle", mb(idle * 1024), "≤ 60 MB"),
    ];
    step.say("under load");
    let mut load = Command::new(release.join("examples/load"));
    load.arg(dir.join("admin.kubeconfig")).arg(process.id().to_string());
    rows.extend(run::output(&mut load)?.lines().filter_map(row));
    Ok(rows)
}

/// A line of the load's: what, measured, budget.
fn row(line: &str) -> Option<Row> {
    let mut parts = line.split('\t');
    let (what, measured, budget) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Row { what: what.to_owned(), measured: measured.to_owned(), budget: budget.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_load_is_a_row() {
        assert_eq!(
            row("creates\t10/s\t—"),
            Some(Row { what: "creates".into(), measured: "10/s".into(), budget: "—".into() })
        );
        assert_eq!(row("nonsense"), None);
    }
}
