//! CertificateSigningRequests.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::get::{empty, field, int, list, strings, text};
use crate::meta::{LABEL_MAX, SUBDOMAIN_MAX, at, dns1123_label, dns1123_subdomain};
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
/// A signer of versions of old.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
/// Longest name of a signer: a domain, a namespace and a name.
const MAX_SIGNER: usize = 2 * SUBDOMAIN_MAX + LABEL_MAX + 2;
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
    let all = path.child("usages");
    for (index, usage) in strings(spec, "usages").enumerate() {
        if !USAGES.contains(&usage) {
            errors.unsupported(&all.index(index), usage, &USAGES);
        }
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, usage) in strings(spec, "usages").enumerate() {
        if !seen.insert(usage) {
            errors.duplicate(&all.index(index), usage);
        }
    }
    let name = text(spec, "signerName");
    if name == LEGACY_SIGNER {
        let why = "the legacy signerName is not allowed via this API version";
        errors.invalid(&path.child("signerName"), name, why);
    } else {
        signer(name, &path.child("signerName"), errors);
    }
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
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.invalid(path, name, why);
        return;
    };
    if domain.len() > SUBDOMAIN_MAX {
        errors.too_long(path, SUBDOMAIN_MAX);
    }
    labels(domain, dns1123_label, path, errors);
    if !domain.contains('.') {
        errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
    labels(rest, dns1123_subdomain, path, errors);
    if name.len() > MAX_SIGNER {
        errors.too_long(path, MAX_SIGNER);
    }
}

/// What is wrong with the first part between dots that breaks a rule.
fn labels(all: &str, rules: fn(&str) -> Vec<String>, path: &Path<'_>, errors: &mut FieldErrors) {
    for label in all.split('.') {
        let broken = rules(label);
        for why in &broken {
            errors.invalid(path, all, format!("validating label {label:?}: {why}"));
        }
        if !broken.is_empty() {
            return;
        }
    }
}

fn conditions(status: &Value, errors: &mut FieldErrors) {
    let path = Path::new("status");
    let all = path.child("conditions");
    let mut seen: BTreeSet<&str> = BTreeSet::new();
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
        let opposite = if kind == "Approved" { "Denied" } else { "Approved" };
        if matches!(kind, "Approved" | "Denied") && seen.contains(&opposite) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.invalid(&all, kind, why);
        }
        if !seen.insert(kind) {
            errors.duplicate(&path.child("type"), kind);
        }
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

/// `status`: a certificate is one, and is written once.
pub(super) fn status_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    conditions(at(new, &["status"]), errors);
    decided(new, old, errors);
    let (now, before) = (text(at(new, &["status"]), "certificate"), text(at(old, &["status"]), "certificate"));
    if now == before || now.is_empty() {
        return;
    }
    let path = Path::new("status");
    let pem = STANDARD.decode(now).unwrap_or_default();
    if let Some(why) = not_certificates(&String::from_utf8_lossy(&pem)) {
        errors.invalid(&path.child("certificate"), "<certificate data>", why);
    }
}

/// Why a text is no list of certificates, by its PEM blocks; what does not decode is none.
fn not_certificates(pem: &str) -> Option<String> {
    let mut found = false;
    for block in pem.split("-----BEGIN ").skip(1) {
        let Some((kind, rest)) = block.split_once("-----") else { continue };
        let Some((body, _)) = rest.split_once(&*format!("-----END {kind}-----")) else { continue };
        let headers = body.contains(':');
        let data = STANDARD.decode(body.split_whitespace().collect::<String>());
        if data.is_err() && !headers {
            continue;
        }
        if kind != "CERTIFICATE" {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {kind:?}"));
        }
        if headers {
            return Some("no PEM block headers are permitted".to_owned());
        }
        if data.is_ok_and(|data| data.is_empty()) {
            return Some("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        found = true;
    }
    (!found).then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
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
        errors.forbidden(&path.child("certificate"), "updates may not modify existing certificate content");
    }
}
