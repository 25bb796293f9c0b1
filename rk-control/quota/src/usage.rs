//! Amounts by the names that quotas use.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_api::meta::Quantity as Amount;

/// Amounts by resource name, exact and written as they were first written.
pub type Usage = BTreeMap<String, Amount>;

/// A resource list of the API.
pub(crate) type List = BTreeMap<String, Quantity>;

/// One object.
pub(crate) const ONE: Amount = Amount::from_millis(1000);

pub(crate) fn read(list: Option<&List>) -> Usage {
    list.into_iter().flatten().map(|(name, quantity)| (name.clone(), amount(quantity))).collect()
}

pub(crate) fn amount(quantity: &Quantity) -> Amount {
    quantity.0.parse().unwrap_or_default()
}

pub(crate) fn many(count: usize) -> Amount {
    Amount::from_units(i64::try_from(count).unwrap_or(i64::MAX), rk_api::meta::Format::DecimalSi)
}

pub(crate) fn add(into: &mut Usage, from: &Usage) {
    for (name, amount) in from {
        *into.entry(name.clone()).or_default() += *amount;
    }
}

/// Raises each amount to at least that of `from`.
pub(crate) fn raise(into: &mut Usage, from: &Usage) {
    for (name, amount) in from {
        let mine = into.entry(name.clone()).or_insert(*amount);
        *mine = (*mine).max(*amount);
    }
}

/// What an object takes more than before. What it gives back is not among it: only the controller takes that off, once it is true.
#[must_use]
pub fn growth(new: &Usage, old: &Usage) -> Usage {
    let more = |(name, amount): (&String, &Amount)| {
        let delta = *amount - old.get(name).copied().unwrap_or_default();
        (delta.sign() > 0).then(|| (name.clone(), delta))
    };
    new.iter().filter_map(more).collect()
}

/// Sums usages, of the resources that are limited alone.
#[must_use]
pub fn sum(usages: impl Iterator<Item = Usage>, limited: &BTreeMap<String, Quantity>) -> Usage {
    let mut sum: Usage = limited.keys().map(|name| (name.clone(), Amount::ZERO)).collect();
    for (name, amount) in usages.flatten() {
        if let Some(mine) = sum.get_mut(&name) {
            *mine += amount;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(amounts: &[(&str, &str)]) -> Usage {
        amounts.iter().map(|(name, amount)| ((*name).to_owned(), amount.parse().unwrap())).collect()
    }

    #[test]
    fn sums_hold_only_what_is_limited() {
        let limits = [("pods", "5"), ("requests.memory", "1Gi"), ("requests.storage", "0")];
        let limited = limits.iter().map(|(name, most)| ((*name).to_owned(), Quantity((*most).to_owned()))).collect();
        let one = usage(&[("pods", "1"), ("cpu", "5m"), ("requests.memory", "128Mi")]);
        let total = sum([one.clone(), one].into_iter(), &limited);
        let written: Vec<String> = total.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(written, ["pods=2", "requests.memory=256Mi", "requests.storage=0"]);
    }

    #[test]
    fn only_what_grows_is_charged() {
        let (small, large) = (usage(&[("cpu", "1"), ("memory", "2Gi")]), usage(&[("cpu", "1500m"), ("memory", "1Gi")]));
        assert_eq!(growth(&large, &small), usage(&[("cpu", "500m")]));
        assert_eq!(growth(&small, &small), Usage::new());
        assert_eq!(growth(&small, &Usage::new()), small);
    }
}
