//! The command line.

use clap::Parser;
use ipnet::IpNet;
use rk_apiserver::BootstrapToken;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Runs a Kubernetes control plane.
#[derive(Debug, Parser)]
#[command(name = "rk-control", version)]
pub struct Args {
    /// Directory for keys, certificates, admin.kubeconfig and the database; made when missing.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Address to serve the API on; without it port 6443 on all interfaces, or the next free one.
    #[arg(long, value_name = "ADDR:PORT")]
    pub bind: Option<SocketAddr>,
    /// Host name or address under which nodes reach this server.
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Token with which nodes join, like abcdef.0123456789abcdef.
    #[arg(long, value_name = "ID.SECRET", env = "RK_BOOTSTRAP_TOKEN", hide_env_values = true, value_parser = parse_token)]
    pub bootstrap_token: Option<BootstrapToken>,
    /// Range that nodes get their pod addresses from; in a dual-stack cluster one of each family, the primary first.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.244.0.0/16")]
    pub pod_cidr: Vec<IpNet>,
    /// Prefix length of one node's range; 24 without it, 64 where the range is of IPv6 addresses. Not in dual-stack clusters.
    #[arg(long, value_name = "BITS")]
    pub node_cidr_mask_size: Option<u8>,
    /// Prefix length of one node's range of IPv4 addresses; 24 without it.
    #[arg(long, value_name = "BITS")]
    pub node_cidr_mask_size_ipv4: Option<u8>,
    /// Prefix length of one node's range of IPv6 addresses; 64 without it.
    #[arg(long, value_name = "BITS")]
    pub node_cidr_mask_size_ipv6: Option<u8>,
    /// Range of Service addresses; in a dual-stack cluster one of each family, the primary first.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.96.0.0/16")]
    pub service_cidr: Vec<IpNet>,
    /// etcd endpoints to keep the state in, instead of the database in the data directory.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub etcd: Vec<String>,
    /// Authority, PEM, of the certificates of etcd.
    #[arg(long, value_name = "FILE", requires = "etcd")]
    pub etcd_cafile: Option<PathBuf>,
    /// Certificate, PEM, that is shown to etcd.
    #[arg(long, value_name = "FILE", requires_all = ["etcd", "etcd_keyfile"])]
    pub etcd_certfile: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// An address that control planes share; may be given several times. One of them at a time is told to have it, by --vip-file.
    #[arg(long, value_name = "IP")]
    pub vip: Vec<IpAddr>,
    /// File that says until when this control plane has what --vip names, in milliseconds since the kernel started.
    #[arg(long, value_name = "FILE", default_value = "/run/rk/vip")]
    pub vip_file: PathBuf,
    /// Private key, PEM, that signs the tokens of service accounts, instead of pki/sa.key in the data directory.
    #[arg(long, value_name = "FILE")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Keys, PEM, public or private, whose tokens are taken besides those of the signing key; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,
    #[command(flatten)]
    pub audit: AuditArgs,
    /// File of kind EncryptionConfiguration that says which resources are encrypted in the store, instead of Secrets by the cluster's own
    /// key; read at start.
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// Worker threads; as many as there are processors, from two to eight, unless told.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Flags of the audit log, under upstream's names.
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    /// File that audit events are written to, one line of JSON each; without it there are none.
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// Policy (audit.k8s.io/v1) that says what is logged of which request; without it, without bodies, all but heartbeats and reads of components.
    #[arg(long, value_name = "FILE", requires = "audit_log_path")]
    pub audit_policy_file: Option<PathBuf>,
    /// Megabytes beyond which the file is put aside and a new one begun.
    #[arg(long, value_name = "MB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub audit_log_maxsize: u64,
    /// Files put aside that are kept; 0 for all of them.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub audit_log_maxbackup: usize,
    /// Days that files put aside are kept; 0 for ever.
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub audit_log_maxage: u32,
}

fn parse_token(text: &str) -> Result<BootstrapToken, String> {
    BootstrapToken::parse(text)
        .ok_or_else(|| "expected six characters, a dot and sixteen characters of a-z and 0-9".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_is_all_that_is_needed() {
        let args = Args::try_parse_from(["rk-control", "--data-dir", "d"]).expect("parses");
        assert_eq!(args.pod_cidr, ["10.244.0.0/16".parse::<IpNet>().expect("range")]);
        assert!(args.bind.is_none() && args.etcd.is_empty());
        assert!(Args::try_parse_from(["rk-control"]).is_err());
        assert!(Args::try_parse_from(["rk-control", "--data-dir", "d", "--bootstrap-token", "short"]).is_err());
        let args = Args::try_parse_from(["rk-control", "--data-dir", "d", "--etcd", "http://a:2379,http://b:2379"])
            .expect("parses");
        assert_eq!(args.etcd.len(), 2);
        let with = |more: &str| {
            let line = format!("rk-control --data-dir d {more}");
            Args::try_parse_from(line.split(' ')).is_ok()
        };
        assert!(with(
            "--etcd https://a:2379 --etcd-cafile a --etcd-certfile b --etcd-keyfile c --vip 10.0.0.9 --vip fd00::9"
        ));
        assert!(with("--audit-log-path a --audit-policy-file b --audit-log-maxsize 10 --audit-log-maxbackup 2"));
        assert!(!with("--audit-policy-file b") && !with("--audit-log-path a --audit-log-maxsize 0"));
        assert!(!with("--audit-webhook-config-file a"), "events go to a file alone");
        assert!(!with("--etcd https://a:2379 --etcd-certfile b") && !with("--etcd-cafile a") && !with("--vip a"));
    }
}
