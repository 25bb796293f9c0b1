//! Addresses and ranges that are not written as everybody writes them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::Found;
use crate::meta::text;
use crate::status::Path;

/// One address. What is none was refused, or was there before addresses were looked at so closely.
pub(super) fn address(value: &str, path: &Path<'_>, found: &mut Found) {
    let Ok(IpAddr::V6(address)) = value.parse::<IpAddr>() else { return };
    if let Some(short) = address.to_ipv4_mapped() {
        let why = "will be considered invalid in a future Kubernetes release";
        found.about(path, format_args!("non-standard IP address {value:?} {why}: use \"{short}\""));
    } else if address.to_string() != value {
        let why = "should be in RFC 5952 canonical format";
        found.about(path, format_args!("IPv6 address {value:?} {why} (\"{address}\")"));
    }
}

/// The addresses that are a field of each item of a list.
pub(super) fn of_items(items: &Value, field: &str, path: &Path<'_>, found: &mut Found) {
    for (index, item) in items.as_array().into_iter().flatten().enumerate() {
        address(text(item, &[field]), &path.index(index).child(field), found);
    }
}

/// One range of addresses.
pub(super) fn range(value: &Value, path: &Path<'_>, found: &mut Found) {
    let value = value.as_str().unwrap_or_default();
    let Ok(range) = value.parse::<IpNet>() else { return };
    let (bare, alone) = (range.trunc(), range.max_prefix_len());
    let ambiguous = bare.addr() != range.addr();
    if ambiguous {
        let first = range.addr();
        let what = "is ambiguous in this context";
        found.about(path, format_args!("CIDR value {value:?} {what} (should be \"{bare}\" or \"{first}/{alone}\"?)"));
    }
    let IpAddr::V6(address) = bare.addr() else { return };
    if let Some(short) = address.to_ipv4_mapped() {
        let why = "will be considered invalid in a future Kubernetes release";
        let bits = range.prefix_len().saturating_sub(96);
        found.about(path, format_args!("non-standard CIDR value {value:?} {why}: use \"{short}/{bits}\""));
    } else if !ambiguous && range.to_string() != value {
        let why = "should be in RFC 5952 canonical format";
        found.about(path, format_args!("IPv6 CIDR value {value:?} {why} (\"{range}\")"));
    }
}
