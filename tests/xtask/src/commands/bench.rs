//! `bench`: measures and writes `docs/benchmarks.md`. Numbers, not verdicts: the budgets stand beside them. Sizes alone are held to what
//! they were ([`setup::weigh`]), once they are written down.

mod api;
mod host;
mod machines;
mod media;
mod memory;
mod node;
mod peers;
mod table;

use super::BenchArgs;
use crate::paths::Paths;
use crate::report::Report;
use crate::setup::{self, Profile};
use anyhow::{Context, Result, bail};
use rk_qemu::Artifacts;
use table::{Row, place, render};

pub fn run(paths: &Paths, args: &BenchArgs) -> Result<()> {
    let report = Report::new();
    match args.only.as_deref() {
        None => {}
        Some("api") => return run_api(paths, &report),
        Some("media") => return run_media(paths, args, &report),
        Some("node") => return run_node(paths, args, &report),
        Some(other) => bail!("there is no bench {other:?}; there are api, media, node"),
    }
    let artifacts = setup::prepare(paths, &report, args.setup.install(), args.setup.accel, Profile::Image)?;
    let mut rows: Vec<Row> = Vec::new();
    rows.extend(report.step("sizes", |_| Ok((host::sizes(&artifacts)?, String::new())))?);
    rows.extend(report.step("rk-control on this host", |_| Ok((host::control(paths, &artifacts)?, String::new())))?);
    rows.extend(report.step("machines", |step| Ok((machines::measure(&artifacts, step)?, String::new())))?);
    record(paths, "node", "Image, control plane and nodes", &render(&host::machine(artifacts.accel), &rows))?;
    setup::weigh(&[artifacts.kernel, artifacts.initramfs])
}

/// `bench api`: `rk-control` alone under load. It needs neither kernel nor image.
fn run_api(paths: &Paths, report: &Report) -> Result<()> {
    let rows = report.step("rk-control under load", |step| Ok((api::measure(paths, step)?, String::new())))?;
    record(paths, "api", "The API under load", &render(&host::processor(), &rows))
}

/// `bench media`: every medium from power-on to Ready, installation and upgrade.
fn run_media(paths: &Paths, args: &BenchArgs, report: &Report) -> Result<()> {
    let profile = profile(args);
    let artifacts = setup::prepare(paths, report, args.setup.install(), args.setup.accel, profile)?;
    let machine = machine(args, &artifacts);
    let (rows, files) = media::measure(paths, report, artifacts, profile)?;
    record(paths, "media", "Media, installation, upgrade", &render(&machine, &rows))?;
    // The quick build is larger, and leaves this machine for nowhere.
    if args.quick { Ok(()) } else { setup::weigh(&files) }
}

/// `bench node`: a worker's containers, pods and images, beside other runtimes on the same machine.
fn run_node(paths: &Paths, args: &BenchArgs, report: &Report) -> Result<()> {
    let artifacts = setup::prepare(paths, report, args.setup.install(), args.setup.accel, profile(args))?;
    let image = report.step("runtimes to compare with", |step| peers::image(paths, &artifacts, step))?;
    let size = if args.quick { &node::QUICK } else { &node::FULL };
    let rows =
        report.step("a worker at work", |step| Ok((node::measure(&artifacts, &image, size, step)?, String::new())))?;
    record(paths, "worker", "A worker at work", &render(&machine(args, &artifacts), &rows))
}

fn profile(args: &BenchArgs) -> Profile {
    if args.quick { Profile::Release } else { Profile::Image }
}

fn machine(args: &BenchArgs, artifacts: &Artifacts) -> String {
    let quick = "; quick build: no link-time optimisation, LZ4, so sizes and what depends on them are larger";
    host::machine(artifacts.accel) + if args.quick { quick } else { "" }
}

/// Shows a table and writes it into its section of the page.
fn record(paths: &Paths, name: &str, title: &str, text: &str) -> Result<()> {
    say!("\n{text}");
    let path = paths.root.join("docs/benchmarks.md");
    let document = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    std::fs::write(&path, place(&document, name, title, text)).with_context(|| format!("write {}", path.display()))
}
