//! The command line.

use clap::{Args as Group, Parser, Subcommand, ValueEnum, ValueHint};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Manages machines that run rk.
#[derive(Debug, Parser)]
#[command(name = "rkctl", version, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  rkctl config gen demo https://10.0.0.10:6443 --output demo
  rkctl node apply --insecure --nodes 10.0.0.10 --fingerprint sha256:… demo/control-plane.yaml
  rkctl health --wait 5m -n 10.0.0.10,10.0.0.11
  rkctl node logs node --follow -n 10.0.0.11
  rkctl node services -n 10.0.0.10,10.0.0.11 -o json

Exit codes:
  0 done   1 other   2 wrong input   3 unreachable   4 refused   5 not in a state for it   6 not found   7 unhealthy";

/// Flags of every command.
#[derive(Debug, Clone, Group)]
pub struct Global {
    /// The operator's file with authority, certificate and key; also RKCTL_CONFIG, ./rkctl.yaml, ~/.config/rk/rkctl.yaml.
    #[arg(long = "rkctl-config", global = true, value_name = "FILE", env = "RKCTL_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Nodes to talk to, as host or host:port; otherwise those in the operator's file.
    #[arg(short, long, global = true, value_name = "NODE", value_delimiter = ',')]
    pub nodes: Vec<String>,
    /// How answers are printed.
    #[arg(short = 'o', long, global = true, value_enum, default_value_t = Format::Table)]
    pub print: Format,
    /// How long a node may take to answer a question that is no stream.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns.
    Table,
    /// JSON, one document.
    Json,
    /// YAML, one document.
    Yaml,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make and check machine configs.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask and tell nodes.
    #[command(subcommand)]
    Node(Box<Verb>),
    /// Tell what is wrong with nodes, and wait until nothing is.
    #[command(after_help = "Example:\n  rkctl health --wait 5m -n 10.0.0.10")]
    Health(Health),
    /// Show a node on a page of the terminal; q ends it.
    Dashboard,
    /// Collect what helps to find a fault into a .tar.gz, without secrets.
    #[command(after_help = "Example:\n  rkctl support --file support.tar.gz -n 10.0.0.10,10.0.0.11")]
    Support(Support),
    /// Build images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Print a completion script.
    #[command(after_help = "Example:\n  rkctl completion bash > /etc/bash_completion.d/rkctl")]
    Completion {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// `rkctl config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Make secrets, machine configs and the operator's file of a new cluster.
    #[command(after_help = "Examples:\n  rkctl config gen demo https://10.0.0.10:6443 --output demo\n  \
        rkctl config gen demo https://10.0.0.10:6443 --secrets demo/secrets.yaml --worker w3 --output more")]
    Gen(Box<Gen>),
    /// Check a machine config; every wrong field is told.
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
    /// A merge patch (YAML) on every machine config.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub patch: Option<PathBuf>,
    /// Replace files that are there.
    #[arg(long)]
    pub force: bool,
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

/// `rkctl health`.
#[derive(Debug, Group)]
pub struct Health {
    /// Wait this long for all to be well: 90s, 5m.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
}

/// `rkctl support`.
#[derive(Debug, Group)]
pub struct Support {
    /// The bundle.
    #[arg(long, value_name = "FILE", default_value = "support.tar.gz", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Lines of each log.
    #[arg(long, value_name = "LINES", default_value_t = 5000)]
    pub lines: u32,
}

/// `rkctl image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build a medium.
    Build {
        /// iso, raw, qcow2, pxe, uki or vmdk.
        #[arg(long)]
        format: String,
        /// Folder for the result.
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
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

/// `rkctl node`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Give a node a config.
    #[command(
        after_help = "Examples:\n  rkctl node apply --insecure --nodes 10.0.0.10 --fingerprint sha256:… control-plane.yaml\n  \
        rkctl node apply --mode try worker.yaml && rkctl node config confirm"
    )]
    Apply {
        /// The machine config; - is standard input.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        how: How,
        /// The node is in maintenance mode and has no certificate of the cluster.
        #[arg(long, requires = "fingerprint")]
        insecure: bool,
        /// The fingerprint on the node's console.
        #[arg(long, value_name = "sha256:HEX")]
        fingerprint: Option<String>,
    },
    /// The node's config.
    #[command(subcommand)]
    Config(NodeConfig),
    /// Versions and mode.
    Version,
    /// Services, and what became of them.
    Services,
    /// Restart a service.
    Restart {
        /// Its name.
        service: String,
    },
    /// A log: of a service, or of namespace/pod/container.
    #[command(
        after_help = "Examples:\n  rkctl node logs node --tail 100\n  rkctl node logs kube-system/web/nginx --follow"
    )]
    Logs {
        /// The service or container.
        source: String,
        /// Go on with what comes.
        #[arg(short, long)]
        follow: bool,
        /// Lines from the end; 0 is all.
        #[arg(long, default_value_t = 0)]
        tail: u32,
    },
    /// The kernel's messages.
    Dmesg {
        /// Go on with what comes.
        #[arg(short, long)]
        follow: bool,
        /// Lines from the end; 0 is all.
        #[arg(long, default_value_t = 0)]
        tail: u32,
    },
    /// Processes.
    Ps,
    /// Mounts, and how full they are.
    Mounts,
    /// Disks and partitions.
    #[command(
        after_help = "Example, in maintenance mode:\n  rkctl node disks --insecure --fingerprint sha256:… -n 10.0.0.10"
    )]
    Disks(Reach),
    /// Memory of the machine and of its services.
    Memory,
    /// Processors and load.
    Cpu,
    /// Sockets.
    Netstat {
        /// Those that listen.
        #[arg(short, long)]
        listening: bool,
    },
    /// Network links.
    Interfaces(Reach),
    /// Routes.
    Routes,
    /// Packets of a link as a pcap file.
    #[command(after_help = "Example:\n  rkctl node capture eth0 --protocol udp --port 53 --seconds 30 --file dns.pcap")]
    Capture(Capture),
    /// A file of the node.
    Read {
        /// Its absolute path.
        path: String,
    },
    /// A folder of the node.
    #[command(visible_alias = "ls")]
    List {
        /// Its absolute path.
        path: String,
    },
    /// What happened.
    Events {
        /// Go on with what comes.
        #[arg(short, long)]
        follow: bool,
    },
    /// The clock, and how well it is known.
    Time,
    /// Certificates.
    #[command(subcommand)]
    Certificates(Certificates),
    /// The cluster admin's kubeconfig, of a control plane.
    Kubeconfig,
    /// The control plane's store.
    #[command(subcommand)]
    Store(Store),
    /// Start the machine anew.
    Reboot,
    /// Switch the machine off.
    Shutdown,
    /// Erase disks of the machine.
    Reset {
        /// The config and identity.
        #[arg(long)]
        state: bool,
        /// Images, pods, logs.
        #[arg(long)]
        data: bool,
    },
    /// Go back to the image before the last upgrade.
    Rollback,
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
    #[arg(long)]
    pub dry_run: bool,
}

/// How to reach a node that may be in maintenance mode.
#[derive(Debug, Clone, Group)]
pub struct Reach {
    /// The node is in maintenance mode and has no certificate of the cluster.
    #[arg(long, requires = "fingerprint")]
    pub insecure: bool,
    /// The fingerprint on the node's console.
    #[arg(long, value_name = "sha256:HEX")]
    pub fingerprint: Option<String>,
}

/// `rkctl node config`.
#[derive(Debug, Subcommand)]
pub enum NodeConfig {
    /// Print it; secrets are hidden from all but admins.
    Get,
    /// Change it by a merge patch.
    #[command(after_help = "Example:\n  rkctl node config patch --mode try 'kubelet: {maxPods: 200}'")]
    Patch {
        /// The patch as YAML; @FILE reads it.
        patch: String,
        #[command(flatten)]
        how: How,
    },
    /// Keep the config that is on trial.
    Confirm,
    /// Have a node's own version check a config.
    Validate {
        /// The machine config; - is standard input.
        file: PathBuf,
    },
}

/// `rkctl node capture`.
#[derive(Debug, Group)]
pub struct Capture {
    /// The link.
    pub interface: String,
    /// The file; - is standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// tcp, udp, icmp or arp.
    #[arg(long, default_value = "")]
    pub protocol: String,
    /// Only from or to this address.
    #[arg(long, default_value = "")]
    pub host: String,
    /// Only from or to this port.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// End after so many packets.
    #[arg(long, default_value_t = 0)]
    pub packets: u32,
    /// End after so many seconds.
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
    /// Bytes kept of each packet; 0 is all.
    #[arg(long, default_value_t = 0)]
    pub snap: u32,
    /// Packets for others, too.
    #[arg(long)]
    pub promiscuous: bool,
}

/// `rkctl node certificates`.
#[derive(Debug, Subcommand)]
pub enum Certificates {
    /// All that lie on the node.
    List,
    /// Give the node's machine API a new key and certificate, signed here.
    #[command(after_help = "Example:\n  rkctl node certificates rotate --secrets demo/secrets.yaml -n 10.0.0.11")]
    Rotate {
        /// The cluster's secrets.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        secrets: PathBuf,
    },
}

/// `rkctl node store`.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Take a snapshot.
    Snapshot {
        /// Where to.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Put a snapshot in place of the store.
    Restore {
        /// Where from.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected seconds, from 1 to 86400".to_owned()),
    }
}

/// `90s`, `5m`, `1h`, or seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.get(number.len()..).unwrap_or("s")),
        None => (text, "s"),
    };
    let factor = match unit {
        "m" => 60,
        "h" => 3600,
        _ => 1,
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).filter(|s| *s <= 86_400);
    seconds.map(Duration::from_secs).ok_or_else(|| "expected a time such as 90s, 5m or 1h, at most a day".to_owned())
}

/// The parts of `host`, `host:port`, `v6`, `[v6]:port`.
pub fn host_and_port(node: &str) -> Option<(String, u16)> {
    let port = rk_machine_proto::PORT;
    if let Ok(address) = node.parse::<SocketAddr>() {
        return Some((address.ip().to_string(), address.port()));
    }
    if let Ok(ip) = node.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>() {
        return Some((ip.to_string(), port));
    }
    let (host, port) = match node.split_once(':') {
        Some((host, text)) => (host, text.parse().ok()?),
        None => (node, port),
    };
    rk_config::is_dns_subdomain(&host.to_ascii_lowercase()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_of_commands_and_flags_of_all_do_not_meet() {
        for line in [
            "rkctl config gen demo https://a:6443 --output d",
            "rkctl image build --format iso --output d",
            "rkctl node services -n a,b -o json",
            "rkctl -o yaml health --wait 5m -n a",
            "rkctl node apply --insecure --fingerprint f -n a file",
            "rkctl node config patch p --dry-run --nodes a --print json",
        ] {
            Args::try_parse_from(line.split(' ')).unwrap_or_else(|err| panic!("{line}: {err}"));
        }
    }

    #[test]
    fn nodes_are_named_in_every_usual_way() {
        let table = [
            ("10.0.0.1", Some(("10.0.0.1", 50_000))),
            ("10.0.0.1:7", Some(("10.0.0.1", 7))),
            ("[fd00::1]:7", Some(("fd00::1", 7))),
            ("fd00::1", Some(("fd00::1", 50_000))),
            ("node-1.example:7", Some(("node-1.example", 7))),
            ("node_1", None),
            ("a:b", None),
            ("", None),
        ];
        for (text, wanted) in table {
            assert_eq!(host_and_port(text), wanted.map(|(host, port)| (host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert!(duration("m").is_err() && duration("99999h").is_err() && duration("-1s").is_err());
    }
}
