//! `rkctl node`: the verbs.

use super::{Apply, NodeConfig};
use clap::{Args as Group, Subcommand, ValueHint};
use std::path::PathBuf;
use std::time::Duration;

/// `rkctl node`.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// The node's config.
    #[command(subcommand)]
    Config(NodeConfig),
    #[command(flatten)]
    Other(Verb),
}

/// What nodes are asked and told; `rkctl` takes these words with and without `node` before them.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Give a node a config.
    #[command(
        after_help = "Examples:\n  rkctl node apply --insecure --nodes 10.0.0.10 --fingerprint sha256:… control-plane.yaml\n  \
        rkctl node apply --try worker.yaml && rkctl node config confirm"
    )]
    Apply(Apply),
    /// Versions and mode.
    #[command(after_help = "Example:\n  rkctl version -n 10.0.0.10,10.0.0.11")]
    Version,
    /// Services, and what became of them.
    #[command(
        visible_alias = "service",
        after_help = "Examples:\n  rkctl services -n 10.0.0.10\n  rkctl services restart node -n 10.0.0.10"
    )]
    Services {
        #[command(subcommand)]
        what: Option<Services>,
    },
    /// Restart a service; the same as services restart.
    #[command(after_help = "Example:\n  rkctl restart node -n 10.0.0.11")]
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
    #[command(after_help = "Example:\n  rkctl dmesg --tail 200 --follow -n 10.0.0.11")]
    Dmesg {
        /// Go on with what comes.
        #[arg(short, long)]
        follow: bool,
        /// Lines from the end; 0 is all.
        #[arg(long, default_value_t = 0)]
        tail: u32,
    },
    /// Processes.
    #[command(after_help = "Example:\n  rkctl ps -n 10.0.0.11")]
    Ps,
    /// Mounts, and how full they are.
    #[command(after_help = "Example:\n  rkctl mounts -n 10.0.0.11")]
    Mounts,
    /// Disks and partitions.
    #[command(
        after_help = "Example, in maintenance mode:\n  rkctl node disks --insecure --fingerprint sha256:… -n 10.0.0.10"
    )]
    Disks(Reach),
    /// Memory of the machine and of its services.
    #[command(after_help = "Example:\n  rkctl memory -n 10.0.0.11 -o json")]
    Memory,
    /// Processors and load.
    #[command(after_help = "Example:\n  rkctl cpu -n 10.0.0.10,10.0.0.11")]
    Cpu,
    /// Sockets.
    #[command(after_help = "Example:\n  rkctl netstat --listening -n 10.0.0.11")]
    Netstat {
        /// Those that listen.
        #[arg(short, long)]
        listening: bool,
    },
    /// Network links.
    #[command(
        after_help = "Examples:\n  rkctl interfaces -n 10.0.0.11\n  rkctl node interfaces --insecure --fingerprint sha256:… -n 10.0.0.10"
    )]
    Interfaces(Reach),
    /// Routes.
    #[command(after_help = "Example:\n  rkctl routes -n 10.0.0.11")]
    Routes,
    /// Packets of a link as a pcap file.
    #[command(after_help = "Example:\n  rkctl node capture eth0 --protocol udp --port 53 --seconds 30 --file dns.pcap")]
    Capture(Capture),
    /// A file of the node.
    #[command(after_help = "Example:\n  rkctl read /proc/meminfo -n 10.0.0.11")]
    Read {
        /// Its absolute path.
        path: String,
    },
    /// A folder of the node.
    #[command(visible_alias = "ls", after_help = "Example:\n  rkctl ls /var/log/rk -n 10.0.0.11")]
    List {
        /// Its absolute path.
        path: String,
    },
    /// What happened.
    #[command(after_help = "Example:\n  rkctl events --follow -n 10.0.0.11")]
    Events {
        /// Go on with what comes.
        #[arg(short, long)]
        follow: bool,
    },
    /// The clock, and how well it is known.
    #[command(after_help = "Example:\n  rkctl time -n 10.0.0.10,10.0.0.11")]
    Time,
    /// Certificates.
    #[command(subcommand)]
    Certificates(Certificates),
    /// The cluster admin's kubeconfig, of a control plane.
    #[command(after_help = "Example:\n  rkctl kubeconfig -n 10.0.0.10 > kubeconfig")]
    Kubeconfig,
    /// The control plane's store.
    #[command(subcommand, visible_alias = "etcd")]
    Store(Store),
    /// Restart the machine once its pods have left; several nodes one after the other.
    #[command(after_help = "Example:\n  rkctl reboot --drain-timeout 10m -n 10.0.0.11,10.0.0.12")]
    Reboot(Drain),
    /// Switch the machine off, once its pods have left; several nodes one after the other.
    #[command(after_help = "Example:\n  rkctl shutdown --no-drain -n 10.0.0.11")]
    Shutdown(Drain),
    /// Open the encrypted disks of a node that waits for a passphrase.
    #[command(
        after_help = "Example:\n  rkctl node unlock --insecure --fingerprint sha256:… -n 10.0.0.11 < passphrase.txt"
    )]
    Unlock {
        /// Holds the passphrase; - is standard input. A newline at its end is not part of it.
        #[arg(long, value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
        passphrase_file: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// Write a raw image (rk.raw) to a disk of a machine that was started from another medium.
    #[command(after_help = "Examples:\n  rkctl node disks --insecure --fingerprint sha256:… -n 10.0.0.10\n  \
        rkctl node install rk.raw --disk size=smallest,bus=nvme --dry-run --insecure --fingerprint sha256:… -n 10.0.0.10\n  \
        rkctl node install rk.raw --disk size=smallest,bus=nvme --config worker.yaml --reboot --insecure --fingerprint sha256:… -n 10.0.0.10")]
    Install(Install),
    /// Write a newer image (rk.raw) to the slot that does not run, and try it.
    #[command(
        after_help = "Example:\n  rkctl node upgrade rk.raw -n 10.0.0.11 && rkctl health --wait 10m -n 10.0.0.11"
    )]
    Upgrade(Upgrade),
    /// Go back to the other slot, as it was before the last upgrade, once the node's pods have left.
    #[command(after_help = "Example:\n  rkctl rollback -n 10.0.0.11")]
    Rollback(Drain),
    /// Erase what the machine keeps, at its next start, which is now: nobody is asked, nothing is drained, and -n must name the nodes.
    #[command(
        after_help = "Examples:\n  rkctl node reset --state -n 10.0.0.11   # it waits for a config\n  rkctl node reset --all -n 10.0.0.11     # it goes off and boots no more"
    )]
    Reset {
        /// The config and identity.
        #[arg(long)]
        state: bool,
        /// Images, pods, logs.
        #[arg(long)]
        data: bool,
        /// Both, and the installation itself; the machine goes off.
        #[arg(long)]
        all: bool,
    },
}

/// `rkctl services`.
#[derive(Debug, Subcommand)]
pub enum Services {
    /// List them, as without a word.
    #[command(after_help = "Example:\n  rkctl services list -n 10.0.0.11")]
    List,
    /// Restart one.
    #[command(after_help = "Example:\n  rkctl services restart node -n 10.0.0.11")]
    Restart {
        /// Its name.
        service: String,
    },
}

/// `rkctl node upgrade`.
#[derive(Debug, Group)]
pub struct Upgrade {
    /// The raw disk image; its signature is beside it, with .sig behind the name.
    #[arg(value_hint = ValueHint::FilePath)]
    pub image: PathBuf,
    /// Leave the restart to somebody else; nothing is drained then.
    #[arg(long)]
    pub no_reboot: bool,
    #[command(flatten)]
    pub drain: Drain,
}

/// What becomes of a node's pods before its machine restarts.
#[derive(Debug, Clone, Copy, Group)]
pub struct Drain {
    /// Do it at once, without evicting the node's pods first.
    #[arg(long)]
    pub no_drain: bool,
    /// How long pods may take to leave. With any left then, nothing is done.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = super::duration)]
    pub drain_timeout: Duration,
}

impl Drain {
    /// In the form of the machine API, where 0 means not to drain.
    pub fn seconds(&self) -> u32 {
        if self.no_drain { 0 } else { self.drain_timeout.as_secs().try_into().unwrap_or(u32::MAX) }
    }
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

/// `rkctl node install`.
#[derive(Debug, Group)]
pub struct Install {
    /// The raw disk image.
    #[arg(value_hint = ValueHint::FilePath)]
    pub image: PathBuf,
    /// Rules parted by commas: serial=, wwid=, model=, bus=, size=smallest, size=largest; or a path such as /dev/sda.
    #[arg(long)]
    pub disk: String,
    /// The config of the machine-to-be.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Erase what the disk holds.
    #[arg(long)]
    pub wipe: bool,
    /// Tell which disk is meant and why, what it holds and what would be made; change nothing. Ends as the installation would.
    #[arg(long)]
    pub dry_run: bool,
    /// Restart the machine when it is done.
    #[arg(long)]
    pub reboot: bool,
    /// Install an image that no key in upgrade.keys of the config signed.
    #[arg(long)]
    pub unsigned: bool,
    #[command(flatten)]
    pub reach: Reach,
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
    /// End after so many seconds; Ctrl-C ends it before, and keeps what came.
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
    #[command(after_help = "Example:\n  rkctl certificates list -n 10.0.0.10")]
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
    #[command(after_help = "Example:\n  rkctl store snapshot store.db -n 10.0.0.10")]
    Snapshot {
        /// Where to.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Put a snapshot in place of the store.
    #[command(after_help = "Example:\n  rkctl store restore store.db -n 10.0.0.10")]
    Restore {
        /// Where from.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}
