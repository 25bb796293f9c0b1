//! Amounts of what devices have.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_api::meta::Quantity as Amount;

/// Exact amounts by name.
pub(crate) type Amounts = BTreeMap<String, Amount>;

/// An amount of the API; none when it cannot be read, which the API admits nowhere.
pub(crate) fn amount(quantity: &Quantity) -> Amount {
    quantity.0.parse().unwrap_or(Amount::ZERO)
}

/// Amounts of the API.
pub(crate) fn amounts_of<'a>(all: impl Iterator<Item = (&'a String, &'a Quantity)>) -> Amounts {
    all.map(|(name, quantity)| (name.clone(), amount(quantity))).collect()
}

/// Adds what is in `more`.
pub(crate) fn add(amounts: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *amounts.entry(name.clone()).or_default() += *amount;
    }
}

/// Takes away what is in `less`; what is left may be less than nothing.
pub(crate) fn subtract(amounts: &mut Amounts, less: &Amounts) {
    for (name, amount) in less {
        *amounts.entry(name.clone()).or_default() -= *amount;
    }
}
