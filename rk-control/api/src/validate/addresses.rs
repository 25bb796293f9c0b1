//! Addresses and ranges of addresses in fields that take any form of them but those that programs read differently (KEP-4858).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::status::{FieldErrors, Path};

/// The address that a text is to those who take zeros before a number for nothing.
pub(super) fn lenient(value: &str) -> Option<IpAddr> {
    unpadded(value).parse().ok()
}

/// The range, or the address with the length of its network, that a text is to those who take zeros before a number for nothing.
pub(super) fn lenient_range(value: &str) -> Option<IpNet> {
    unpadded(value).parse().ok()
}

/// Checks an address; it is what `value` means to those who take zeros before a number for nothing, if anything.
pub(super) fn address(value: &str, path: &Path<'_>, errors: &mut FieldErrors) -> Option<IpAddr> {
    let plain = unpadded(value);
    let read: Option<IpAddr> = plain.parse().ok();
    let why = match read {
        None => "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        Some(_) if plain != value => "must not have leading 0s",
        Some(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_some() => "must not be an IPv4-mapped IPv6 address",
        Some(_) => return read,
    };
    errors.invalid(path, value, why);
    read
}

/// Checks a range, as [`address`] does an address.
pub(super) fn range(value: &str, path: &Path<'_>, errors: &mut FieldErrors) -> Option<IpNet> {
    let plain = unpadded(value);
    let read: Option<IpNet> = plain.parse().ok();
    let why = match read {
        None => "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        Some(_) if plain != value => "must not have leading 0s in IP or prefix length",
        Some(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => "must not have an IPv4-mapped IPv6 address",
        Some(net) if net.addr() != net.network() => "must not have bits set beyond the prefix length",
        Some(_) => return read,
    };
    errors.invalid(path, value, why);
    read
}

/// The text without zeros before its decimal numbers: those of an IPv4 address, and the length of a prefix.
fn unpadded(value: &str) -> String {
    let (address, bits) = value.split_once('/').map_or((value, None), |(address, bits)| (address, Some(bits)));
    let address = match address.contains(':') {
        true => address.to_owned(),
        false => address.split('.').map(bare).collect::<Vec<&str>>().join("."),
    };
    match bits {
        Some(bits) => format!("{address}/{}", bare(bits)),
        None => address,
    }
}

fn bare(number: &str) -> &str {
    let bare = number.trim_start_matches('0');
    if bare.is_empty() && !number.is_empty() { "0" } else { bare }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T>(check: fn(&str, &Path<'_>, &mut FieldErrors) -> Option<T>, value: &str) -> (bool, String) {
        let mut errors = FieldErrors::new();
        let read = check(value, &Path::new("x"), &mut errors).is_some();
        (read, errors.0.into_iter().map(|error| error.detail).collect())
    }

    #[test]
    fn forms_of_addresses_that_programs_read_differently_are_refused() {
        for fine in ["10.0.0.7", "0.0.0.0", "FD00:0::7", "::", "fd00::1.2.3.4"] {
            assert_eq!(said(address, fine), (true, String::new()), "{fine}");
        }
        let none = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        for (value, read, why) in [
            ("10.96.0.011", true, "must not have leading 0s"),
            ("10.96.00.1", true, "must not have leading 0s"),
            ("::ffff:10.0.0.7", true, "must not be an IPv4-mapped IPv6 address"),
            ("10.0.0", false, none),
            ("10.0.0.0400", false, none),
            ("", false, none),
            ("fe80::1%eth0", false, none),
        ] {
            assert_eq!(said(address, value), (read, why.to_owned()), "{value}");
        }
    }

    #[test]
    fn ranges_end_where_their_prefix_does() {
        for fine in ["10.0.0.0/8", "10.0.0.7/32", "0.0.0.0/0", "FD00:0::/16", "::/0"] {
            assert_eq!(said(range, fine), (true, String::new()), "{fine}");
        }
        let none = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        for (value, read, why) in [
            ("192.168.0.5/24", true, "must not have bits set beyond the prefix length"),
            ("fd00::1/64", true, "must not have bits set beyond the prefix length"),
            ("010.0.0.0/8", true, "must not have leading 0s in IP or prefix length"),
            ("10.0.0.0/08", true, "must not have leading 0s in IP or prefix length"),
            ("::ffff:10.0.0.0/104", true, "must not have an IPv4-mapped IPv6 address"),
            ("10.0.0.0", false, none),
            ("10.0.0.0/33", false, none),
            ("10.0.0.0/", false, none),
        ] {
            assert_eq!(said(range, value), (read, why.to_owned()), "{value}");
        }
    }
}
