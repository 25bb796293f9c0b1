//! What differs between two configs, field by field, and whether a running machine can take it.

use crate::types::MachineConfig;
use serde_json::Value;

/// Fields that nobody but an admin sees.
pub const SECRETS: [&str; 11] = [
    "cluster.token",
    "controlPlane.ca.key",
    "controlPlane.frontProxyCA.key",
    "controlPlane.serviceAccountKey",
    "controlPlane.secretboxEncryptionSecret",
    "controlPlane.etcd.key",
    "machineApi.identity.key",
    "disks.encryption.passphrase",
    "registries.auth",
    // Arguments and environments of plugins.
    "registries.credentialProviders",
    // How a node proves to a server of static pods who it is.
    "kubelet.config.staticPodURLHeader",
];
const HIDDEN: &str = "<secret>";

/// Fields that a machine takes at its start alone: its name and role in the cluster, ranges and a network that pods were given already,
/// rules that the kernel has until then, and disks.
const AT_START: [&str; 11] = [
    "role",
    "hostname",
    "cluster.name",
    "cluster.podCIDR",
    "cluster.serviceCIDR",
    "cluster.dnsDomain",
    "cluster.dnsIP",
    "cluster.podNetwork",
    "cluster.serviceProxy",
    "controlPlane.ca",
    "disks",
];

/// One field that differs; secrets are hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Path as an operator writes it.
    pub path: String,
    /// JSON; empty when it was absent.
    pub before: String,
    /// JSON; empty when it is absent.
    pub after: String,
    /// Whether it takes effect only with a reboot.
    pub needs_reboot: bool,
}

/// All differences, in order of path.
pub fn diff(before: &MachineConfig, after: &MachineConfig) -> Vec<Change> {
    let mut changes = Vec::new();
    walk(String::new(), &value(before), &value(after), &mut changes);
    changes
}

/// The config as a value whose secrets are hidden.
pub fn redacted(config: &MachineConfig) -> Value {
    let mut whole = value(config);
    for path in SECRETS {
        let pointer = format!("/{}", path.replace('.', "/"));
        if let Some(secret) = whole.pointer_mut(&pointer) {
            *secret = Value::String(HIDDEN.to_owned());
        }
    }
    whole
}

fn value(config: &MachineConfig) -> Value {
    serde_json::to_value(config).unwrap_or(Value::Null)
}

fn walk(path: String, before: &Value, after: &Value, out: &mut Vec<Change>) {
    if before == after {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            walk(path, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null), out);
        }
        return;
    }
    let below = |table: &[&str]| table.iter().any(|row| path == *row || path.starts_with(&format!("{row}.")));
    // A whole section that comes or goes may hold a secret.
    let hide = below(&SECRETS) || SECRETS.iter().any(|row| row.starts_with(&format!("{path}.")));
    let show = |value: &Value| match value {
        Value::Null => String::new(),
        _ if hide => HIDDEN.to_owned(),
        value => value.to_string(),
    };
    out.push(Change { needs_reboot: below(&AT_START), before: show(before), after: show(after), path });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> MachineConfig {
        crate::parse(&format!("apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\n{yaml}"))
            .unwrap()
            .config
    }

    #[test]
    fn differences_are_told_by_path_and_secrets_are_hidden() {
        let before = config("cluster: {token: abcdef.0123456789abcdef}\n");
        let after = config("cluster: {token: fedcba.0123456789abcdef}\nkubelet: {maxPods: 50}\nhostname: a\n");
        let changes = diff(&before, &after);
        let rows: Vec<_> =
            changes.iter().map(|c| (c.path.as_str(), c.before.as_str(), c.after.as_str(), c.needs_reboot)).collect();
        assert_eq!(
            rows,
            [
                ("cluster.token", HIDDEN, HIDDEN, false),
                ("hostname", "", "\"a\"", true),
                ("kubelet.maxPods", "110", "50", false)
            ]
        );
        assert!(diff(&after, &after).is_empty());
        let other = config(
            "cluster: {token: fedcba.0123456789abcdef, podNetwork: false, serviceProxy: false}\nkubelet: {maxPods: 50}\nhostname: a\n",
        );
        let rows: Vec<_> = diff(&after, &other).into_iter().map(|c| (c.path, c.needs_reboot)).collect();
        assert_eq!(rows, [("cluster.podNetwork".to_owned(), true), ("cluster.serviceProxy".to_owned(), true)]);
    }

    #[test]
    fn what_registries_are_shown_is_hidden() {
        let before = config("registries: {auth: [{match: a.io, username: u, password: PRIVATE}]}\n");
        let after = config(
            "registries: {auth: [{match: a.io, certificate: \"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n\", \
             key: \"-----BEGIN PRIVATE KEY-----\\nPRIVATE\\n-----END PRIVATE KEY-----\\n\"}]}\n",
        );
        let changes = diff(&before, &after);
        let rows: Vec<_> = changes.iter().map(|c| (c.path.as_str(), c.after.as_str(), c.needs_reboot)).collect();
        assert_eq!(rows, [("registries.auth", HIDDEN, false)]);
        assert!(!format!("{changes:?} {before:?} {after:?} {}", redacted(&before)).contains("PRIVATE"));
    }

    #[test]
    fn headers_for_an_address_of_static_pods_are_hidden() {
        let after =
            config("kubelet: {config: {staticPodURL: 'http://h/p', staticPodURLHeader: {X-Token: [PRIVATE]}}}\n");
        let told = redacted(&after).to_string();
        assert!(told.contains("http://h/p") && !told.contains("PRIVATE"), "{told}");
        assert!(!format!("{:?}", diff(&config(""), &after)).contains("PRIVATE"));
    }

    #[test]
    fn a_section_that_comes_whole_shows_no_secret() {
        /// 32 bytes, in base64.
        const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let pem = |label: &str| format!("-----BEGIN {label}-----\\nAAAA\\n-----END {label}-----\\n");
        let after = config(&format!(
            "controlPlane: {{ca: {{certificate: \"{0}\", key: \"{1}\"}}, frontProxyCA: {{certificate: \"{0}\", key: \"{1}\"}}, \
             serviceAccountKey: \"{1}\", secretboxEncryptionSecret: {2}, etcd: {{endpoints: ['https://a:2379'], certificate: \"{0}\", key: \"{1}\"}}}}\n",
            pem("CERTIFICATE"),
            pem("PRIVATE KEY"),
            KEY
        ));
        let changes = diff(&config(""), &after);
        assert!(changes.iter().all(|change| !change.after.contains("PRIVATE")), "{changes:?}");
        assert!(!redacted(&after).to_string().contains("PRIVATE"));
        assert_eq!(redacted(&after).to_string().matches(HIDDEN).count(), 5);
        assert!(
            !redacted(&after).to_string().contains(KEY) && changes.iter().all(|change| !change.after.contains(KEY))
        );
        assert!(!format!("{after:?}").contains("PRIVATE") && !format!("{after:?}").contains(KEY), "logs");
    }
}
