//! The formats of strings that schemas may ask for.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

/// Whether a text has a format; formats that are unknown hold for every text, as upstream says.
pub fn holds(format: &str, text: &str) -> bool {
    match format {
        "date" => jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok() && text.len() == 10,
        "date-time" | "datetime" => crate::meta::canonical_micro_time(text).is_some(),
        "byte" => STANDARD.decode(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.parse::<IpNet>().is_ok(),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid(text),
        "email" => {
            text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains(|c: char| c != '@'))
        }
        "hostname" => crate::meta::dns1123_subdomain(&text.to_ascii_lowercase()).is_empty(),
        "uri" => text.contains(':') && !text.contains(char::is_whitespace),
        "mac" => text.split([':', '-']).count() == 6 && text.split([':', '-']).all(|part| hex(part, 2)),
        "duration" => duration(text),
        _ => true,
    }
}

fn hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn uuid(text: &str) -> bool {
    let bare: String = text.chars().filter(|letter| *letter != '-').collect();
    hex(&bare, 32)
}

/// Go's durations: `1h30m`, `-1.5s`.
fn duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let after = rest.get(digits..).unwrap_or_default();
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"]
            .iter()
            .filter(|unit| after.starts_with(**unit))
            .max_by_key(|unit| unit.len());
        let (Some(unit), true) = (unit, digits > 0) else { return false };
        rest = after.get(unit.len()..).unwrap_or_default();
    }
    true
}
