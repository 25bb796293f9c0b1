//! The part of the machine config that is about the control plane and the machine API.

use crate::plane::{Audit, CertificateAuthority, ControlPlane, Etcd, Identity, MachineApi};
use crate::reader::{Findings, Section, quote};
use crate::validate;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const CERTIFICATE: &str = "CERTIFICATE";
const KEY: &str = "PRIVATE KEY";
/// Members of an etcd cluster; seven is the most that etcd's authors advise.
const MAX_MEMBERS: usize = 16;

/// Levels of audit rules.
const AUDIT_LEVELS: [&str; 4] = ["None", "Metadata", "Request", "RequestResponse"];

/// Reads `controlPlane`.
pub(crate) fn control_plane(mut s: Section, out: &mut Findings) -> ControlPlane {
    let default = ControlPlane::default();
    let control_plane = ControlPlane {
        bind: s.parsed("bind", "an address and port such as 0.0.0.0:6443", out).unwrap_or(default.bind),
        advertise: s.string("advertise", out),
        ca: s.section("ca", out).map(|section| authority(section, out)),
        front_proxy_ca: s.section("frontProxyCA", out).map(|section| authority(section, out)),
        service_account_key: block(&mut s, "serviceAccountKey", KEY, out),
        secretbox_encryption_secret: key_of_32_bytes(&mut s, "secretboxEncryptionSecret", out),
        etcd: s.section("etcd", out).map(|section| etcd(section, out)),
        audit: s.section("audit", out).map(|section| audit(section, out)),
        // A longer mask leaves no address for a pod beside the network's, the bridge's and the broadcast.
        node_cidr_mask_size: s.number("nodeCIDRMaskSize", 1, 29, out),
        // The same of IPv6, which has no broadcast.
        node_cidr_mask_size_ipv6: s.number("nodeCIDRMaskSizeIPv6", 1, 126, out),
    };
    s.finish(out);
    control_plane
}

fn audit(mut s: Section, out: &mut Findings) -> Audit {
    let default = Audit::default();
    let audit = Audit {
        enabled: s.boolean("enabled", out).unwrap_or(default.enabled),
        policy: audit_policy(&mut s, out),
        max_size_mb: s.number("maxSizeMB", 1, 1024, out).unwrap_or(default.max_size_mb),
        max_backups: s.number("maxBackups", 1, 100, out).unwrap_or(default.max_backups),
        max_age_days: s.number("maxAgeDays", 0, 3650, out).unwrap_or(default.max_age_days),
    };
    s.finish(out);
    audit
}

/// Passed through whole. Levels are looked at, since a control plane with a policy that it cannot use does not start.
fn audit_policy(s: &mut Section, out: &mut Findings) -> Value {
    let path = s.path_of("policy");
    let Some(value) = s.take("policy") else { return Value::Null };
    let Some(policy) = serde_json::to_value(&value).ok().filter(Value::is_object) else {
        out.refuse(path, "must be an audit policy: a mapping whose keys are texts");
        return Value::Null;
    };
    for (key, wanted) in [("apiVersion", "audit.k8s.io/v1"), ("kind", "Policy")] {
        let found = policy.get(key).and_then(Value::as_str).unwrap_or_default();
        if found != wanted {
            out.refuse(format!("{path}.{key}"), format!("must be {wanted}, not {}", quote(found)));
        }
    }
    let rules = policy.get("rules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if rules.is_empty() {
        out.refuse(format!("{path}.rules"), "is empty; give at least one rule");
    }
    for (index, rule) in rules.iter().enumerate() {
        let level = rule.get("level").and_then(Value::as_str).unwrap_or_default();
        if !AUDIT_LEVELS.contains(&level) {
            let known = AUDIT_LEVELS.join(", ");
            out.refuse(format!("{path}.rules[{index}].level"), format!("must be one of {known}, not {}", quote(level)));
        }
    }
    policy
}

fn authority(mut s: Section, out: &mut Findings) -> CertificateAuthority {
    let (certificate, key) = pair(&mut s, out);
    s.finish(out);
    CertificateAuthority { certificate, key }
}

/// A certificate and its key, both there.
fn pair(s: &mut Section, out: &mut Findings) -> (String, String) {
    let mut needed = |name: &str, label: &str| {
        let text = s.string(name, out).unwrap_or_default();
        validate::pem(&s.path_of(name), &text, label, out);
        text
    };
    (needed("certificate", CERTIFICATE), needed("key", KEY))
}

/// A PEM block that may be left out.
fn block(s: &mut Section, name: &str, label: &str, out: &mut Findings) -> Option<String> {
    let text = s.string(name, out)?;
    validate::pem(&s.path_of(name), &text, label, out);
    Some(text)
}

/// A key in base64 that may be left out.
fn key_of_32_bytes(s: &mut Section, name: &str, out: &mut Findings) -> Option<String> {
    let text = s.string(name, out)?;
    if STANDARD.decode(&text).map_or(0, |key| key.len()) != 32 {
        out.refuse(s.path_of(name), "must be 32 bytes in base64");
    }
    Some(text)
}

fn etcd(mut s: Section, out: &mut Findings) -> Etcd {
    let path = s.path_of("endpoints");
    let endpoints = s.strings("endpoints", MAX_MEMBERS, out);
    if endpoints.is_empty() {
        out.refuse(path, "is empty; give the URL of at least one member");
    }
    for (path, url) in &endpoints {
        validate::url(path, url, &["https", "http"], out);
    }
    let mut etcd = Etcd { endpoints: endpoints.into_iter().map(|(_, url)| url).collect(), ..Etcd::default() };
    etcd.ca = block(&mut s, "ca", CERTIFICATE, out).unwrap_or_default();
    etcd.certificate = block(&mut s, "certificate", CERTIFICATE, out).unwrap_or_default();
    etcd.key = block(&mut s, "key", KEY, out).unwrap_or_default();
    if etcd.certificate.is_empty() != etcd.key.is_empty() {
        out.refuse(s.path(), "needs certificate and key, or neither");
    }
    let secured = !etcd.ca.is_empty() || !etcd.key.is_empty();
    if secured && etcd.endpoints.iter().any(|url| url.starts_with("http://")) {
        out.refuse(s.path_of("endpoints"), "must all be https:// where a certificate is given");
    }
    s.finish(out);
    etcd
}

/// Reads `machineApi`.
pub(crate) fn machine_api(mut s: Section, out: &mut Findings) -> MachineApi {
    let default = MachineApi::default();
    let ca_path = s.path_of("ca");
    let ca = s.string("ca", out).unwrap_or_default();
    validate::pem(&ca_path, &ca, CERTIFICATE, out);
    let mut identity = Identity::default();
    match s.section("identity", out) {
        Some(mut section) => {
            (identity.certificate, identity.key) = pair(&mut section, out);
            section.finish(out);
        }
        None => out.refuse(s.path_of("identity"), "is missing; rkctl config gen makes one"),
    }
    let bind = s.parsed("bind", "an address and port such as 0.0.0.0:50000", out).unwrap_or(default.bind);
    s.finish(out);
    MachineApi { bind, ca, identity }
}
