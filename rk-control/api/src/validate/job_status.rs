//! What a Job's status may become: controllers of Jobs need not be ours.

use std::collections::BTreeSet;

use serde_json::Value;

use super::get::{field, flag, int, list, non_negative, strings, text};
use super::job_policy::{index_count, shared_index};
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// A status beside the one before it.
struct Change<'a> {
    spec: &'a Value,
    new: &'a Value,
    old: &'a Value,
}

fn holds(status: &Value, kind: &str) -> bool {
    list(status, "conditions").iter().any(|c| text(c, "type") == kind && text(c, "status") == "True")
}

fn finished(status: &Value) -> bool {
    holds(status, "Complete") || holds(status, "Failed")
}

impl Change<'_> {
    fn changed(&self, key: &str) -> bool {
        field(self.new, key) != field(self.old, key)
    }

    fn turned(&self, kind: &str) -> bool {
        holds(self.new, kind) != holds(self.old, kind)
    }

    fn ends(&self) -> bool {
        finished(self.new) != finished(self.old)
    }

    fn indexed(&self) -> bool {
        text(self.spec, "completionMode") == "Indexed"
    }
}

/// Counters of a Job do not go backwards, and what ended has ended.
pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let change = Change { spec: at(new, &["spec"]), new: at(new, &["status"]), old: at(old, &["status"]) };
    let path = Path::new("status");
    for key in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(errors, &path.child(key), int(change.new, key));
    }
    uncounted(&change, &path.child("uncountedTerminatedPods"), errors);
    counters(&change, &path, errors);
    conditions(&change, &path.child("conditions"), errors);
    times(&change, &path, errors);
    indexes(&change, &path, errors);
}

/// Pods that are not counted yet, each of them once.
fn uncounted(change: &Change<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for key in ["succeeded", "failed"] {
        let path = path.child(key);
        for (index, uid) in strings(at(change.new, &["uncountedTerminatedPods"]), key).enumerate() {
            if uid.is_empty() {
                errors.invalid(&path.index(index), uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(&path.index(index), uid);
            }
        }
    }
}

fn counters(change: &Change<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    let (now, before) = (|key| int(change.new, key).unwrap_or(0), |key| int(change.old, key).unwrap_or(0));
    // An indexed Job that is scaled down forgets indexes.
    let elastic = change.indexed() && int(change.spec, "completions") == int(change.spec, "parallelism");
    for (key, may_shrink) in [("failed", false), ("succeeded", elastic)] {
        if now(key) < before(key) && !may_shrink {
            errors.invalid(&path.child(key), now(key), format!("cannot decrease the {key} counter"));
        }
    }
    if now("ready") > now("active") && (change.changed("ready") || change.changed("active")) {
        errors.invalid(&path.child("ready"), now("ready"), "cannot set more ready pods than active");
    }
    if !finished(change.new) {
        return;
    }
    for key in ["active", "terminating"] {
        if now(key) > 0 && (change.ends() || change.changed(key)) {
            errors.invalid(&path.child(key), now(key), format!("{key}>0 is invalid for finished job"));
        }
    }
    let pods = at(change.new, &["uncountedTerminatedPods"]);
    let open = !list(pods, "succeeded").is_empty() || !list(pods, "failed").is_empty();
    if open && (change.ends() || change.changed("uncountedTerminatedPods")) {
        errors.invalid(&path.child("uncountedTerminatedPods"), pods.clone(), "must be empty for finished job");
    }
}

fn conditions(change: &Change<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if holds(change.old, kind) && !holds(change.new, kind) {
            errors.invalid_unshown(path, format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    let now = |kind| holds(change.new, kind);
    let turned = |kind| change.turned(kind);
    if now("Complete") && now("Failed") && (turned("Complete") || turned("Failed")) {
        errors.invalid_unshown(path, "cannot set Complete=True and Failed=true conditions");
    }
    if now("Complete") && now("FailureTarget") && (turned("Complete") || turned("FailureTarget")) {
        errors.invalid_unshown(path, "cannot set Complete=True and FailureTarget=true conditions");
    }
    if now("Failed") && !now("FailureTarget") && turned("Failed") {
        errors.invalid_unshown(path, "cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if now("Complete") && !now("SuccessCriteriaMet") && (turned("Complete") || turned("SuccessCriteriaMet")) {
        errors
            .invalid_unshown(path, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    for other in ["Failed", "FailureTarget"] {
        if now("SuccessCriteriaMet") && now(other) {
            errors.invalid_unshown(path, format!("cannot set SuccessCriteriaMet=True and {other}=true conditions"));
        }
    }
    if holds(change.old, "SuccessCriteriaMet") && !now("SuccessCriteriaMet") {
        errors.invalid_unshown(path, "cannot disable the SuccessCriteriaMet=True condition");
    }
}

fn times(change: &Change<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    let (completed, started) = (text(change.new, "completionTime"), text(change.new, "startTime"));
    let here = path.child("completionTime");
    let complete = holds(change.new, "Complete");
    if change.turned("Complete") || change.changed("completionTime") {
        if !completed.is_empty() && !complete {
            errors.invalid(&here, completed, "cannot set completionTime when there is no Complete=True condition");
        }
        if completed.is_empty() && complete {
            errors.required(&here, "completionTime is required for Complete jobs");
        }
    }
    // Times of the API are all UTC and of one length, so they compare as text.
    let backwards = !started.is_empty() && !completed.is_empty() && completed < started;
    if backwards && (change.changed("startTime") || change.changed("completionTime")) {
        errors.invalid(&here, completed, "must be equal to or after `startTime`");
    }
    if !completed.is_empty() && !text(change.old, "completionTime").is_empty() && change.changed("completionTime") {
        errors.invalid(&here, completed, "field is immutable");
    }
    let here = path.child("startTime");
    let idle = flag(change.spec, "suspend") && int(change.spec, "completions") == Some(0);
    let ended = finished(change.new) && (change.ends() || change.changed("startTime"));
    if started.is_empty() && ended && !idle {
        errors.required(&here, "startTime is required for finished job");
    }
    let had = !text(change.old, "startTime").is_empty();
    if had && change.changed("startTime") && !flag(change.spec, "suspend") {
        errors.required(&here, "startTime cannot be removed for unsuspended job");
    }
}

fn indexes(change: &Change<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    let completions = int(change.spec, "completions");
    let per_index = int(change.spec, "backoffLimitPerIndex").is_some();
    let (completed, failed) = (text(change.new, "completedIndexes"), field(change.new, "failedIndexes"));
    if change.changed("completedIndexes") {
        let here = path.child("completedIndexes");
        if let Some(Err(why)) = completions.map(|completions| index_count(completed, completions)) {
            errors.invalid(&here, completed, format!("error parsing completedIndexes: {why}"));
        }
        if !completed.is_empty() && !change.indexed() {
            let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.invalid(&here, completed, why);
        }
    }
    let Some(failed) = failed.and_then(Value::as_str) else { return };
    let here = path.child("failedIndexes");
    if change.changed("failedIndexes") {
        if !per_index {
            errors.invalid(&here, failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
        } else if let Some(Err(why)) = completions.map(|completions| index_count(failed, completions)) {
            errors.invalid(&here, failed, format!("error parsing failedIndexes: {why}"));
        }
    }
    let moved = change.changed("failedIndexes") || change.changed("completedIndexes");
    if let Some(index) = completions.filter(|_| moved).and_then(|most| shared_index(completed, failed, most)) {
        errors.invalid(&here, failed, format!("failedIndexes and completedIndexes overlap at index: {index}"));
    }
}
