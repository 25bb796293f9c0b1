//! The command line.

mod config;
mod node;

pub use config::{Apply, ConfigCommand, EtcdFiles, Gen, How, LiveConfig, Mode, NodeConfig, PaperConfig, RoleName};
pub use node::{Capture, Certificates, Drain, Install, NodeVerb, Reach, Services, Store, Upgrade, Verb};

use clap::{Args as Group, Parser, Subcommand, ValueEnum, ValueHint};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Names of formats, as images have them.
pub use rk_image::media::Format as MediaFormat;

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
  rkctl logs node --follow -n 10.0.0.11
  rkctl services -n 10.0.0.10,10.0.0.11 -o json
  rkctl services restart node -n 10.0.0.11

Exit codes:
  0 done   1 other   2 wrong input   3 unreachable   4 refused   5 not in a state for it   6 not found   7 unhealthy";

/// Flags of every command.
#[derive(Debug, Clone, Group)]
pub struct Global {
    /// The operator's file with authority, certificate and key; also RKCTL_CONFIG, ./rkctl.yaml, ~/.config/rk/rkctl.yaml.
    #[arg(id = "rkctl-config", long = "rkctl-config", global = true, value_name = "FILE", env = "RKCTL_CONFIG")]
    #[arg(value_hint = ValueHint::FilePath)]
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
    /// Make and check machine configs, and change those of nodes.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask and tell nodes; the words below need no node before them.
    #[command(subcommand)]
    Node(Box<NodeVerb>),
    #[command(flatten)]
    Verb(Verb),
    /// Tell what is wrong with nodes, and wait until nothing is.
    #[command(after_help = "Example:\n  rkctl health --wait 5m -n 10.0.0.10")]
    Health(Health),
    /// Show a node on a page of the terminal; q ends it.
    #[command(after_help = "Example:\n  rkctl dashboard -n 10.0.0.10")]
    Dashboard,
    /// Collect what helps to find a fault into a .tar.gz, without secrets.
    #[command(after_help = "Example:\n  rkctl support --file support.tar.gz -n 10.0.0.10,10.0.0.11")]
    Support(Support),
    /// Build images, and tell of those that nodes pull.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Print a completion script.
    #[command(after_help = "Example:\n  rkctl completion bash > /etc/bash_completion.d/rkctl")]
    Completion {
        /// For which shell.
        shell: clap_complete::Shell,
    },
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
    /// Build media out of a raw disk image, with a command line, config or signature of your own.
    #[command(after_help = "Examples:\n  rkctl image build --from rk.raw --format iso,pxe --output media\n  \
        rkctl image build --from rk.raw --format raw,qcow2 --platform openstack --output cloud\n  \
        rkctl image build --from rk.raw --format raw --config demo/worker.yaml --output worker\n  \
        rkctl image build --from rk.raw --format iso,raw --sign db.key --output signed")]
    Build(Build),
    /// Make a key pair to sign images with: NAME.key, to be kept, and NAME.pub, for upgrade.keys of machine configs.
    #[command(after_help = "Example:\n  rkctl image key release")]
    Key {
        /// Path of both files, without their ending.
        #[arg(value_hint = ValueHint::FilePath)]
        name: PathBuf,
    },
    /// Sign a raw disk image for upgrades and installations; the signatures go beside it.
    #[command(after_help = "Example:\n  rkctl image key release && rkctl image sign --key release.key rk.raw")]
    Sign {
        /// The private key (PEM, Ed25519).
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        key: PathBuf,
        /// The raw disk image.
        #[arg(value_hint = ValueHint::FilePath)]
        image: PathBuf,
    },
    /// Container images for nodes whose registry is out of reach.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Tell how far nodes are with the container images that they pull, layer by layer.
    #[command(
        after_help = "Examples:\n  rkctl image pulls -n 10.0.0.11\n  rkctl image pulls --follow -n 10.0.0.11,10.0.0.12"
    )]
    Pulls {
        /// Go on with a line whenever a layer is farther.
        #[arg(short, long)]
        follow: bool,
    },
}

/// `rkctl image cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Put container images into one archive; every digest is checked.
    #[command(after_help = "Examples:\n  rkctl image cache create --output images.tar nginx.tar app-layout\n  \
        rkctl image cache create --output images.tar rk.local/app:1=app-layout")]
    Create {
        /// The archive to be: a tar of an OCI image layout.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: PathBuf,
        /// OCI image layouts, directories or tars, as skopeo, podman and docker write them; NAME=PATH names what has no full name.
        #[arg(required = true, value_name = "[NAME=]PATH", value_hint = ValueHint::AnyPath)]
        images: Vec<String>,
    },
    /// Give nodes the images of an archive; they keep them whatever their disks lack.
    #[command(after_help = "Example:\n  rkctl image cache push images.tar -n 10.0.0.11,10.0.0.12")]
    Push {
        /// The archive.
        #[arg(value_hint = ValueHint::FilePath)]
        archive: PathBuf,
    },
}

/// `rkctl image build`.
#[derive(Debug, Group)]
pub struct Build {
    /// The raw disk image that brings kernel and root.
    #[arg(long, value_name = "FILE", default_value = "rk.raw", value_hint = ValueHint::FilePath)]
    pub from: PathBuf,
    /// iso, raw, qcow2, vmdk, uki or pxe; several are parted by commas.
    #[arg(long, required = true, value_delimiter = ',')]
    pub format: Vec<MediaFormat>,
    /// Folder for the results.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
    /// Where the machine will run: which metadata service it asks for a config.
    #[arg(long, value_enum)]
    pub platform: Option<Platform>,
    /// A machine config to build in, beside PID 1: whoever has the medium has the config, and the secrets in it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The kernel's command line instead of the image's.
    #[arg(long)]
    pub cmdline: Option<String>,
    /// A folder of unpacked Debian packages whose tools are used instead of the system's.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub tools: Option<PathBuf>,
    /// A private key (PEM) to sign EFI programs with, for Secure Boot.
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    pub sign: Option<PathBuf>,
    /// The key's certificate (PEM); otherwise the file beside the key that ends with .crt.
    #[arg(long, value_name = "FILE", requires = "sign", value_hint = ValueHint::FilePath)]
    pub certificate: Option<PathBuf>,
}

/// Where machines run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Platform {
    /// Real machines, and virtual ones without a metadata service.
    Metal,
    /// A drive labelled CIDATA or config-2.
    Nocloud,
    /// EC2.
    Aws,
    /// Google Compute Engine.
    Gcp,
    /// Azure.
    Azure,
    /// OpenStack.
    Openstack,
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

    /// A flag of all hands its value, its environment's too, to a verb's own that has the same id.
    #[test]
    fn no_verb_takes_the_value_of_a_flag_of_all() {
        fn check(command: &clap::Command, all: &[&clap::Id]) {
            for verb in command.get_subcommands() {
                let met = verb.get_arguments().find(|flag| all.contains(&flag.get_id()));
                assert!(met.is_none(), "{} {:?}", verb.get_name(), met);
                check(verb, all);
            }
        }
        let command = Args::command();
        check(&command, &command.get_arguments().map(clap::Arg::get_id).collect::<Vec<_>>());
    }

    /// The words of a line of a shell, up to where its output goes or a remark begins.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                other => word.push(other),
            }
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        let end = words.iter().position(|word| ["#", ">", "<", "|"].contains(&word.as_str()));
        words.truncate(end.unwrap_or(words.len()));
        words
    }

    /// Tells the examples of a command and of those below it; each of the last has one.
    fn examples(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default().replace("\\\n", " ");
        let lines = help.lines().flat_map(|line| line.split(" && ")).map(str::trim);
        let before = found.len();
        found.extend(lines.filter(|line| line.starts_with("rkctl ")).map(str::to_owned));
        if command.get_subcommands().next().is_none() {
            assert!(found.len() > before, "{path} has no example");
        }
        for below in command.get_subcommands() {
            examples(below, &path, found);
        }
    }

    #[test]
    fn every_verb_has_an_example_and_every_example_is_understood() {
        let mut found = Vec::new();
        examples(&Args::command(), "", &mut found);
        for line in found {
            Args::try_parse_from(words(&line)).unwrap_or_else(|err| panic!("{line}: {err}"));
        }
    }

    #[test]
    fn a_trial_lasts_a_minute_unless_somebody_says_otherwise() {
        for (line, wanted) in [("rkctl apply --try file", 60), ("rkctl apply --try --seconds 90 file", 90)] {
            let how = match Args::try_parse_from(line.split(' ')).expect(line).command {
                Command::Verb(Verb::Apply(wanted)) => wanted.how,
                other => panic!("{other:?}"),
            };
            assert_eq!((how.mode(), how.seconds), (Mode::Try, wanted), "{line}");
        }
    }

    #[test]
    fn flags_of_commands_and_flags_of_all_do_not_meet() {
        for line in [
            "rkctl config gen demo https://a:6443 --output d",
            "rkctl config gen demo https://10.0.0.9:6443 --vip eth0 --etcd https://a:1,https://b:1 --etcd-ca a --etcd-certificate b --etcd-key c",
            "rkctl image build --format iso --output d",
            "rkctl node services -n a,b -o json",
            "rkctl -o yaml health --wait 5m -n a",
            "rkctl node apply --insecure --fingerprint f -n a file",
            "rkctl node config patch p --dry-run --nodes a --print json",
            "rkctl node apply --try file -n a",
            "rkctl install rk.raw --disk bus=nvme --dry-run --insecure --fingerprint f -n a -o json",
            "rkctl config apply --insecure --fingerprint f -n a file",
            "rkctl config get -n a",
            "rkctl node config validate file -n a",
            "rkctl services -n a",
            "rkctl services restart node -n a",
            "rkctl node services restart node",
            "rkctl node restart node",
            "rkctl logs node -f",
            "rkctl etcd snapshot file",
            "rkctl ls /",
        ] {
            Args::try_parse_from(line.split(' ')).unwrap_or_else(|err| panic!("{line}: {err}"));
        }
        for line in ["rkctl node apply --try --mode auto file", "rkctl node apply --try --dry-run file"] {
            assert!(Args::try_parse_from(line.split(' ')).is_err(), "{line}");
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
