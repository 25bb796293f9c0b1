//! The subcommands.

mod bench;
mod console;
mod down;
mod forward;
mod image;
mod interrupt;
mod lint;
mod load;
mod status;
mod supervise;
mod test;
mod up;

use crate::paths::Paths;
use crate::setup::Install;
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use rk_qemu::accel::Choice;
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds, boots, tests and measures rk.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build everything and boot a cluster: a control plane and workers under QEMU
    Up(UpArgs),
    /// Stop a cluster
    Down(NameArgs),
    /// Show clusters, nodes and forwarded ports
    Status,
    /// Show the console of a node and follow it
    Console(ConsoleArgs),
    /// Put image archives (docker save or OCI layout, tar or folder) into the cluster's registry
    Load(LoadArgs),
    /// Forward a port of this host to a port of a node, such as a NodePort
    Forward(ForwardArgs),
    /// Run every test, the ones in virtual machines included
    Test(TestArgs),
    /// Measure and write docs/benchmarks.md
    Bench(BenchArgs),
    /// Build kernel and image, or media of them, and tell where they are
    Image(ImageArgs),
    /// Check format, clippy, dependency directions, licences, documents, file lengths
    Lint,
    /// Apply what rustfmt and clippy can fix
    Fix,
    #[command(hide = true)]
    Supervise(SuperviseArgs),
}

/// How to get at what machines need.
#[derive(Debug, Clone, Args)]
pub struct SetupArgs {
    /// Print the apt line for missing packages instead of installing them
    #[arg(long)]
    no_install: bool,
    /// auto, kvm or tcg
    #[arg(long, default_value = "auto")]
    accel: Choice,
}

impl SetupArgs {
    fn install(&self) -> Install {
        if self.no_install { Install::No } else { Install::Yes }
    }
}

#[derive(Debug, Clone, Args)]
struct NameArgs {
    /// Name of the cluster
    #[arg(long, default_value = "rk", value_parser = cluster_name)]
    name: String,
}

#[derive(Debug, Clone, Args)]
struct Shape {
    /// Workers beside the control plane
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=200))]
    workers: u8,
    /// Memory of each machine in MiB
    #[arg(long, default_value_t = 768, value_parser = clap::value_parser!(u64).range(256..))]
    memory: u64,
    /// Processors of each machine [default: 2; 1 without hardware acceleration]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: Option<u32>,
}

#[derive(Debug, Args)]
struct UpArgs {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    shape: Shape,
    /// Port of this host for the API server; the next free one when it is taken
    #[arg(long, default_value_t = 6443)]
    port: u16,
    #[command(flatten)]
    setup: SetupArgs,
}

#[derive(Debug, Args)]
struct ConsoleArgs {
    /// control-plane, worker-1 and so on
    node: String,
    #[command(flatten)]
    name: NameArgs,
    /// Show what there is and end
    #[arg(long)]
    no_follow: bool,
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// Archives
    #[arg(required = true)]
    archives: Vec<PathBuf>,
    /// The name of an image whose archive holds none
    #[arg(long = "as", value_name = "NAME")]
    image_name: Option<String>,
    #[command(flatten)]
    name: NameArgs,
}

#[derive(Debug, Args)]
struct ForwardArgs {
    /// Port of the node, such as the nodePort of a Service
    port: u16,
    /// The node
    #[arg(long, default_value = "worker-1")]
    node: String,
    /// Port of this host; the same one when it is free
    #[arg(long)]
    host_port: Option<u16>,
    #[command(flatten)]
    name: NameArgs,
}

#[derive(Debug, Args)]
struct TestArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// Only these: host, api, images, boot, media, slots, machine, node, numa, cri, nodefaults, network, dualstack, cluster, chaos, faults,
    /// planes; or all
    tiers: Vec<String>,
}

#[derive(Debug, Args)]
struct BenchArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// Media of the quick build, as tests boot them, instead of the small one's; of a node, fewer pods
    #[arg(long)]
    quick: bool,
    /// Only this: api, media, node
    only: Option<String>,
}

#[derive(Debug, Args)]
struct ImageArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// Media: uki, iso, raw, qcow2, vmdk, pxe; several with commas
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    format: Vec<rk_image::media::Format>,
    /// Folder for media
    #[arg(long, default_value = "target/rk-media")]
    output: PathBuf,
    /// A machine config to build in
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Kernel command line, instead of the usual one
    #[arg(long)]
    cmdline: Option<String>,
}

#[derive(Debug, Args)]
struct SuperviseArgs {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    shape: Shape,
    #[arg(long)]
    port: u16,
}

/// Names become folders and host names.
fn cluster_name(text: &str) -> Result<String, String> {
    let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let reserved = matches!(text, "bin" | "probe" | "tests");
    if first && text.len() <= 32 && text.bytes().all(sound) && !reserved {
        Ok(text.to_owned())
    } else {
        Err("a cluster's name is 1 to 32 of a-z, 0-9 and '-', starting with a letter; bin, probe and tests are taken"
            .into())
    }
}

/// Runs what the command line asks for.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let paths = Paths::find()?;
    match cli.command {
        Command::Up(args) => up::run(&paths, &args),
        Command::Down(args) => down::run(&paths, &args.name),
        Command::Status => status::run(&paths),
        Command::Console(args) => console::run(&paths, &args),
        Command::Load(args) => load::run(&paths, &args),
        Command::Forward(args) => forward::run(&paths, &args),
        Command::Test(args) => return test::run(&paths, &args),
        Command::Bench(args) => bench::run(&paths, &args),
        Command::Image(args) => image::run(&paths, &args),
        Command::Lint => return lint::check(&paths),
        Command::Fix => return lint::fix(&paths),
        Command::Supervise(args) => supervise::run(&paths, &args),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// The running cluster of that name.
fn running(paths: &Paths, name: &str) -> Result<rk_qemu::cluster::ClusterState> {
    let state = rk_qemu::cluster::ClusterState::load(&paths.cluster(name))?;
    state.ok_or_else(|| anyhow::anyhow!("no cluster named {name} runs; start one by `cargo xtask up{}`", option(name)))
}

/// ` --name X` unless X is the default.
fn option(name: &str) -> String {
    if name == "rk" { String::new() } else { format!(" --name {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        for name in ["", "..", "a/b", "A", "tests", "1a"] {
            assert!(cluster_name(name).is_err(), "{name:?}");
        }
        assert!(cluster_name("rk-2").is_ok());
    }
}
