//! CertificateSigningRequests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::get::{empty, field, int, list, strings, text};
use crate::meta::at;
use crate::status::{FieldErrors, Path};

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// Shortest life that may be asked for.
const MIN_EXPIRATION: i64 = 600;

/// CertificateSigningRequest.
pub(super) fn request(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let pem = STANDARD.decode(text(spec, "request")).unwrap_or_default();
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE REQUEST-----") {
        let why = "PEM block type must be CERTIFICATE REQUEST";
        errors.invalid(&path.child("request"), text(spec, "request"), why);
    }
    if empty(spec, "usages") {
        errors.required(&path.child("usages"), "");
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, usage) in strings(spec, "usages").enumerate() {
        let path = path.child("usages");
        if !USAGES.contains(&usage) {
            errors.unsupported(&path.index(index), usage, &USAGES);
        } else if seen.contains(&usage) {
            errors.duplicate(&path.index(index), usage);
        }
        seen.push(usage);
    }
    signer(text(spec, "signerName"), &path.child("signerName"), errors);
    if let Some(seconds) = int(spec, "expirationSeconds").filter(|s| *s < MIN_EXPIRATION) {
        errors.invalid(
            &path.child("expirationSeconds"),
            seconds,
            format!("may not specify a duration less than {MIN_EXPIRATION} seconds (10 minutes)"),
        );
    }
    conditions(at(object, &["status"]), errors);
}

/// `domain/path`, both parts there.
fn signer(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    match name.split_once('/') {
        Some((domain, rest)) if !rest.is_empty() => {
            for why in crate::meta::dns1123_subdomain(domain) {
                errors.invalid(path, domain, why);
            }
            if !domain.contains('.') {
                errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
            }
            for why in crate::meta::dns1123_subdomain(rest) {
                errors.invalid(path, rest, why);
            }
        }
        _ => errors.invalid(
            path,
            name,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        ),
    }
    if name == "kubernetes.io/legacy-unknown" {
        errors.invalid(path, name, "the legacy signerName is not allowed via this API version");
    }
}

fn conditions(status: &Value, errors: &mut FieldErrors) {
    let path = Path::new("status");
    let all = path.child("conditions");
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        let path = all.index(index);
        let (kind, value) = (text(condition, "type"), text(condition, "status"));
        if kind.is_empty() {
            errors.required(&path.child("type"), "");
        }
        match (kind, value) {
            (_, "") => errors.required(&path.child("status"), ""),
            ("Approved" | "Denied" | "Failed", "True") => {}
            ("Approved" | "Denied" | "Failed", other) => errors.unsupported(&path.child("status"), other, &["True"]),
            (_, "True" | "False" | "Unknown") => {}
            (_, other) => errors.unsupported(&path.child("status"), other, &["True", "False", "Unknown"]),
        }
        if seen.contains(&kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        let opposite = if kind == "Approved" { "Denied" } else { "Approved" };
        if matches!(kind, "Approved" | "Denied") && seen.contains(&opposite) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.invalid(&path.child("type"), kind, why);
        }
        seen.push(kind);
    }
}

/// Once decided, a decision stands.
pub(super) fn request_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    decided(new, old, errors);
}

/// `approval`: conditions are added, the decision is not taken back.
pub(super) fn approval_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    conditions(at(new, &["status"]), errors);
    decided(new, old, errors);
}

fn decided(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("status");
    let of = |object: &Value, kind: &str| -> Vec<Value> {
        list(at(object, &["status"]), "conditions")
            .iter()
            .filter(|c| text(c, "type") == kind)
            .map(|c| json!(text(c, "status")))
            .collect()
    };
    for kind in ["Approved", "Denied", "Failed"] {
        if !of(old, kind).is_empty() && of(new, kind).is_empty() {
            errors.forbidden(&path.child("conditions"), format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    let (now, before) = (field(at(new, &["status"]), "certificate"), field(at(old, &["status"]), "certificate"));
    if before.is_some() && now != before {
        errors.forbidden(&path.child("certificate"), "updates may not change an issued certificate");
    }
}
