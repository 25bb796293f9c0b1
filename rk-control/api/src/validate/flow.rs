//! Priority and fairness.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::get::{empty, field, in_range, int, list, named, strings, text};
use super::mandatory;
use crate::meta::{at, dns1123_label, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

/// The verbs that rules may name.
const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Most queues of a level.
const MAX_QUEUES: i64 = 10_000_000;
/// The random bits by which queues are dealt to a flow.
const HASH_BITS: i64 = 60;

/// FlowSchema.
pub(super) fn flow_schema(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let precedence = int(spec, "matchingPrecedence").unwrap_or(0);
    let here = path.child("matchingPrecedence");
    if precedence <= 0 {
        errors.invalid(&here, precedence, "must be a positive value");
    } else if precedence > 10_000 {
        errors.invalid(&here, precedence, "must not be greater than 10000");
    }
    if precedence == 1 && text(at(object, &["metadata"]), "name") != "exempt" {
        errors.invalid(&here, 1, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    if let Some(method) = field(spec, "distinguisherMethod") {
        let kind = text(method, "type");
        if !matches!(kind, "ByNamespace" | "ByUser") {
            let path = path.child("distinguisherMethod");
            // Upstream shows the whole of it, by its own names.
            errors.unsupported(&path.child("type"), json!({"Type": kind}), &["ByNamespace", "ByUser"]);
        }
    }
    let level = text(at(spec, &["priorityLevelConfiguration"]), "name");
    let here = path.child("priorityLevelConfiguration");
    if level.is_empty() {
        errors.required(&here.child("name"), "must reference a priority level");
    } else {
        named(errors, &here.child("name"), level, dns1123_subdomain(level));
    }
    let all = path.child("rules");
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        self::rule(rule, &all.index(index), errors);
    }
    mandatory::flow_schema(object, errors);
}

fn rule(rule: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if empty(rule, "subjects") {
        errors.required(&path.child("subjects"), "subjects must contain at least one value");
    }
    for (index, subject) in list(rule, "subjects").iter().enumerate() {
        self::subject(subject, &path.child("subjects").index(index), errors);
    }
    if empty(rule, "resourceRules") && empty(rule, "nonResourceRules") {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (index, own) in list(rule, "resourceRules").iter().enumerate() {
        resource_rule(own, &path.child("resourceRules").index(index), errors);
    }
    for (index, own) in list(rule, "nonResourceRules").iter().enumerate() {
        let path = path.child("nonResourceRules");
        let path = path.index(index);
        verbs(own, &path, errors);
        urls(own, &path.child("nonResourceURLs"), errors);
    }
}

fn subject(subject: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let kinds = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = text(subject, "kind");
    let Some((_, own)) = kinds.iter().find(|(known, _)| *known == kind) else {
        return errors.unsupported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
    };
    match field(subject, own) {
        None => errors.required(&path.child(own), &format!("{own} is required when subject kind is '{kind}'")),
        Some(who) if kind == "ServiceAccount" => account(who, &path.child(own), errors),
        Some(who) if text(who, "name").is_empty() => errors.required(&path.child(own).child("name"), ""),
        Some(_) => {}
    }
    for (known, other) in kinds.iter().filter(|(known, other)| *known != kind && field(subject, other).is_some()) {
        let why = format!("{other} is forbidden when subject kind is not '{known}'");
        errors.forbidden(&path.child(other), why);
    }
}

fn account(account: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    match text(account, "name") {
        "" => errors.required(&path.child("name"), ""),
        "*" => {}
        name => named(errors, &path.child("name"), name, dns1123_subdomain(name)),
    }
    match text(account, "namespace") {
        "" => errors.required(&path.child("namespace"), "must specify namespace for service account"),
        namespace => named(errors, &path.child("namespace"), namespace, dns1123_label(namespace)),
    }
}

/// Whether a list says "everything".
fn has_wildcard(holder: &Value, key: &str) -> bool {
    strings(holder, key).any(|value| value == "*")
}

/// Told when `*` stands beside other values.
fn alone(rule: &Value, key: &str, what: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if has_wildcard(rule, key) && list(rule, key).len() > 1 {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.invalid(&path.child(key), at(rule, &[key]).clone(), why);
    }
}

fn verbs(rule: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if empty(rule, "verbs") {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    } else if has_wildcard(rule, "verbs") {
        alone(rule, "verbs", "verbs", path, errors);
    } else if !strings(rule, "verbs").all(|verb| VERBS.contains(&verb)) {
        errors.unsupported(&path.child("verbs"), at(rule, &["verbs"]).clone(), &VERBS);
    }
}

fn resource_rule(rule: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    verbs(rule, path, errors);
    for (key, what, why) in [
        ("apiGroups", "api groups", "resource rules must supply at least one api group"),
        ("resources", "resources", "resource rules must supply at least one resource"),
    ] {
        if empty(rule, key) {
            errors.required(&path.child(key), why);
        }
        alone(rule, key, what, path, errors);
    }
    let namespaces = path.child("namespaces");
    if empty(rule, "namespaces") && !super::get::flag(rule, "clusterScope") {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.required(&namespaces, why);
    } else if has_wildcard(rule, "namespaces") {
        alone(rule, "namespaces", "namespaces", path, errors);
    } else {
        for (index, namespace) in strings(rule, "namespaces").enumerate() {
            for broken in dns1123_label(namespace) {
                let why = format!("each member of this list must be '*' or a DNS-1123 label; {broken}");
                errors.invalid(&namespaces.index(index), namespace, why);
            }
        }
    }
}

fn urls(rule: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if empty(rule, "nonResourceURLs") {
        errors.required(path, "nonResourceURLs must contain at least one value");
    } else if has_wildcard(rule, "nonResourceURLs") {
        if list(rule, "nonResourceURLs").len() > 1 {
            let why = "if '*' is present, must not specify other non-resource URLs";
            errors.invalid(path, at(rule, &["nonResourceURLs"]).clone(), why);
        }
    } else {
        for (index, url) in strings(rule, "nonResourceURLs").enumerate() {
            if let Some(why) = broken_url(url) {
                errors.invalid(&path.index(index), url, why);
            }
        }
    }
}

/// What is wrong with a path; a wildcard may stand at its end.
fn broken_url(url: &str) -> Option<&'static str> {
    if url.is_empty() {
        Some("must not be empty")
    } else if !url.starts_with('/') {
        Some("must start with slash")
    } else if url.contains(' ') {
        Some("must not contain white-space")
    } else if url.contains("//") {
        Some("must not contain double slash")
    } else if url.strip_suffix("/*").unwrap_or(url).contains('*') {
        Some("wildcard can only do suffix matching")
    } else {
        None
    }
}

/// PriorityLevelConfiguration.
pub(super) fn priority_level(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let kind = text(spec, "type");
    if (text(at(object, &["metadata"]), "name") == "exempt") != (kind == "Exempt") {
        errors.invalid(&path.child("type"), kind, "type must be 'Exempt' if and only if name is 'exempt'");
    }
    let (limited, exempt) = (field(spec, "limited"), field(spec, "exempt"));
    match kind {
        "Exempt" => {
            if limited.is_some() {
                errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
            }
            if let Some(exempt) = exempt {
                shares(exempt, &path.child("exempt"), errors);
            }
        }
        "Limited" => {
            if exempt.is_some() {
                errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
            }
            match limited {
                None => errors.required(&path.child("limited"), "must not be empty when type is Limited"),
                Some(limited) => self::limited(limited, &path.child("limited"), errors),
            }
        }
        other => errors.unsupported(&path.child("type"), other, &["Exempt", "Limited"]),
    }
    mandatory::priority_level(object, errors);
}

/// What a level gets of the server, and lends.
fn shares(level: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(shares) = int(level, "nominalConcurrencyShares").filter(|s| *s < 0) {
        errors.invalid(&path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    if let Some(percent) = int(level, "lendablePercent") {
        in_range(errors, &path.child("lendablePercent"), percent, 0, 100);
    }
}

fn limited(limited: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    shares(limited, path, errors);
    if let Some(percent) = int(limited, "borrowingLimitPercent").filter(|p| *p < 0) {
        errors.invalid(&path.child("borrowingLimitPercent"), percent, "if specified, must be a non-negative integer");
    }
    let response = at(limited, &["limitResponse"]);
    let path = path.child("limitResponse");
    match (text(response, "type"), field(response, "queuing")) {
        ("Reject", Some(_)) => {
            errors.forbidden(&path.child("queuing"), "must be nil if limited.limitResponse.type is not Limited")
        }
        ("Reject", None) => {}
        ("Queue", None) => {
            errors.required(&path.child("queuing"), "must not be empty if limited.limitResponse.type is Limited")
        }
        ("Queue", Some(queuing)) => self::queuing(queuing, &path.child("queuing"), errors),
        (other, _) => errors.unsupported(&path.child("type"), other, &["Queue", "Reject"]),
    }
}

fn queuing(queuing: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let number = |key| int(queuing, key).unwrap_or(0);
    let (length, queues, hand) = (number("queueLengthLimit"), number("queues"), number("handSize"));
    if length <= 0 {
        errors.invalid(&path.child("queueLengthLimit"), length, "must be positive");
    }
    if queues <= 0 {
        errors.invalid(&path.child("queues"), queues, "must be positive");
    } else if queues > MAX_QUEUES {
        errors.invalid(&path.child("queues"), queues, format!("must not be greater than {MAX_QUEUES}"));
    }
    let path = path.child("handSize");
    if hand <= 0 {
        errors.invalid(&path, hand, "must be positive");
    } else if hand > queues {
        errors.invalid(&path, hand, format!("should not be greater than queues ({queues})"));
    } else if ((queues as f64).log2() * hand as f64).ceil() > HASH_BITS as f64 {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        errors.invalid(&path, hand, why);
    }
}

/// FlowSchema and PriorityLevelConfiguration, `status`: one condition of each type.
pub(super) fn status(object: &Value, errors: &mut FieldErrors) {
    let path = Path::new("status");
    let all = path.child("conditions");
    let mut types: BTreeSet<&str> = BTreeSet::new();
    for (index, condition) in list(at(object, &["status"]), "conditions").iter().enumerate() {
        let path = all.index(index);
        let kind = text(condition, "type");
        if !types.insert(kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        if kind.is_empty() {
            errors.required(&path.child("type"), "must not be empty");
        }
    }
}
