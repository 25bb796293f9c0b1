//! `rk-control` on this machine: its arguments, and the files that it finds its secrets in.

use crate::console::Journal;
use crate::services::write_new;
use rk_config::MachineConfig;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const DATA_DIR: &str = "/var/lib/rk-control";
const ETCD_CA: &str = "etcd/ca.crt";
const ETCD_CERTIFICATE: &str = "etcd/client.crt";
const ETCD_KEY: &str = "etcd/client.key";
/// Below the folder that `rkctl logs` reads: it is shown, followed and shipped as what services say.
const AUDIT_LOG: &str = "/var/log/rk/audit.log";
const AUDIT_POLICY: &str = "audit-policy.json";
const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

fn pki(name: &str) -> PathBuf {
    Path::new(DATA_DIR).join("pki").join(name)
}

/// The arguments of `rk-control`. Secrets are in files: arguments can be read by everyone.
pub fn args(config: &MachineConfig) -> Vec<String> {
    let plane = config.control_plane.clone().unwrap_or_default();
    let cluster = &config.cluster;
    let mut args = vec!["--data-dir".to_owned(), DATA_DIR.to_owned(), "--bind".to_owned(), plane.bind.to_string()];
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
    if let Some(host) = plane.advertise {
        option("--advertise", host);
    }
    option("--pod-cidr", cluster.pod_cidr.to_string());
    option("--service-cidr", cluster.service_cidr.to_string());
    let dual_stack = cluster.pod_cidr.v6.is_some();
    if let Some(mask) = plane.node_cidr_mask_size {
        option(if dual_stack { "--node-cidr-mask-size-ipv4" } else { "--node-cidr-mask-size" }, mask.to_string());
    }
    if let Some(mask) = plane.node_cidr_mask_size_ipv6 {
        option("--node-cidr-mask-size-ipv6", mask.to_string());
    }
    for vip in config.network.vips() {
        option("--vip", vip.to_string());
    }
    if let Some(etcd) = plane.etcd {
        option("--etcd", etcd.endpoints.join(","));
        let files = [
            ("--etcd-cafile", ETCD_CA, etcd.ca),
            ("--etcd-certfile", ETCD_CERTIFICATE, etcd.certificate),
            ("--etcd-keyfile", ETCD_KEY, etcd.key),
        ];
        for (name, file, _) in files.into_iter().filter(|(_, _, text)| !text.is_empty()) {
            option(name, pki(file).display().to_string());
        }
    }
    let audit = plane.audit.unwrap_or_default();
    if audit.enabled {
        option("--audit-log-path", AUDIT_LOG.to_owned());
        option("--audit-log-maxsize", audit.max_size_mb.to_string());
        option("--audit-log-maxbackup", audit.max_backups.to_string());
        option("--audit-log-maxage", audit.max_age_days.to_string());
        if !audit.policy.is_null() {
            option("--audit-policy-file", audit_policy().display().to_string());
        }
    }
    args
}

fn audit_policy() -> PathBuf {
    Path::new(DATA_DIR).join(AUDIT_POLICY)
}

/// Puts what the config brings besides its arguments where `rk-control` looks for it.
pub fn place(journal: &mut Journal, config: &MachineConfig) {
    place_secrets(journal, config);
    let audit = config.control_plane.as_ref().and_then(|plane| plane.audit.as_ref());
    if let Some(audit) = audit.filter(|audit| audit.enabled && !audit.policy.is_null()) {
        let placed = write_new(&audit_policy(), &audit.policy.to_string(), PRIVATE);
        journal.check("placing the audit policy of the control plane", placed);
    }
}

/// What the config brings for files: name below the PKI, text, mode.
fn files(config: &MachineConfig) -> Vec<(&'static str, &str, u32)> {
    let Some(plane) = &config.control_plane else { return Vec::new() };
    let mut files = Vec::new();
    if let Some(ca) = &plane.ca {
        files.extend([("ca.crt", ca.certificate.as_str(), PUBLIC), ("ca.key", &ca.key, PRIVATE)]);
    }
    if let Some(ca) = &plane.front_proxy_ca {
        files.extend([
            ("front-proxy-ca.crt", ca.certificate.as_str(), PUBLIC),
            ("front-proxy-ca.key", &ca.key, PRIVATE),
        ]);
    }
    files.extend(plane.service_account_key.as_ref().map(|key| ("sa.key", key.as_str(), PRIVATE)));
    files.extend(plane.secretbox_encryption_secret.as_ref().map(|key| ("secretbox.key", key.as_str(), PRIVATE)));
    if let Some(etcd) = &plane.etcd {
        let all = [
            (ETCD_CA, &etcd.ca, PUBLIC),
            (ETCD_CERTIFICATE, &etcd.certificate, PUBLIC),
            (ETCD_KEY, &etcd.key, PRIVATE),
        ];
        files.extend(
            all.into_iter()
                .filter(|(_, text, _)| !text.is_empty())
                .map(|(file, text, mode)| (file, text.as_str(), mode)),
        );
    }
    files
}

/// Puts the secrets that the config brings where `rk-control` looks for them.
fn place_secrets(journal: &mut Journal, config: &MachineConfig) {
    for (name, text, mode) in files(config) {
        let path = pki(name);
        if let Some(dir) = path.parent() {
            journal.check("making the PKI directory", fs::DirBuilder::new().recursive(true).mode(0o700).create(dir));
        }
        journal.check(&format!("placing {name} of the control plane"), write_new(&path, text, mode));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32 bytes, in base64.
    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn config(yaml: &str) -> MachineConfig {
        let head = "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\n";
        rk_config::parse(&format!("{head}{yaml}")).unwrap().config
    }

    #[test]
    fn rk_control_is_told_what_the_config_says_and_no_secret() {
        let one = config("cluster: {token: abcdef.0123456789abcdef}\ncontrolPlane: {advertise: 10.0.0.1}\n");
        let wanted = "--data-dir /var/lib/rk-control --bind 0.0.0.0:6443 --advertise 10.0.0.1 \
                      --pod-cidr 10.244.0.0/16 --service-cidr 10.96.0.0/16 --audit-log-path /var/log/rk/audit.log \
                      --audit-log-maxsize 10 --audit-log-maxbackup 2 --audit-log-maxage 0";
        assert_eq!(args(&one).join(" "), wanted);
        assert!(files(&one).is_empty());
        let large = config("controlPlane: {advertise: 10.0.0.1, nodeCIDRMaskSize: 22}\n");
        let wider = wanted.replace(" --audit-log-path", " --node-cidr-mask-size 22 --audit-log-path");
        assert_eq!(args(&large).join(" "), wider);
        let dual = config(
            "cluster: {podCIDR: '10.244.0.0/16,fd00:10:244::/56', serviceCIDR: '10.96.0.0/16,fd00:10:96::/112'}\n\
             controlPlane: {nodeCIDRMaskSize: 22, nodeCIDRMaskSizeIPv6: 72}\n",
        );
        let both = "--pod-cidr 10.244.0.0/16,fd00:10:244::/56 --service-cidr 10.96.0.0/16,fd00:10:96::/112 \
                    --node-cidr-mask-size-ipv4 22 --node-cidr-mask-size-ipv6 72 --audit-log-path";
        assert!(args(&dual).join(" ").contains(both), "{:?}", args(&dual));
    }

    #[test]
    fn the_audit_log_is_as_the_config_says() {
        let with = |audit: &str| args(&config(&format!("controlPlane: {{audit: {{{audit}}}}}\n"))).join(" ");
        assert!(!with("enabled: false").contains("--audit"));
        let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Request}]}";
        let all = with(&format!("maxSizeMB: 100, maxBackups: 10, maxAgeDays: 30, policy: {policy}"));
        let wanted = "--audit-log-path /var/log/rk/audit.log --audit-log-maxsize 100 --audit-log-maxbackup 10 --audit-log-maxage 30 \
                      --audit-policy-file /var/lib/rk-control/audit-policy.json";
        assert!(all.ends_with(wanted), "{all}");
    }

    #[test]
    fn one_of_several_control_planes_gets_what_they_share() {
        let pem = |label: &str, text: &str| format!("\"-----BEGIN {label}-----\\n{text}\\n-----END {label}-----\\n\"");
        let pair = |text: &str| format!("certificate: {}, key: {}", pem("CERTIFICATE", text), pem("PRIVATE KEY", text));
        let several = config(&format!(
            "network: {{interfaces: [{{match: {{name: eth0}}, vip: 10.0.0.9}}]}}\ncontrolPlane: {{ca: {{{}}}, frontProxyCA: {{{}}}, \
             serviceAccountKey: {}, secretboxEncryptionSecret: {KEY}, etcd: {{endpoints: ['https://a:2379', 'https://b:2379'], ca: {}, {}}}}}\n",
            pair("A"),
            pair("B"),
            pem("PRIVATE KEY", "C"),
            pem("CERTIFICATE", "D"),
            pair("E")
        ));
        let all = args(&several).join(" ");
        let wanted = "--vip 10.0.0.9 --etcd https://a:2379,https://b:2379 --etcd-cafile /var/lib/rk-control/pki/etcd/ca.crt \
                      --etcd-certfile /var/lib/rk-control/pki/etcd/client.crt --etcd-keyfile /var/lib/rk-control/pki/etcd/client.key";
        assert!(all.contains(wanted), "{all}");
        let placed: Vec<_> =
            files(&several).into_iter().map(|(name, text, mode)| (name, text.lines().nth(1), mode)).collect();
        assert_eq!(
            placed,
            [
                ("ca.crt", Some("A"), 0o644),
                ("ca.key", Some("A"), 0o600),
                ("front-proxy-ca.crt", Some("B"), 0o644),
                ("front-proxy-ca.key", Some("B"), 0o600),
                ("sa.key", Some("C"), 0o600),
                ("secretbox.key", None, 0o600),
                ("etcd/ca.crt", Some("D"), 0o644),
                ("etcd/client.crt", Some("E"), 0o644),
                ("etcd/client.key", Some("E"), 0o600),
            ]
        );
    }
}
