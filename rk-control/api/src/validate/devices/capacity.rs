//! How the capacity of a device is divided between those who share it.

use serde_json::Value;

use super::super::get::{field, list};
use super::super::storage::amount;
use super::unique;
use crate::meta::Quantity;
use crate::status::{FieldErrors, Path};

/// Most amounts that may be asked for.
const MAX_OPTIONS: usize = 10;

/// What may be asked for of a capacity: amounts of a list, or of a range.
pub(super) fn policy(value: &Value, policy: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let whole = amount(value).unwrap_or_default();
    let default = field(policy, "default").and_then(amount);
    match (list(policy, "validValues"), field(policy, "validRange")) {
        ([], None) => {}
        ([], Some(range)) => match default {
            None => errors.required(&path.child("default"), "required when validRange is defined"),
            Some(default) => self::range(range, default, whole, &path.child("validRange"), errors),
        },
        (options, None) => match default {
            None => errors.required(&path.child("default"), "required when validValues is defined"),
            Some(default) => self::options(options, default, whole, &path.child("validValues"), errors),
        },
        (_, Some(_)) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.forbidden(path, why);
        }
    }
}

fn options(options: &[Value], default: Quantity, whole: Quantity, path: &Path<'_>, errors: &mut FieldErrors) {
    let amounts: Vec<Quantity> = options.iter().filter_map(amount).collect();
    for (index, pair) in amounts.windows(2).enumerate() {
        if let [before, after] = pair
            && before > after
        {
            errors.invalid(&path.index(index + 1), after.to_string(), "values must be sorted in ascending order");
        }
    }
    if amounts.len() > MAX_OPTIONS {
        errors.too_many(path, amounts.len(), MAX_OPTIONS);
    } else {
        for (index, option) in amounts.iter().enumerate().filter(|(_, option)| **option > whole) {
            let why = format!("option is larger than capacity value: {whole}");
            errors.invalid(&path.index(index), option.to_string(), why);
        }
        let keys: Vec<String> = amounts.iter().map(|option| option.units().to_string()).collect();
        unique(keys.iter().map(String::as_str), path, errors);
    }
    if amounts.len() > MAX_OPTIONS || !amounts.contains(&default) {
        errors.invalid(path, default.to_string(), "default value is not valid according to the requestPolicy");
    }
}

fn range(range: &Value, default: Quantity, whole: Quantity, path: &Path<'_>, errors: &mut FieldErrors) {
    let bound = |key| field(range, key).and_then(amount);
    let Some(min) = bound("min") else {
        return errors.required(&path.child("min"), "required when validRange is defined");
    };
    if min > whole {
        errors.invalid(&path.child("min"), min.to_string(), format!("min is larger than capacity value: {whole}"));
    }
    if default < min {
        errors.invalid(&path.child("default"), default.to_string(), format!("default is less than min: {min}"));
    }
    let max = bound("max");
    if let Some(max) = max {
        if min > max {
            errors.invalid(&path.child("max"), min.to_string(), format!("min is larger than max: {max}"));
        }
        if max > whole {
            errors.invalid(&path.child("max"), max.to_string(), format!("max is larger than capacity value: {whole}"));
        }
        if default > max {
            errors.invalid(&path.child("default"), default.to_string(), format!("default is more than max: {max}"));
        }
    }
    let Some(step) = bound("step") else { return };
    let path = path.child("step");
    if step.sign() <= 0 {
        return errors.invalid(&path, step.to_string(), "must be greater than zero");
    }
    let once = min + step;
    if once > whole {
        let why = format!("one step {once} is larger than capacity value: {whole}");
        errors.invalid(&path, step.to_string(), why);
    }
    for value in std::iter::once(default).chain(max) {
        let from = i128::from(value.units()) - i128::from(min.units());
        if from % i128::from(step.units()) != 0 {
            let why = format!("value is not a multiple of a given step ({step}) from ({min})");
            errors.invalid(&path, value.to_string(), why);
        }
    }
}
