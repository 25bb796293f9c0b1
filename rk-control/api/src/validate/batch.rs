//! Jobs and CronJobs.

use serde_json::Value;

use super::get::{field, flag, immutable, int, list, non_negative, one_of, required_name, text, word_of};
use super::selector::label_selector;
use super::{cron, job_policy, pod};
use crate::Object;
use crate::meta::{at, dns1123_label, domain_prefixed_path};
use crate::selector::LabelSelector;
use crate::status::{FieldErrors, Path};

/// Most parallel pods and failed indexes of an indexed Job, and most completions without further bounds.
const MAX_INDEXED: i64 = 100_000;
/// Most failed indexes, and most pods at once, of a Job of more than [`MAX_INDEXED`] indexes.
const MAX_FAILED: i64 = 10_000;
/// Longest name of another controller of Jobs.
const MAX_MANAGER: usize = 63;
/// Longest name of a CronJob: its jobs append a timestamp.
const CRON_JOB_MAX: usize = 52;
/// Labels by which the pods of a Job are known, and the older names of those.
static OWN_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"];
static LEGACY_LABELS: [&str; 2] = ["controller-uid", "job-name"];

/// Job.
pub(super) fn job(object: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let spec = at(object, &["spec"]);
    job_spec(spec, &path, errors);
    let selector = at(spec, &["selector"]);
    if selector.is_null() {
        errors.required(&path.child("selector"), "");
    } else {
        label_selector(selector, &path.child("selector"), errors);
    }
    let labels = at(spec, &["template", "metadata", "labels"]);
    if LabelSelector::from_object(selector).is_ok_and(|s| !s.matches(labels)) {
        let path = path.child("template");
        let path = path.child("metadata");
        errors.invalid(&path.child("labels"), labels.clone(), "`selector` does not match template `labels`");
    }
    host_name(object, errors);
}

/// Pods of an indexed Job are called after it and their index, which must make a host name.
fn host_name(object: &Value, errors: &mut FieldErrors) {
    let (spec, name) = (at(object, &["spec"]), text(at(object, &["metadata"]), "name"));
    let completions = int(spec, "completions").unwrap_or(0);
    if text(spec, "completionMode") != "Indexed" || completions <= 0 {
        return;
    }
    let longest = format!("{name}-{}", completions - 1);
    if !dns1123_label(&longest).is_empty() {
        let path = Path::new("metadata");
        let why = format!("will not able to create pod with invalid DNS label: {longest}");
        errors.invalid(&path.child("name"), name, why);
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
        "maxFailedIndexes",
    ];
    for key in counts {
        non_negative(errors, &path.child(key), int(spec, key));
    }
    let mode = field(spec, "completionMode").and_then(Value::as_str).unwrap_or("NonIndexed");
    match mode {
        "Indexed" => indexed(spec, path, errors),
        "NonIndexed" => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(value) = int(spec, key) {
                    errors.invalid(&path.child(key), value, "requires indexed completion mode");
                }
            }
        }
        other => {
            errors.unsupported_as_listed(&path.child("completionMode"), other, &["NonIndexed", "Indexed"]);
        }
    }
    if int(spec, "maxFailedIndexes").is_some() && int(spec, "backoffLimitPerIndex").is_none() {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if field(spec, "podFailurePolicy").is_some() {
        job_policy::failure(spec, &path.child("podFailurePolicy"), errors);
    }
    if let Some(policy) = field(spec, "successPolicy") {
        let path = path.child("successPolicy");
        match mode {
            "Indexed" => job_policy::success(policy, int(spec, "completions").unwrap_or(0), &path, errors),
            _ => errors.invalid(&path, policy.clone(), "requires indexed completion mode"),
        }
    }
    if let Some(manager) = field(spec, "managedBy").and_then(Value::as_str) {
        let path = path.child("managedBy");
        required_name(errors, &path, manager, domain_prefixed_path);
        if manager.len() > MAX_MANAGER {
            errors.too_long(&path, MAX_MANAGER);
        }
    }
    let replacements: &[&str] = match field(spec, "podFailurePolicy") {
        Some(_) => &["Failed"],
        None => &["Failed", "TerminatingOrFailed"],
    };
    word_of(errors, path, spec, "podReplacementPolicy", replacements);
    let template = path.child("template");
    pod::template(at(spec, &["template"]), &template, errors);
    restart_policy(spec, &template, errors);
}

/// Pods of a Job end; where a policy judges their failures, each failure is a pod's.
fn restart_policy(spec: &Value, template: &Path<'_>, errors: &mut FieldErrors) {
    let policy = text(at(spec, &["template", "spec"]), "restartPolicy");
    let path = template.child("spec");
    let path = path.child("restartPolicy");
    match policy {
        "" | "Always" => errors.required(&path, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if field(spec, "podFailurePolicy").is_some() => {
            errors.invalid(&path, policy, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => errors.unsupported_as_listed(&path, other, &["OnFailure", "Never"]),
    }
}

/// How far an indexed Job may go, alone and when each index has retries of its own (KEP-3850).
fn indexed(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let parallelism = int(spec, "parallelism").unwrap_or(0);
    if parallelism > MAX_INDEXED {
        let why = format!("must be less than or equal to {MAX_INDEXED} when completion mode is Indexed");
        errors.invalid(&path.child("parallelism"), parallelism, why);
    }
    let most_failed = int(spec, "maxFailedIndexes");
    let here = path.child("maxFailedIndexes");
    if let Some(most) = most_failed.filter(|most| *most > MAX_INDEXED) {
        errors.invalid(&here, most, format!("must be less than or equal to {MAX_INDEXED}"));
    }
    let Some(completions) = int(spec, "completions") else {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
        return;
    };
    if let Some(most) = most_failed.filter(|most| *most > completions) {
        errors.invalid(&here, most, "must be less than or equal to completions");
    }
    if field(spec, "backoffLimitPerIndex").is_none() || completions <= MAX_INDEXED {
        return;
    }
    if most_failed.is_none() {
        errors.required(&here, &format!("must be specified when completions is above {MAX_INDEXED}"));
    }
    for (key, value) in [("parallelism", parallelism), ("maxFailedIndexes", most_failed.unwrap_or(0))] {
        if value > MAX_FAILED {
            let why = format!(
                "must be less than or equal to {MAX_FAILED} when completions are above {MAX_INDEXED} and used with backoff limit per index"
            );
            errors.invalid(&path.child(key), value, why);
        }
    }
}

/// A new Job finds its pods by what the server made for it.
pub(super) fn create(object: &Value, errors: &mut FieldErrors) {
    generated_selector(object, true, errors);
}

/// Unless its author chose the selector, a Job finds its pods by its own uid, and they carry its name; under names with a domain
/// as well, unless the Job is of a time before those (`prefixed`).
fn generated_selector(object: &Value, prefixed: bool, errors: &mut FieldErrors) {
    let spec = at(object, &["spec"]);
    if flag(spec, "manualSelector") || at(spec, &["selector"]).is_null() {
        return;
    }
    let (name, uid) = (text(at(object, &["metadata"]), "name"), text(at(object, &["metadata"]), "uid"));
    if uid.is_empty() {
        errors.required(&Path::new("metadata").child("uid"), "");
    }
    let path = Path::new("spec");
    let template = path.child("template");
    let metadata = template.child("metadata");
    let labels = at(spec, &["template", "metadata", "labels"]);
    let keys = LEGACY_LABELS.iter().chain(OWN_LABELS.iter().filter(|_| prefixed));
    let own: Vec<(&str, &str)> =
        keys.map(|key| (*key, if key.ends_with("controller-uid") { uid } else { name })).collect();
    for (key, wanted) in &own {
        match field(labels, key).and_then(Value::as_str) {
            None => errors.required(&metadata.child("labels").key(key), &format!("must be '{wanted}'")),
            Some(value) if value != *wanted => {
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

/// Of a Job that exists only scale, suspension and, while suspended, scheduling and resources of its pods change.
pub(super) fn job_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let labels = at(old, &["spec", "template", "metadata", "labels"]);
    generated_selector(new, OWN_LABELS.iter().all(|key| field(labels, key).is_some()), errors);
    let status = at(old, &["status"]);
    let (new, old) = (at(new, &["spec"]), at(old, &["spec"]));
    let path = Path::new("spec");
    completions_update(new, old, &path.child("completions"), errors);
    for key in ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        immutable(errors, &path.child(key), field(new, key), field(old, key));
    }
    let idle = field(status, "startTime").is_none() || int(status, "active").unwrap_or(0) == 0;
    let template = path.child("template");
    if flag(old, "suspend") && idle {
        let mut expected = at(old, &["template"]).clone();
        copy_scheduling(&mut expected, at(new, &["template"]));
        copy_resources(&mut expected, at(new, &["template", "spec"]));
        let spec = at(new, &["template", "spec"]);
        immutable(errors, &template.child("spec"), Some(spec), Some(at(&expected, &["spec"])));
    } else {
        immutable(errors, &template, field(new, "template"), field(old, "template"));
    }
}

/// An indexed Job is scaled by completions and parallelism together, others are not.
fn completions_update(new: &Value, old: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let (now, before) = (int(new, "completions"), int(old, "completions"));
    if text(new, "completionMode") != "Indexed" {
        immutable(errors, path, field(new, "completions"), field(old, "completions"));
    } else if let Some(now) = now.filter(|_| now != before && now != int(new, "parallelism")) {
        errors.invalid(path, now, "can only be modified in tandem with spec.parallelism");
    }
}

/// What of a suspended Job's template may change: where its pods run.
fn copy_scheduling(template: &mut Value, from: &Value) {
    for (inside, keys) in [
        ("spec", &["nodeSelector", "tolerations", "schedulingGates"][..]),
        ("metadata", &["labels", "annotations"][..]),
    ] {
        let Some(target) = template.get_mut(inside).and_then(Value::as_object_mut) else { continue };
        for key in keys {
            copy(target, at(from, &[inside]), key);
        }
    }
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        copy_node_affinity(spec, at(from, &["spec"]));
    }
}

/// A field as it is elsewhere.
fn copy(target: &mut Object, from: &Value, key: &str) {
    match field(from, key) {
        Some(value) => drop(target.insert(key.to_owned(), value.clone())),
        None => drop(target.remove(key)),
    }
}

/// Of the affinity only that to nodes may change.
fn copy_node_affinity(spec: &mut Object, from: &Value) {
    let mut affinity = match spec.remove("affinity") {
        Some(Value::Object(affinity)) => affinity,
        _ => Object::new(),
    };
    copy(&mut affinity, at(from, &["affinity"]), "nodeAffinity");
    if !affinity.is_empty() || field(from, "affinity").is_some() {
        spec.insert("affinity".to_owned(), Value::Object(affinity));
    }
}

/// What the containers ask for, where those are the same (KEP-5440).
fn copy_resources(template: &mut Value, from: &Value) {
    for key in ["containers", "initContainers"] {
        let own = template.get_mut("spec").and_then(|spec| spec.get_mut(key)).and_then(Value::as_array_mut);
        let (Some(own), others) = (own, list(from, key)) else { continue };
        if own.len() != others.len() {
            continue;
        }
        for (container, other) in own.iter_mut().zip(others) {
            let same = text(container, "name") == text(other, "name");
            if let Some(container) = container.as_object_mut().filter(|_| same) {
                copy(container, other, "resources");
            }
        }
    }
}

/// Jobs of a CronJob are called after it.
pub(super) fn cron_job_create(object: &Value, errors: &mut FieldErrors) {
    let name = text(at(object, &["metadata"]), "name");
    if name.len() > CRON_JOB_MAX {
        let path = Path::new("metadata");
        errors.invalid(&path.child("name"), name, format!("must be no more than {CRON_JOB_MAX} bytes"));
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
            let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
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
        }
        // A zone is known by its name letter for letter.
        let known = jiff::tz::TimeZone::get(zone).is_ok_and(|known| known.iana_name() == Some(zone));
        if !known && !matches!(zone, "" | "Local") {
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
    let path = path.child("spec");
    if let Some(selector) = field(job, "selector") {
        errors.invalid(&path.child("selector"), selector.clone(), "`selector` will be auto-generated");
    }
    if flag(job, "manualSelector") {
        errors.unsupported_as_listed(&path.child("manualSelector"), true, &["nil", "false"]);
    }
}
