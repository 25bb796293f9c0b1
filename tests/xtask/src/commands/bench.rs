//! `bench`: measures and writes `docs/benchmarks.md`. Numbers, not verdicts: the budgets stand beside them.

mod host;
mod machines;
mod memory;
mod table;

use super::BenchArgs;
use crate::paths::Paths;
use crate::report::Report;
use crate::setup;
use anyhow::{Context, Result};
use table::{Row, place, render};

pub fn run(paths: &Paths, args: &BenchArgs) -> Result<()> {
    let report = Report::new();
    let artifacts = setup::prepare(paths, &report, args.setup.install(), args.setup.accel)?;
    let mut rows: Vec<Row> = Vec::new();
    rows.extend(report.step("sizes", |_| Ok((host::sizes(&artifacts)?, String::new())))?);
    rows.extend(report.step("rk-control on this host", |_| Ok((host::control(paths, &artifacts)?, String::new())))?);
    rows.extend(report.step("machines", |step| Ok((machines::measure(&artifacts, step)?, String::new())))?);
    let text = render(&host::machine(artifacts.accel), &rows);
    println!("\n{text}");
    let path = paths.root.join("docs/benchmarks.md");
    let document = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let document = place(&document, "node", "Image, control plane and nodes", &text);
    std::fs::write(&path, document).with_context(|| format!("write {}", path.display()))
}
