//! LimitRanges and PriorityClasses.

use std::collections::BTreeSet;

use serde_json::Value;

use super::get::{amount, empty, entries, flag, immutable, int, list, named, required_of_listed, text};
use super::resources;
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
    let mut types: BTreeSet<&str> = BTreeSet::new();
    let spec = Path::new("spec");
    let limits = spec.child("limits");
    for (index, limit) in list(at(object, &["spec"]), "limits").iter().enumerate() {
        let path = limits.index(index);
        let kind = text(limit, "type");
        if !types.insert(kind) {
            errors.duplicate(&path.child("type"), kind);
        }
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
        bounds(limit, kind, &path, errors);
    }
}

/// The maps of a limit. Those of a Pod have no defaults.
static BOUNDS: [&str; 5] = ["max", "min", "maxLimitRequestRatio", "default", "defaultRequest"];

/// Two amounts that must not stand in the wrong order: what is too great, than what, where that is told, and whose value is shown.
const ORDERS: [(&str, &str, &str, &str); 6] = [
    ("min", "max", "min", "min"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest"),
    ("min", "default", "default", "min"),
    ("default", "max", "default", "max"),
];

/// Names of resources, and amounts against each other.
fn bounds(limit: &Value, kind: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let maps = if kind == "Pod" { &BOUNDS[..3] } else { &BOUNDS[..] };
    let mut names: Vec<&str> = Vec::new();
    for map in maps {
        for (name, _) in entries(limit, map) {
            let path = path.child(map);
            if matches!(kind, "Container" | "Pod") {
                resources::resource_name(name, &path.key(name), errors);
            } else {
                resources::known(name, &path.key(name), errors);
            }
            names.push(name);
        }
    }
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of = |map: &str| {
            let found = maps.contains(&map).then(|| at(limit, &[map, name])).filter(|value| !value.is_null());
            found.map(amount)
        };
        for (low, high, place, shown) in ORDERS {
            if let (Some(a), Some(b)) = (of(low), of(high))
                && a > b
            {
                let other =
                    if (low, high) == ("defaultRequest", "default") { "default limit value" } else { words(high) };
                let why = format!("{} {a} is greater than {other} {b}", words(low));
                let value = if shown == low { a } else { b };
                errors.invalid(&path.child(place).key(name), value.to_string(), why);
            }
        }
        let here = path.child("maxLimitRequestRatio");
        if let Some(ratio) = of("maxLimitRequestRatio") {
            if ratio < Quantity::from_units(1, crate::meta::Format::DecimalSi) {
                errors.invalid(&here.key(name), ratio.to_string(), format!("ratio {ratio} is less than 1"));
            }
            if let (Some(min), Some(max)) = (of("min"), of("max"))
                && ratio.as_f64() > max.as_f64() / min.as_f64()
            {
                let why = format!("ratio {ratio} is greater than max/min = {:.6}", max.as_f64() / min.as_f64());
                errors.invalid(&here.key(name), ratio.to_string(), why);
            }
        }
        if let (Some(limit), Some(request)) = (of("default"), of("defaultRequest"))
            && resources::no_overcommit(name)
            && limit != request
        {
            let why = format!("default value {limit} must equal to defaultRequest value {request} in {name}");
            errors.invalid(&path.child("defaultRequest").key(name), request.to_string(), why);
        }
    }
}

fn words(bound: &str) -> &str {
    match bound {
        "min" => "min value",
        "defaultRequest" => "default request value",
        "default" => "default value",
        _ => "max value",
    }
}

/// PriorityClass.
pub(super) fn priority_class(object: &Value, errors: &mut FieldErrors) {
    if object.get("preemptionPolicy").is_some() {
        let policy = text(object, "preemptionPolicy");
        required_of_listed(errors, &Path::new("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
    }
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
            Some(_) if flag(object, "globalDefault") => format!("globalDefault of {name} PriorityClass must be false"),
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
