//! Parts of devices that several claims share (KEP-5075).

use std::collections::BTreeMap;

use k8s_openapi::api::resource::v1::{CapacityRequestPolicy, CapacityRequestPolicyRange, Device, DeviceCapacity};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_api::meta::Quantity as Amount;

use super::amount::{Amounts, amount};

/// What a request takes of a device's capacity. `None` when the device has no such capacity, or does not give it in such portions.
pub(crate) fn portion(
    driver: &str,
    device: &Device,
    requested: Option<&BTreeMap<String, Quantity>>,
) -> Option<Amounts> {
    let none = BTreeMap::new();
    let own = device.capacity.as_ref().unwrap_or(&none);
    let asked: BTreeMap<&str, Amount> = requested
        .into_iter()
        .flatten()
        .map(|(name, asked)| Some((spelled(driver, name, own)?, amount(asked))))
        .collect::<Option<_>>()?;
    own.iter()
        .map(|(name, capacity)| Some((name.clone(), take(asked.get(name.as_str()).copied(), capacity)?)))
        .collect()
}

/// Whether what is taken already leaves room for a portion.
pub(crate) fn fits(device: &Device, taken: &Amounts, portion: &Amounts) -> bool {
    device.capacity.iter().flatten().all(|(name, capacity)| {
        let of = |amounts: &Amounts| amounts.get(name).copied().unwrap_or(Amount::ZERO);
        of(taken) + of(portion) <= amount(&capacity.value)
    })
}

/// The name under which a device has a capacity: the domain of its driver may be left out on either side.
fn spelled<'a>(driver: &str, name: &str, own: &'a BTreeMap<String, DeviceCapacity>) -> Option<&'a str> {
    if let Some((known, _)) = own.get_key_value(name) {
        return Some(known.as_str());
    }
    let other = match name.split_once('/') {
        Some((domain, id)) if domain == driver => id.to_owned(),
        Some(_) => return None,
        None => format!("{driver}/{name}"),
    };
    own.get_key_value(&other).map(|(known, _)| known.as_str())
}

/// How much is taken: the policy rounds up what is asked for, and says what who asks for nothing gets.
fn take(asked: Option<Amount>, capacity: &DeviceCapacity) -> Option<Amount> {
    let Some(policy) = &capacity.request_policy else {
        return Some(asked.unwrap_or_else(|| amount(&capacity.value)));
    };
    let default = policy.default.as_ref().map(amount);
    let taken = match asked {
        None => default.unwrap_or_else(|| amount(&capacity.value)),
        Some(asked) => rounded(asked, policy)?,
    };
    (default == Some(taken) || allows(policy, taken)).then_some(taken)
}

fn rounded(asked: Amount, policy: &CapacityRequestPolicy) -> Option<Amount> {
    if let Some(range) = &policy.valid_range {
        return in_steps(asked, range);
    }
    let mut values = policy.valid_values.iter().flatten().map(amount);
    Some(values.find(|value| asked <= *value).unwrap_or(asked))
}

/// The first step from the least on that is enough.
fn in_steps(asked: Amount, range: &CapacityRequestPolicyRange) -> Option<Amount> {
    let least = amount(&range.min);
    if asked <= least {
        return Some(least);
    }
    let Some(step) = range.step.as_ref().map(amount).filter(|step| step.units() > 0) else { return Some(asked) };
    let beyond = asked.units().checked_sub(least.units())?;
    let steps = beyond / step.units() + i64::from(beyond % step.units() != 0);
    let units = step.units().checked_mul(steps)?.checked_add(least.units())?;
    Some(Amount::from_units(units, step.format()))
}

fn allows(policy: &CapacityRequestPolicy, taken: Amount) -> bool {
    if let Some(range) = &policy.valid_range {
        let step = range.step.as_ref().map(|step| amount(step).units()).filter(|step| *step > 0);
        let beyond = taken.units().saturating_sub(amount(&range.min).units());
        return range.max.as_ref().is_none_or(|most| taken <= amount(most)) && step.is_none_or(|s| beyond % s == 0);
    }
    match policy.valid_values.as_deref() {
        Some(values) if !values.is_empty() => values.iter().any(|value| amount(value) == taken),
        _ => true,
    }
}
