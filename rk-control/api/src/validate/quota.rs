//! LimitRanges and PriorityClasses.

use serde_json::Value;

use super::get::{amount, empty, entries, immutable, int, list, named, text};
use crate::meta::{Quantity, at, qualified_name};
use crate::status::{FieldErrors, Path};

/// The highest priority that users may give.
const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;

/// What a limit is about: a standard kind, or one of a domain.
fn limit_type(kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    named(errors, path, kind, qualified_name(kind));
    if !kind.contains('/') && !matches!(kind, "Container" | "PersistentVolumeClaim" | "Pod") {
        errors.invalid(path, kind, "must be a standard limit type or fully qualified");
    }
}

/// LimitRange: minimum ≤ default request ≤ default ≤ maximum.
pub(super) fn limit_range(object: &Value, errors: &mut FieldErrors) {
    let mut types: Vec<&str> = Vec::new();
    let spec = Path::new("spec");
    let limits = spec.child("limits");
    for (index, limit) in list(at(object, &["spec"]), "limits").iter().enumerate() {
        let path = limits.index(index);
        let kind = text(limit, "type");
        if types.contains(&kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        types.push(kind);
        limit_type(kind, &path.child("type"), errors);
        if kind == "Pod" {
            for key in ["default", "defaultRequest"] {
                if !empty(limit, key) {
                    errors.forbidden(&path.child(key), "may not be specified when `type` is 'Pod'");
                }
            }
        }
        if kind == "PersistentVolumeClaim" {
            let storage = |key: &str| entries(limit, key).any(|(name, _)| name == "storage");
            if !storage("min") && !storage("max") {
                errors.required(
                    &path.child("limits"),
                    "either minimum or maximum storage value is required, but neither was provided",
                );
            }
        }
        let of = |key: &str, name: &str| entries(limit, key).find(|(n, _)| *n == name).map(|(_, v)| amount(v));
        let mut names: Vec<&str> = ["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"]
            .iter()
            .flat_map(|k| entries(limit, k))
            .map(|(n, _)| n)
            .collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            named(errors, &path.child("min").key(name), name, qualified_name(name));
            if matches!(kind, "Container" | "Pod") {
                super::resources::standard(name, &path.child("min").key(name), errors);
            }
            for (low, high) in [
                ("min", "max"),
                ("min", "defaultRequest"),
                ("defaultRequest", "max"),
                ("defaultRequest", "default"),
                ("default", "max"),
            ] {
                if let (Some(a), Some(b)) = (of(low, name), of(high, name))
                    && a > b
                {
                    let words = |k: &str| match k {
                        "min" => "min value",
                        "defaultRequest" => "default request value",
                        "default" => "default value",
                        _ => "max value",
                    };
                    let why = format!("{} {a} is greater than {} {b}", words(low), words(high));
                    errors.invalid(&path.child(low).key(name), a.to_string(), why);
                }
            }
            if let Some(ratio) = of("maxLimitRequestRatio", name)
                .filter(|r| *r < Quantity::from_units(1, crate::meta::Format::DecimalSi))
            {
                errors.invalid(
                    &path.child("maxLimitRequestRatio").key(name),
                    ratio.to_string(),
                    format!("ratio {ratio} is less than 1"),
                );
            }
        }
    }
}

/// PriorityClass.
pub(super) fn priority_class(object: &Value, errors: &mut FieldErrors) {
    let policy = text(object, "preemptionPolicy");
    super::get::one_of(errors, &Path::new("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"], false);
}

/// The classes of the system itself, and their values.
const SYSTEM_CLASSES: [(&str, i64); 2] = [
    ("system-node-critical", HIGHEST_USER_PRIORITY * 2 + 1000),
    ("system-cluster-critical", HIGHEST_USER_PRIORITY * 2),
];

/// Names of the system's own classes, and values above all others, are taken.
pub(super) fn priority_class_create(object: &Value, errors: &mut FieldErrors) {
    let name = text(at(object, &["metadata"]), "name");
    let value = int(object, "value").unwrap_or(0);
    if name.starts_with("system-") {
        let wrong = match SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) {
            None => format!("{name} is not a known system priority class"),
            Some((_, right)) if *right != value => format!("value of {name} PriorityClass must be {right}"),
            Some(_) => return,
        };
        let why = "priority class names with 'system-' prefix are reserved for system use only. error: ".to_owned();
        errors.forbidden(&Path::new("metadata").child("name"), why + &wrong);
    } else if value > HIGHEST_USER_PRIORITY {
        errors.forbidden(
            &Path::new("value"),
            format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"),
        );
    }
}

/// The value of a priority is for ever.
pub(super) fn priority_class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if int(new, "value").unwrap_or(0) != int(old, "value").unwrap_or(0) {
        errors.forbidden(&Path::new("value"), "may not be changed in an update.");
    }
    immutable(errors, &Path::new("preemptionPolicy"), new.get("preemptionPolicy"), old.get("preemptionPolicy"));
}
