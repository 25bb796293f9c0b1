//! Jobs and CronJobs.

use serde_json::Value;

use super::cron;
use super::get::{field, flag, immutable, int, list, non_negative, one_of, text};
use super::pod;
use super::selector::label_selector;
use crate::meta::{at, domain_prefixed_path};
use crate::selector::LabelSelector;
use crate::status::{FieldErrors, Path};

/// Most completions and parallel pods of an indexed Job.
const MAX_INDEXED: i64 = 100_000;
/// Most indexes that may fail, and most pods at once, of a Job of more indexes than that.
const MAX_FAILED: i64 = 10_000;
/// Most rules of a policy.
const MAX_RULES: usize = 20;
/// Longest name of another controller of Jobs.
const MAX_MANAGER: usize = 63;

/// Job.
pub(super) fn job(object: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let spec = at(object, &["spec"]);
    job_spec(spec, &path, errors);
    let selector = at(spec, &["selector"]);
    if selector.is_null() {
        errors.required(&path.child("selector"), "");
        return;
    }
    label_selector(selector, &path.child("selector"), errors);
    let labels = at(spec, &["template", "metadata", "labels"]);
    if LabelSelector::from_object(selector).is_ok_and(|s| !s.matches(labels)) {
        let path = path.child("template");
        let path = path.child("metadata");
        errors.invalid(&path.child("labels"), labels.clone(), "`selector` does not match template `labels`");
    }
}

/// The spec of a Job, also inside a CronJob.
fn job_spec(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ];
    for key in counts {
        non_negative(errors, &path.child(key), int(spec, key));
    }
    let mode = text(spec, "completionMode");
    one_of(errors, &path.child("completionMode"), mode, &["Indexed", "NonIndexed"], false);
    if mode == "Indexed" {
        indexed(spec, path, errors);
    } else {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(value) = int(spec, key) {
                errors.invalid(&path.child(key), value, "requires indexed completion mode");
            }
        }
        if field(spec, "successPolicy").is_some() {
            errors.invalid(
                &path.child("successPolicy"),
                spec["successPolicy"].clone(),
                "requires indexed completion mode",
            );
        }
    }
    if int(spec, "maxFailedIndexes").is_some() && int(spec, "backoffLimitPerIndex").is_none() {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    failure_policy(spec, path, errors);
    success_policy(spec, &path.child("successPolicy"), errors);
    if let Some(manager) = field(spec, "managedBy").and_then(Value::as_str) {
        let path = path.child("managedBy");
        for why in domain_prefixed_path(manager) {
            errors.invalid(&path, manager, why);
        }
        if manager.len() > MAX_MANAGER {
            errors.too_long(&path, MAX_MANAGER);
        }
    }
    let replacement = text(spec, "podReplacementPolicy");
    if field(spec, "podFailurePolicy").is_some() {
        one_of(errors, &path.child("podReplacementPolicy"), replacement, &["Failed"], false);
    } else {
        one_of(errors, &path.child("podReplacementPolicy"), replacement, &["Failed", "TerminatingOrFailed"], false);
    }
    let template = path.child("template");
    pod::template(at(spec, &["template"]), &template, errors);
    let policy = text(at(spec, &["template", "spec"]), "restartPolicy");
    let path = template.child("spec");
    let path = path.child("restartPolicy");
    match policy {
        "" | "Always" => errors.required(&path, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if field(spec, "podFailurePolicy").is_some() => {
            errors.invalid(&path, policy, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => errors.unsupported(&path, other, &["Never", "OnFailure"]),
    }
}

/// How far an indexed Job may go, alone and when each index has retries of its own (KEP-3850).
fn indexed(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let parallelism = int(spec, "parallelism").unwrap_or(0);
    let Some(completions) = int(spec, "completions") else {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
        return;
    };
    if parallelism > MAX_INDEXED {
        let why = format!("must be less than or equal to {MAX_INDEXED} when completion mode is Indexed");
        errors.invalid(&path.child("parallelism"), parallelism, why);
    }
    let most_failed = int(spec, "maxFailedIndexes");
    let here = path.child("maxFailedIndexes");
    non_negative(errors, &here, most_failed);
    if let Some(most) = most_failed.filter(|most| *most > completions) {
        errors.invalid(&here, most, "must be less than or equal to completions");
    }
    if field(spec, "backoffLimitPerIndex").is_none() || completions <= MAX_INDEXED {
        return;
    }
    match most_failed {
        None => errors.required(&here, &format!("must be specified when completions is above {MAX_INDEXED}")),
        Some(most) if most > MAX_FAILED => {
            errors.invalid(&here, most, format!("must be less than or equal to {MAX_FAILED}"));
        }
        Some(_) => {}
    }
    if parallelism > MAX_FAILED {
        let why = format!(
            "must be less than or equal to {MAX_FAILED} when completions are above {MAX_INDEXED} and used with backoff limit per index"
        );
        errors.invalid(&path.child("parallelism"), parallelism, why);
    }
}

/// When an indexed Job has succeeded before all of its indexes did (KEP-3998).
fn success_policy(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(policy) = field(spec, "successPolicy") else { return };
    let completions = int(spec, "completions").unwrap_or(0);
    let rules = list(policy, "rules");
    let path = path.child("rules");
    if rules.is_empty() {
        errors.required(&path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > MAX_RULES {
        errors.too_many(&path, rules.len(), MAX_RULES);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let (indexes, count) = (field(rule, "succeededIndexes").and_then(Value::as_str), int(rule, "succeededCount"));
        let mut total = completions;
        if let Some(indexes) = indexes {
            match index_count(indexes, completions) {
                Ok(named) => total = named,
                Err(why) => errors.invalid(&path.child("succeededIndexes"), indexes, why),
            }
        }
        let here = path.child("succeededCount");
        non_negative(errors, &here, count);
        if indexes.is_none() && count.is_none() {
            errors.required(&path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        if let Some(count) = count.filter(|count| *count > total) {
            let of = if indexes.is_some() {
                "the number of indexes in the specified succeededIndexes field"
            } else {
                "the number of specified completions"
            };
            errors.invalid(&here, count, format!("must be less than or equal to {total} ({of})"));
        }
    }
}

/// How many indexes `1,3-5` names. They rise, and each is below `completions`.
fn index_count(text: &str, completions: i64) -> Result<i64, String> {
    let number =
        |text: &str| text.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {text:?}"));
    let (mut total, mut last) = (0, -1);
    for part in text.split(',') {
        let (first, end) = match part.split_once('-') {
            Some((first, end)) => (number(first)?, number(end)?),
            None => (number(part)?, number(part)?),
        };
        if first >= completions {
            return Err(format!("too large index: {first:?}"));
        }
        if end >= completions {
            return Err(format!("too large index: {end:?}"));
        }
        if first <= last || end < first {
            return Err(format!("non-increasing order, previous: {}, current: {first}", last.max(end)));
        }
        total += end - first + 1;
        last = end;
    }
    Ok(total)
}

fn failure_policy(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(policy) = field(spec, "podFailurePolicy") else { return };
    let path = path.child("podFailurePolicy");
    let rules = path.child("rules");
    if list(policy, "rules").len() > MAX_RULES {
        errors.too_many(&rules, list(policy, "rules").len(), MAX_RULES);
    }
    for (index, rule) in list(policy, "rules").iter().enumerate() {
        let path = rules.index(index);
        one_of(errors, &path.child("action"), text(rule, "action"), &["Count", "FailIndex", "FailJob", "Ignore"], true);
        let conditions = !list(rule, "onPodConditions").is_empty();
        match (field(rule, "onExitCodes"), conditions) {
            (Some(_), true) => {
                errors.invalid(&path, rule.clone(), "specifying both OnExitCodes and OnPodConditions is not supported")
            }
            (None, false) => {
                errors.invalid(&path, rule.clone(), "specifying one of OnExitCodes and OnPodConditions is required")
            }
            (Some(codes), false) => exit_codes(codes, &path.child("onExitCodes"), errors),
            (None, true) => {}
        }
    }
}

fn exit_codes(codes: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    one_of(errors, &path.child("operator"), text(codes, "operator"), &["In", "NotIn"], true);
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    let here = path.child("values");
    if values.is_empty() {
        errors.invalid(&here, Value::Array(Vec::new()), "at least one value is required");
    }
    for (index, value) in values.iter().enumerate() {
        let here = here.index(index);
        if text(codes, "operator") == "In" && *value == 0 {
            errors.invalid(&here, 0, "must not be 0 for the In operator");
        }
        if values.iter().take(index).any(|v| v == value) {
            errors.duplicate(&here, *value);
        } else if values.iter().take(index).any(|v| v > value) {
            errors.invalid(&path.child("values"), codes["values"].clone(), "must be ordered");
        }
    }
}

/// Unless its author chose the selector, a new Job finds its pods by its own uid, and they carry its name.
pub(super) fn create(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    if flag(spec, "manualSelector") || at(spec, &["selector"]).is_null() {
        return;
    }
    let (name, uid) = (text(at(object, &["metadata"]), "name"), text(at(object, &["metadata"]), "uid"));
    let path = Path::new("spec");
    let template = path.child("template");
    let metadata = template.child("metadata");
    let labels = at(spec, &["template", "metadata", "labels"]);
    let own = [
        ("controller-uid", uid),
        ("job-name", name),
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
    ];
    for (key, wanted) in own {
        match field(labels, key).and_then(Value::as_str) {
            None => errors.required(&metadata.child("labels").key(key), &format!("must be '{wanted}'")),
            Some(value) if value != wanted => {
                errors.invalid(&metadata.child("labels").key(key), labels.clone(), format!("must be '{wanted}'"));
            }
            Some(_) => {}
        }
    }
    let expected: Value = own.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
    let selector = at(spec, &["selector"]);
    if LabelSelector::from_object(selector).is_ok_and(|parsed| !parsed.matches(&expected)) {
        errors.invalid(&path.child("selector"), selector.clone(), "`selector` not auto-generated");
    }
}

/// Of a Job that exists only scale, suspension and, while suspended, scheduling of its pods change.
pub(super) fn job_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    let path = Path::new("spec");
    let indexed = text(new, "completionMode") == "Indexed";
    // An indexed Job is scaled by completions and parallelism together.
    let together = indexed && int(new, "completions") == int(new, "parallelism");
    if !together {
        immutable(errors, &path.child("completions"), field(new, "completions"), field(old, "completions"));
    }
    for key in ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        immutable(errors, &path.child(key), field(new, key), field(old, key));
    }
    let mut expected = at(old, &["template"]).clone();
    if flag(old, "suspend") {
        copy_scheduling(&mut expected, at(new, &["template"]));
    }
    immutable(errors, &path.child("template"), field(new, "template"), Some(&expected));
}

/// What of a suspended Job's template may change: where its pods run.
fn copy_scheduling(template: &mut Value, from: &Value) {
    for (inside, keys) in [
        ("spec", &["nodeSelector", "affinity", "tolerations", "schedulingGates"][..]),
        ("metadata", &["labels", "annotations"][..]),
    ] {
        let Some(target) = template.get_mut(inside).and_then(Value::as_object_mut) else { continue };
        for key in keys {
            match field(at(from, &[inside]), key) {
                Some(value) => drop(target.insert((*key).to_owned(), value.clone())),
                None => drop(target.remove(*key)),
            }
        }
    }
}

/// Counters of a Job do not go backwards, and what ended has ended.
pub(super) fn job_status_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (at(new, &["status"]), at(old, &["status"]));
    let path = Path::new("status");
    for key in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(errors, &path.child(key), int(new, key));
    }
    if field(old, "completionTime").is_some() && field(new, "completionTime") != field(old, "completionTime") {
        errors.invalid(
            &path.child("completionTime"),
            at(new, &["completionTime"]).clone(),
            "completionTime cannot be mutated",
        );
    }
    let ended = |status: &Value, kind: &str| {
        list(status, "conditions").iter().any(|c| text(c, "type") == kind && text(c, "status") == "True")
    };
    for kind in ["Complete", "Failed"] {
        if ended(old, kind) && !ended(new, kind) {
            errors.invalid(
                &path.child("conditions"),
                at(new, &["conditions"]).clone(),
                format!("cannot disable the terminal {kind}=True condition"),
            );
        }
    }
    if ended(new, "Complete") && ended(new, "Failed") {
        let why = "cannot set Complete=True and Failed=True conditions";
        errors.invalid(&path.child("conditions"), at(new, &["conditions"]).clone(), why);
    }
}

/// CronJob.
pub(super) fn cron_job(object: &Value, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    let path = Path::new("spec");
    let schedule = text(spec, "schedule");
    let zone = text(spec, "timeZone");
    if schedule.is_empty() {
        errors.required(&path.child("schedule"), "");
    } else {
        if let Err(why) = cron::check(schedule) {
            errors.invalid(&path.child("schedule"), schedule, why);
        }
        if schedule.contains("TZ") {
            let why = match field(spec, "timeZone") {
                Some(_) => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
                None => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            };
            errors.invalid(&path.child("schedule"), schedule, why);
        }
    }
    if field(spec, "timeZone").is_some() {
        let here = path.child("timeZone");
        if zone.is_empty() {
            errors.invalid(&here, zone, "timeZone must be nil or non-empty string");
        } else if zone.eq_ignore_ascii_case("Local") {
            let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
            errors.invalid(&here, zone, why);
        } else if jiff::tz::TimeZone::get(zone).is_err() {
            errors.invalid(&here, zone, format!("unknown time zone {zone}"));
        }
    }
    non_negative(errors, &path.child("startingDeadlineSeconds"), int(spec, "startingDeadlineSeconds"));
    let policy = text(spec, "concurrencyPolicy");
    one_of(errors, &path.child("concurrencyPolicy"), policy, &["Allow", "Forbid", "Replace"], true);
    for key in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        non_negative(errors, &path.child(key), int(spec, key));
    }
    let path = path.child("jobTemplate");
    let job = at(spec, &["jobTemplate", "spec"]);
    job_spec(job, &path.child("spec"), errors);
    if flag(job, "manualSelector") {
        let path = path.child("spec");
        errors.unsupported(&path.child("manualSelector"), true, &["nil", "false"]);
    }
}
