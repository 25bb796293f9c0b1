//! Quantities of lists of resources.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
pub use rk_quantity::{milli, units};

/// A resource of a list in thousandths; absent and malformed count as zero.
pub fn milli_of(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> i64 {
    list.and_then(|l| l.get(name)).and_then(|q| milli(&q.0)).and_then(|v| i64::try_from(v).ok()).unwrap_or(0)
}

/// A resource of a list in whole units; absent and malformed count as zero.
pub fn units_of(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> i64 {
    list.and_then(|l| l.get(name)).and_then(|q| units(&q.0)).and_then(|v| i64::try_from(v).ok()).unwrap_or(0)
}
