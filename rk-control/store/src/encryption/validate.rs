//! What may be wrong with an `EncryptionConfiguration`: upstream's rules in upstream's words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::config::{Document, Key, Keys, ProviderConfiguration, split};

/// AES-GCM with keys of 24 bytes is upstream's as well; the cipher in use here knows two sizes.
const GCM_SIZES: [usize; 2] = [16, 32];
const CBC_SIZES: [usize; 3] = [16, 24, 32];
const BOX_SIZES: [usize; 1] = [32];

/// Everything that is wrong, in order.
pub(super) fn validate(document: &Document) -> Vec<String> {
    let mut errors = Vec::new();
    if document.resources.is_empty() {
        errors.push(required("resources", "at least one resources is required"));
    }
    for (at, configuration) in document.resources.iter().enumerate() {
        let path = format!("resources[{at}]");
        resources(&configuration.resources, &format!("{path}.resources"), &mut errors);
        let path = format!("{path}.providers");
        if configuration.providers.is_empty() {
            errors.push(required(&path, &format!("at least one {path} is required")));
        }
        for (at, one) in configuration.providers.iter().enumerate() {
            provider(one, &format!("{path}[{at}]"), &mut errors);
        }
    }
    errors
}

fn required(path: &str, why: &str) -> String {
    format!("{path}: Required value: {why}")
}

fn invalid(path: &str, value: &str, why: &str) -> String {
    format!("{path}: Invalid value: {value:?}: {why}")
}

fn resources(names: &[String], path: &str, errors: &mut Vec<String>) {
    if names.is_empty() {
        errors.push(required(path, &format!("at least one {path} is required")));
    }
    let all = format!("[{}]", names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(","));
    let pairs =
        || names.iter().enumerate().flat_map(move |(at, one)| names.iter().skip(at + 1).map(move |two| (one, two)));
    for (wrong, why) in [
        (pairs().any(|(one, two)| split(one) == split(two)), "the same resource cannot be specified multiple times"),
        (
            pairs().any(|(one, two)| overlap(split(one), split(two))),
            "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
        ),
    ] {
        if wrong {
            errors.push(format!("{path}: Invalid value: {all}: {why}"));
        }
    }
    for (at, name) in names.iter().enumerate() {
        errors.extend(wrong_name(name).map(|why| invalid(&format!("{path}[{at}]"), name, why)));
    }
}

/// Whether two different resources, as plural and group, have one in common.
fn overlap(one: (&str, &str), two: (&str, &str)) -> bool {
    const ALL: (&str, &str) = ("*", "*");
    one != two && (one == ALL || two == ALL || (one.1 == two.1 && (one.0 == "*" || two.0 == "*")))
}

fn wrong_name(name: &str) -> Option<&'static str> {
    let (resource, group) = split(name);
    if name.to_lowercase() != name {
        return Some("resource name should not contain capital letters");
    }
    match (name, group) {
        ("*", _) => Some("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"),
        ("apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations", _) => {
            Some("resources which do not have REST API/s cannot be encrypted")
        }
        (_, "events.k8s.io") => Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
        ),
        (_, "extensions") => Some("'extensions' group has been removed and cannot be used for encryption"),
        (_, "*") if resource != "*" => Some("encrypting the same resource across groups is not supported"),
        _ => None,
    }
}

fn provider(one: &ProviderConfiguration, path: &str, errors: &mut Vec<String>) {
    let there = [
        one.kms.is_some(),
        one.aesgcm.is_some(),
        one.aescbc.is_some(),
        one.secretbox.is_some(),
        one.identity.is_some(),
    ];
    // What was given is no part of the text: it holds keys.
    match there.iter().filter(|there| **there).count() {
        0 => errors.push(invalid(
            path,
            "",
            "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity",
        )),
        1 => {}
        _ => errors.push(invalid(
            path,
            "REDACTED",
            "more than one provider specified in a single element, should split into different list elements",
        )),
    }
    if one.kms.is_some() {
        errors.push(format!("{path}.kms: Forbidden: this server has no KMS provider"));
    }
    for (given, name, sizes) in [
        (&one.aesgcm, "aesgcm", &GCM_SIZES[..]),
        (&one.aescbc, "aescbc", &CBC_SIZES[..]),
        (&one.secretbox, "secretbox", &BOX_SIZES[..]),
    ] {
        if let Some(given) = given {
            keys(given, &format!("{path}.{name}.keys"), sizes, errors);
        }
    }
}

fn keys(given: &Keys, path: &str, sizes: &[usize], errors: &mut Vec<String>) {
    if given.keys.is_empty() {
        errors.push(required(path, "at least one keys is required"));
    }
    for (at, one) in given.keys.iter().enumerate() {
        key(one, &format!("{path}[{at}]"), sizes, errors);
    }
}

fn key(one: &Key, path: &str, sizes: &[usize], errors: &mut Vec<String>) {
    if one.name.is_empty() {
        errors.push(required(&format!("{path}.name"), "name is a mandatory field for a key"));
    }
    let path = format!("{path}.secret");
    if one.secret.is_empty() {
        errors.push(required(&path, "secret is a mandatory field for a key"));
        return;
    }
    match STANDARD.decode(&one.secret) {
        Err(_) => errors.push(invalid(&path, "REDACTED", "secrets must be base64 encoded")),
        Ok(secret) if !sizes.contains(&secret.len()) => {
            let wanted = sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let why = format!("secret is not of the expected length, got {}, expected one of [{wanted}]", secret.len());
            errors.push(invalid(&path, "REDACTED", &why));
        }
        Ok(_) => {}
    }
}
