//! When a Job ends before all of its pods did: the policies of success and of failure, and lists of indexes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::get::{field, int, list, named, non_negative, text};
use crate::meta::{at, qualified_name};
use crate::status::{FieldErrors, Path};

/// Most rules of a policy.
const MAX_RULES: usize = 20;
/// Most patterns of conditions of a rule.
const MAX_PATTERNS: usize = 20;
/// Most exit codes of a rule.
const MAX_CODES: usize = 255;
/// Longest list of indexes, in bytes.
const MAX_INDEXES: usize = 64 * 1024;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATES: [&str; 3] = ["False", "True", "Unknown"];

/// `successPolicy` of an indexed Job (KEP-3998).
pub(super) fn success(policy: &Value, completions: i64, path: &Path<'_>, errors: &mut FieldErrors) {
    let rules = list(policy, "rules");
    let path = path.child("rules");
    if rules.is_empty() {
        errors.required(&path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > MAX_RULES {
        errors.too_many(&path, rules.len(), MAX_RULES);
    }
    for (index, rule) in rules.iter().enumerate() {
        success_rule(rule, completions, &path.index(index), errors);
    }
}

fn success_rule(rule: &Value, completions: i64, path: &Path<'_>, errors: &mut FieldErrors) {
    let (indexes, count) = (field(rule, "succeededIndexes").and_then(Value::as_str), int(rule, "succeededCount"));
    if indexes.is_none() && count.is_none() {
        errors.required(path, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut named = 0;
    if let Some(indexes) = indexes {
        let here = path.child("succeededIndexes");
        if indexes.len() > MAX_INDEXES {
            errors.too_long(&here, MAX_INDEXES);
        }
        match index_count(indexes, completions) {
            Ok(count) => named = count,
            Err(why) => errors.invalid(&here, indexes, format!("error parsing succeededIndexes: {why}")),
        }
    }
    let Some(count) = count else { return };
    let here = path.child("succeededCount");
    non_negative(errors, &here, Some(count));
    if count > completions {
        let why = format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.invalid(&here, count, why);
    }
    if indexes.is_some() && count > named {
        let why = format!(
            "must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.invalid(&here, count, why);
    }
}

/// How many indexes `1,3-5` names. They rise, and each is below `completions`.
pub(super) fn index_count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// The first index that two lists have in common; what is no interval is left out.
pub(super) fn shared_index(one: &str, other: &str, completions: i64) -> Option<i64> {
    let intervals = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (one, other) = (intervals(one), intervals(other));
    let (mut one, mut other) = (one.into_iter().peekable(), other.into_iter().peekable());
    while let (Some(&(a, a_end)), Some(&(b, b_end))) = (one.peek(), other.peek()) {
        if a <= b_end && b <= a_end {
            return Some(a.max(b));
        }
        let behind = if a <= b { &mut one } else { &mut other };
        behind.next();
    }
    None
}

/// The first and the last index of `3` or `3-5`.
fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let index = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
        Ok(index) if index >= completions => Err(format!("too large index: {text:?}")),
        Ok(index) => Ok(index),
    };
    let Some((first, end)) = part.split_once('-') else {
        let index = index(part)?;
        return Ok((index, index));
    };
    if end.contains('-') {
        return Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let (first, end) = (index(first)?, index(end)?);
    if first >= end {
        return Err(format!("non-increasing order, previous: {first}, current: {end}"));
    }
    Ok((first, end))
}

/// `podFailurePolicy` of a Job with this spec (KEP-3329).
pub(super) fn failure(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let rules = list(at(spec, &["podFailurePolicy"]), "rules");
    let path = path.child("rules");
    if rules.len() > MAX_RULES {
        errors.too_many(&path, rules.len(), MAX_RULES);
    }
    for (index, rule) in rules.iter().enumerate() {
        failure_rule(spec, rule, &path.index(index), errors);
    }
}

fn failure_rule(spec: &Value, rule: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let action = text(rule, "action");
    word(action, &ACTIONS, &path.child("action"), errors);
    if action == "FailIndex" && int(spec, "backoffLimitPerIndex").is_none() {
        errors.invalid(&path.child("action"), action, "requires the backoffLimitPerIndex to be set");
    }
    let (codes, patterns) = (field(rule, "onExitCodes"), list(rule, "onPodConditions"));
    if let Some(codes) = codes {
        exit_codes(spec, codes, &path.child("onExitCodes"), errors);
    }
    pod_conditions(patterns, &path.child("onPodConditions"), errors);
    match (codes.is_some(), !patterns.is_empty()) {
        (true, true) => {
            errors.invalid_unshown(path, "specifying both OnExitCodes and OnPodConditions is not supported");
        }
        (false, false) => {
            errors.invalid_unshown(path, "specifying one of OnExitCodes and OnPodConditions is required");
        }
        _ => {}
    }
}

/// One of a few words, all of which are told when there is none.
fn word(value: &str, words: &[&str], path: &Path<'_>, errors: &mut FieldErrors) {
    if value.is_empty() {
        let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        errors.required(path, &format!("valid values: [{}]", quoted.join(" ")));
    } else if !words.contains(&value) {
        errors.unsupported(path, value, words);
    }
}

fn pod_conditions(patterns: &[Value], path: &Path<'_>, errors: &mut FieldErrors) {
    if patterns.len() > MAX_PATTERNS {
        errors.too_many(path, patterns.len(), MAX_PATTERNS);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = path.index(index);
        let kind = text(pattern, "type");
        named(errors, &path.child("type"), kind, qualified_name(kind));
        word(text(pattern, "status"), &STATES, &path.child("status"), errors);
    }
}

fn exit_codes(spec: &Value, codes: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let operator = text(codes, "operator");
    word(operator, &OPERATORS, &path.child("operator"), errors);
    if let Some(name) = field(codes, "containerName").and_then(Value::as_str) {
        let pod = at(spec, &["template", "spec"]);
        let mut containers = list(pod, "containers").iter().chain(list(pod, "initContainers"));
        if !containers.any(|container| text(container, "name") == name) {
            let why = "must be one of the container or initContainer names in the pod template";
            errors.invalid(&path.child("containerName"), name, why);
        }
    }
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    let here = path.child("values");
    if values.is_empty() {
        errors.invalid(&here, Value::Array(Vec::new()), "at least one value is required");
    } else if values.len() > MAX_CODES {
        return errors.too_many(&here, values.len(), MAX_CODES);
    }
    let mut seen: BTreeSet<i64> = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        let here = here.index(index);
        if operator == "In" && *value == 0 {
            errors.invalid(&here, 0, "must not be 0 for the In operator");
        }
        if !seen.insert(*value) {
            errors.duplicate(&here, *value);
        }
    }
    if !values.is_sorted() {
        errors.invalid(&here, codes["values"].clone(), "must be ordered");
    }
}
