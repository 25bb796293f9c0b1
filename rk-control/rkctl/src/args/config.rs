//! `rkctl config`, and configs of nodes.

use super::node::Reach;
use clap::{Args as Group, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

/// `rkctl config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    #[command(flatten)]
    Paper(PaperConfig),
    #[command(flatten)]
    Live(LiveConfig),
}

/// What needs no node.
#[derive(Debug, Subcommand)]
pub enum PaperConfig {
    /// Make secrets, machine configs and the operator's file of a new cluster.
    #[command(after_help = "Examples:\n  rkctl config gen demo https://10.0.0.10:6443 --output demo\n  \
        rkctl config gen demo https://10.0.0.10:6443 --secrets demo/secrets.yaml --worker w3 --output more\n  \
        rkctl config gen demo https://10.0.0.9:6443 --vip eth0 --control-plane c1 --control-plane c2 \\\n    \
        --etcd https://10.0.0.5:2379 --etcd-ca ca.crt --etcd-certificate rk.crt --etcd-key rk.key --output demo")]
    Gen(Box<Gen>),
    /// Check a machine config and report every wrong field.
    #[command(after_help = "Example:\n  rkctl config validate demo/worker.yaml")]
    Validate {
        /// The config; - is standard input.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Make an operator's file for somebody else.
    #[command(
        after_help = "Example:\n  rkctl config client --secrets demo/secrets.yaml --role reader --name ann > ann.yaml"
    )]
    Client {
        /// The cluster's secrets.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        secrets: PathBuf,
        /// What they may do.
        #[arg(long, value_enum)]
        role: RoleName,
        /// Who they are.
        #[arg(long)]
        name: String,
    },
}

/// `rkctl config gen`.
#[derive(Debug, Group)]
pub struct Gen {
    /// Name of the cluster.
    pub cluster: String,
    /// URL of its API server.
    pub endpoint: String,
    /// Folder for the files; made when missing.
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
    /// Secrets of an existing cluster, instead of new ones.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub secrets: Option<PathBuf>,
    /// A control plane of its own name, certificate and file; otherwise one file for all.
    #[arg(long = "control-plane", value_name = "NAME")]
    pub control_planes: Vec<String>,
    /// A worker of its own name, certificate and file; otherwise one file for all.
    #[arg(long = "worker", value_name = "NAME")]
    pub workers: Vec<String>,
    /// The endpoint is an address that the control planes share, on the link of this name.
    #[arg(long, value_name = "LINK")]
    pub vip: Option<String>,
    #[command(flatten)]
    pub etcd: EtcdFiles,
    /// A merge patch (YAML) on every machine config.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub patch: Option<PathBuf>,
    /// Replace files that are there.
    #[arg(long)]
    pub force: bool,
}

/// The etcd of several control planes.
#[derive(Debug, Default, Group)]
pub struct EtcdFiles {
    /// URLs of the etcd that holds the state, which several control planes need; otherwise each has a store of its own.
    #[arg(long = "etcd", value_name = "URL", value_delimiter = ',')]
    pub endpoints: Vec<String>,
    /// The authority (PEM) of its certificates.
    #[arg(long = "etcd-ca", value_name = "FILE", requires = "endpoints", value_hint = ValueHint::FilePath)]
    pub ca: Option<PathBuf>,
    /// The certificate (PEM) that control planes show it.
    #[arg(long = "etcd-certificate", value_name = "FILE", requires_all = ["endpoints", "key"], value_hint = ValueHint::FilePath)]
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long = "etcd-key", value_name = "FILE", requires = "certificate", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
}

/// Roles, as an operator writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Looks.
    Reader,
    /// Handles.
    Operator,
    /// Owns.
    Admin,
}

/// When a config takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// At once where that is possible, else with a reboot.
    Auto,
    /// At once, or not at all.
    NoReboot,
    /// At once, and taken back unless confirmed.
    Try,
    /// Not: only tell the changes.
    DryRun,
}

/// When, for configs.
#[derive(Debug, Clone, Copy, Group)]
pub struct How {
    /// When it takes effect.
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    pub mode: Mode,
    /// How long a trial lasts; at most 600.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub seconds: u32,
    /// Short for --mode dry-run.
    #[arg(long, conflicts_with_all = ["mode", "on_trial"])]
    pub dry_run: bool,
    /// Short for --mode try.
    #[arg(long = "try", conflicts_with = "mode")]
    pub on_trial: bool,
}

impl How {
    /// The mode that is meant.
    pub fn mode(&self) -> Mode {
        match (self.dry_run, self.on_trial) {
            (true, _) => Mode::DryRun,
            (_, true) => Mode::Try,
            _ => self.mode,
        }
    }
}

/// `rkctl node config`.
#[derive(Debug, Subcommand)]
pub enum NodeConfig {
    #[command(flatten)]
    Live(LiveConfig),
    /// Have a node's own version check a config.
    #[command(after_help = "Example:\n  rkctl node config validate worker.yaml -n 10.0.0.11")]
    Validate {
        /// The machine config; - is standard input.
        file: PathBuf,
    },
}

/// What is done with the config of a node, by `rkctl node config` and `rkctl config`.
#[derive(Debug, Subcommand)]
pub enum LiveConfig {
    /// Print it; secrets are hidden from all but admins.
    #[command(after_help = "Example:\n  rkctl config get -n 10.0.0.11")]
    Get,
    /// Replace it; the same as rkctl node apply.
    #[command(after_help = "Example:\n  rkctl config apply worker.yaml --dry-run -n 10.0.0.11")]
    Apply(Apply),
    /// Change it by a merge patch.
    #[command(after_help = "Example:\n  rkctl node config patch --try 'kubelet: {maxPods: 200}'")]
    Patch {
        /// The patch as YAML; @FILE reads it.
        patch: String,
        #[command(flatten)]
        how: How,
    },
    /// Keep the config that is on trial.
    #[command(after_help = "Example:\n  rkctl config confirm -n 10.0.0.11")]
    Confirm,
}

/// `rkctl node apply`.
#[derive(Debug, Group)]
pub struct Apply {
    /// The machine config; - is standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    #[command(flatten)]
    pub how: How,
    #[command(flatten)]
    pub reach: Reach,
}
