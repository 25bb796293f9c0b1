//! Admission policies and their bindings. Expressions are checked by those who compile them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::admission::{match_conditions, rules};
use super::condition::conditions;
use super::get::{empty, field, list, named, one_of, required_name, strings, text, word_of};
use super::selector::label_selector;
use crate::meta::{at, dns1035_label, dns1123_subdomain, path_segment, qualified_name};
use crate::status::{ErrorKind, FieldErrors, Path};

/// Most audit annotations of a policy.
const MAX_ANNOTATIONS: usize = 20;
/// Longest expression of an audit annotation, in bytes.
const ANNOTATION_MAX: usize = 5 * 1024;
/// What a policy that changes objects may match: there is nothing to change in what is deleted.
const MUTATING: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
/// Words that are no names in expressions.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

fn match_resources(resources: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    word_of(errors, path, resources, "matchPolicy", &["Equivalent", "Exact"]);
    for key in ["namespaceSelector", "objectSelector"] {
        match field(resources, key) {
            None => errors.required(&path.child(key), ""),
            Some(selector) => label_selector(selector, &path.child(key), errors),
        }
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        rules(resources, key, path, errors);
    }
}

/// Operations on which nothing can be changed.
fn only_mutating(resources: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("resourceRules");
    let path = path.child("operations");
    for rule in list(resources, "resourceRules") {
        for operation in strings(rule, "operations").filter(|operation| !MUTATING.contains(operation)) {
            errors.unsupported(&path, operation, &MUTATING);
        }
    }
}

fn policy(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    word_of(errors, path, spec, "failurePolicy", &["Fail", "Ignore"]);
    if let Some(kind) = field(spec, "paramKind") {
        param_kind(kind, &path.child("paramKind"), errors);
    }
    let here = path.child("matchConstraints");
    match field(spec, "matchConstraints") {
        None => errors.required(&here, ""),
        Some(resources) => {
            match_resources(resources, &here, errors);
            if empty(resources, "resourceRules") {
                errors.required(&here.child("resourceRules"), "");
            }
        }
    }
    match_conditions(spec, path, errors);
    for (index, variable) in list(spec, "variables").iter().enumerate() {
        let path = path.child("variables");
        let path = path.index(index);
        let name = text(variable, "name");
        if name.trim().is_empty() {
            errors.required(&path.child("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&path.child("name"), name, "name is not a valid CEL identifier");
        }
        if text(variable, "expression").trim().is_empty() {
            errors.required(&path.child("expression"), "expression is not specified");
        }
    }
}

/// Whether expressions can refer to a name.
fn is_identifier(name: &str) -> bool {
    crate::meta::c_identifier(name).is_empty() && !RESERVED.contains(&name)
}

/// The kind of the objects that hold parameters.
fn param_kind(kind: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let version = text(kind, "apiVersion");
    let here = path.child("apiVersion");
    match (version, version.matches('/').count()) {
        ("", _) => errors.required(&here, ""),
        (_, 0 | 1) => {
            let (group, own) = version.split_once('/').unwrap_or(("", version));
            let broken = if group.is_empty() { Vec::new() } else { dns1123_subdomain(group) };
            if !broken.is_empty() {
                errors.invalid(&here, group, broken.join(","));
            }
            let broken = dns1035_label(own);
            if own.is_empty() {
                errors.invalid(&here, version, "version must be specified");
            } else if !broken.is_empty() {
                errors.invalid(&here, own, broken.join(","));
            }
        }
        _ => errors.invalid(&here, version, format!("unexpected GroupVersion string: {version}")),
    }
    let name = text(kind, "kind");
    let broken = dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.required(&path.child("kind"), "");
    } else if !broken.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", broken.join(","));
        errors.invalid(&path.child("kind"), name, why);
    }
}

/// ValidatingAdmissionPolicy.
pub(super) fn validating_policy(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    policy(spec, &path, errors);
    if empty(spec, "validations") && empty(spec, "auditAnnotations") {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.required(&path.child("validations"), why);
        errors.required(&path.child("auditAnnotations"), why);
    }
    for (index, validation) in list(spec, "validations").iter().enumerate() {
        self::validation(validation, &path.child("validations").index(index), errors);
    }
    annotations(spec, text(at(object, &["metadata"]), "name"), &path.child("auditAnnotations"), errors);
}

fn validation(validation: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if text(validation, "expression").trim().is_empty() {
        errors.required(&path.child("expression"), "expression is not specified");
    }
    let is_blank = |text: &str| !text.is_empty() && text.trim().is_empty();
    let expression = text(validation, "messageExpression");
    if is_blank(expression) {
        errors.invalid(&path.child("messageExpression"), expression, "must be non-empty if specified");
    }
    let message = text(validation, "message");
    if is_blank(message) {
        errors.invalid(&path.child("message"), message, "message must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(&path.child("message"), message, "message must not contain line breaks");
    }
    word_of(errors, path, validation, "reason", &["Forbidden", "Invalid", "RequestEntityTooLarge"]);
}

fn annotations(spec: &Value, policy: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = list(spec, "auditAnnotations");
    if all.len() > MAX_ANNOTATIONS {
        let why = format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations");
        errors.invalid(path, all.to_vec(), why);
    }
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for (index, annotation) in all.iter().enumerate() {
        let path = path.index(index);
        let key = text(annotation, "key");
        if policy.is_empty() {
            errors.invalid(&path.child("key"), key, "requires metadata.name be non-empty");
        } else {
            let whole = format!("{policy}/{key}");
            named(errors, &path.child("key"), &whole, qualified_name(&whole));
        }
        let expression = text(annotation, "valueExpression").trim();
        if expression.is_empty() {
            errors.required(&path.child("valueExpression"), "valueExpression is not specified");
        } else if expression.len() > ANNOTATION_MAX {
            let why = format!("must not exceed {ANNOTATION_MAX} bytes in length");
            errors.required(&path.child("valueExpression"), &why);
        }
        if !keys.insert(key) {
            errors.duplicate(&path.child("key"), key);
        }
    }
}

/// ValidatingAdmissionPolicy, `status`.
pub(super) fn status(object: &Value, errors: &mut FieldErrors) {
    let status = at(object, &["status"]);
    let path = Path::new("status");
    let warnings = path.child("typeChecking");
    let warnings = warnings.child("expressionWarnings");
    for (index, warning) in list(at(status, &["typeChecking"]), "expressionWarnings").iter().enumerate() {
        for key in ["warning", "fieldRef"] {
            if text(warning, key).trim().is_empty() {
                errors.required(&warnings.index(index).child(key), "");
            }
        }
    }
    conditions(status, &path, errors);
}

/// MutatingAdmissionPolicy.
pub(super) fn mutating_policy(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    policy(spec, &path, errors);
    only_mutating(at(spec, &["matchConstraints"]), &path.child("matchConstraints"), errors);
    if empty(spec, "mutations") {
        errors.required(&path.child("mutations"), "mutations must contain at least one item");
    }
    for (index, mutation) in list(spec, "mutations").iter().enumerate() {
        self::mutation(mutation, &path.child("mutations").index(index), errors);
    }
    one_of(errors, &path.child("reinvocationPolicy"), text(spec, "reinvocationPolicy"), &["IfNeeded", "Never"], true);
}

fn mutation(mutation: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let kind = text(mutation, "patchType");
    let (own, other) = match kind {
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        _ => return one_of(errors, &path.child("patchType"), kind, &["ApplyConfiguration", "JSONPatch"], true),
    };
    match field(mutation, own) {
        None => errors.required(&path.child(own), &format!("must be specified when patchType is {kind}")),
        Some(patch) if text(patch, "expression").trim().is_empty() => {
            errors.required(&path.child(own).child("expression"), "");
        }
        Some(_) => {}
    }
    if field(mutation, other).is_some() {
        let why = format!("must not be specified when patchType is {kind}");
        errors.invalid(&path.child(other), format!("{{{other}}}"), why);
    }
}

fn binding(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    required_name(errors, &path.child("policyName"), text(spec, "policyName"), dns1123_subdomain);
    if let Some(reference) = field(spec, "paramRef") {
        param_ref(reference, &path.child("paramRef"), errors);
    }
    if let Some(resources) = field(spec, "matchResources") {
        match_resources(resources, &path.child("matchResources"), errors);
    }
}

/// Which objects hold the parameters: one by name, or those that a selector matches.
fn param_ref(reference: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let (name, selector) = (text(reference, "name"), field(reference, "selector"));
    let both = "name and selector are mutually exclusive";
    if !name.is_empty() {
        named(errors, &path.child("name"), name, path_segment(name));
    }
    if !name.is_empty() && selector.is_some() {
        errors.forbidden(&path.child("name"), both);
    }
    if let Some(selector) = selector {
        label_selector(selector, &path.child("selector"), errors);
        if !name.is_empty() {
            errors.forbidden(&path.child("selector"), both);
        }
    }
    if name.is_empty() && selector.is_none() {
        errors.required(path, "one of name or selector must be specified");
    }
    let path = path.child("parameterNotFoundAction");
    match text(reference, "parameterNotFoundAction") {
        "" => errors.required(&path, ""),
        "Deny" | "Allow" => {}
        // In the order in which upstream has them.
        other => errors.push(ErrorKind::NotSupported, &path, other, "supported values: \"Deny\", \"Allow\""),
    }
}

/// ValidatingAdmissionPolicyBinding.
pub(super) fn validating_binding(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    binding(spec, &path, errors);
    let path = path.child("validationActions");
    let actions: Vec<&str> = strings(spec, "validationActions").collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, action) in actions.iter().enumerate() {
        if !matches!(*action, "Audit" | "Deny" | "Warn") {
            errors.unsupported(&path.index(index), *action, &["Audit", "Deny", "Warn"]);
        }
        if !seen.insert(action) {
            errors.duplicate(&path.index(index), *action);
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers \
                   serves no purpose)";
        errors.invalid(&path, at(spec, &["validationActions"]).clone(), why);
    }
    if actions.is_empty() {
        errors.required(&path, "at least one validation action is required");
    }
}

/// MutatingAdmissionPolicyBinding.
pub(super) fn mutating_binding(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    binding(spec, &path, errors);
    only_mutating(at(spec, &["matchResources"]), &path.child("matchResources"), errors);
}
