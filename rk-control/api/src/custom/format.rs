//! The formats of strings that schemas may ask for.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;
use regex_lite::Regex;

/// Formats that are a pattern and no more, by their names without hyphens.
const SHAPES: [(&str, &str); 8] = [
    ("bsonobjectid", "(?i)^[0-9a-f]{24}$"),
    ("hexcolor", "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"),
    (
        "rgbcolor",
        r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$",
    ),
    ("ssn", r"^\d{3}[- ]\d{2}[- ]\d{4}$"),
    ("uuid", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
    ("uuid3", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
    ("uuid4", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
    ("uuid5", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
];
static COMPILED: LazyLock<Vec<(&str, Regex)>> =
    LazyLock::new(|| SHAPES.iter().filter_map(|(name, shape)| Some((*name, Regex::new(shape).ok()?))).collect());

/// Units of durations as people write them. What begins with the last name of a unit is that unit, too.
const UNITS: [&[&str]; 8] = [
    &["ns", "nano"],
    &["us", "µs", "micro"],
    &["ms", "milli"],
    &["s", "sec"],
    &["m", "min"],
    &["h", "hr", "hour"],
    &["d", "day"],
    &["w", "wk", "week"],
];

/// Formats that say what a type says, or nothing that a text could lack.
const SAID_ELSEWHERE: [&str; 1] = ["password"];

/// Whether a text has a format; formats that are unknown hold for every text, as upstream says.
pub fn holds(format: &str, text: &str) -> bool {
    let name = format.replace('-', "");
    if let Some((_, shape)) = COMPILED.iter().find(|(own, _)| *own == name) {
        return shape.is_match(text);
    }
    check(&name).is_none_or(|holds| holds(text))
}

/// Whether any version of the API knows a format of values of a type; without a type it is one of texts. Hyphens count in those alone
/// that came later.
pub fn is_known(kind: &str, format: &str) -> bool {
    match kind {
        "" | "string" => is_of_texts(format),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

fn is_of_texts(format: &str) -> bool {
    match format.replace('-', "").as_str() {
        "k8sshortname" => format == "k8s-short-name",
        "k8slongname" => format == "k8s-long-name",
        name => check(name).is_some() || SHAPES.iter().any(|(own, _)| *own == name) || SAID_ELSEWHERE.contains(&name),
    }
}

/// A number without the noughts before it.
fn plain(number: &str) -> &str {
    match number.trim_start_matches('0') {
        "" if !number.is_empty() => "0",
        rest => rest,
    }
}

/// Noughts before a number say nothing.
fn ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').map(plain).collect();
    parts.len() > 1 && (text.parse::<IpAddr>().is_ok() || parts.join(".").parse::<IpAddr>().is_ok())
}

/// What a format asks of a text that is more than a pattern, by its name without hyphens.
fn check(name: &str) -> Option<fn(&str) -> bool> {
    Some(match name {
        "date" => date,
        "datetime" => date_time,
        "byte" => base64,
        // One that maps the other kind is of both.
        "ipv4" => ipv4,
        "ipv6" => |text| text.contains(':') && text.parse::<IpAddr>().is_ok(),
        "cidr" => |text| text.parse::<IpNet>().is_ok(),
        "email" => email,
        "hostname" => hostname,
        "uri" => uri,
        "mac" => mac,
        "duration" => |text| duration(text) || loose_duration(text),
        "isbn" => |text| isbn10(text) || isbn13(text),
        "isbn10" => isbn10,
        "isbn13" => isbn13,
        "creditcard" => card,
        "k8sshortname" => |text| crate::meta::dns1123_label(text).is_empty(),
        "k8slongname" => |text| crate::meta::dns1123_subdomain(text).is_empty(),
        _ => return None,
    })
}

fn hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Labels in either case; letters and signs of any script may stand for those of ASCII.
fn hostname(text: &str) -> bool {
    let plain = |c: char| match c.is_ascii() || c.is_whitespace() {
        true => c.to_ascii_lowercase(),
        false => 'a',
    };
    // A name of several labels ends in one of letters alone.
    let ends = text
        .rsplit_once('.')
        .is_none_or(|(_, last)| last.chars().count() >= 2 && last.chars().all(char::is_alphabetic));
    ends && text.split('.').all(|label| label.len() <= 63)
        && crate::meta::dns1123_subdomain(&text.chars().map(plain).collect::<String>()).is_empty()
}

/// Six, eight or twenty bytes.
fn mac(text: &str) -> bool {
    [(':', 2), ('-', 2), ('.', 4)].into_iter().any(|(separator, digits)| {
        let mut parts = text.split(separator);
        matches!(parts.clone().count() * digits / 2, 6 | 8 | 20) && parts.all(|part| hex(part, digits))
    })
}

/// An address by itself, or behind a name and between angles; spaces may stand around it, and a comment behind it.
fn email(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_suffix(')').and_then(|text| text.rsplit_once('(')).map_or(text, |(text, _)| text.trim_end());
    let bare = text.strip_suffix('>').and_then(|text| text.rsplit_once('<')).map_or(text, |(_, bare)| bare);
    let Some((local, host)) = bare.rsplit_once('@') else { return false };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let atoms = |text: &str| {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"()<>[]:;@\\,\"".contains(c);
        text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(plain))
    };
    let literal = host.starts_with('[') && host.ends_with(']');
    (quoted || atoms(local)) && (literal || atoms(host))
}

/// A date and a time with its offset, which nobody bounds.
fn date_time(text: &str) -> bool {
    const TIME: &str = r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(.\d+)?(z|[+-]\d{2}:\d{2})$";
    static SHAPE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(TIME).ok());
    let lower = text.to_ascii_lowercase();
    let mut parts = lower.split('t');
    let (Some(day), Some(time)) = (parts.next(), parts.next()) else { return false };
    date(day) && SHAPE.as_ref().is_some_and(|shape| shape.is_match(time))
}

fn date(text: &str) -> bool {
    jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok() && text.len() == 10
}

/// Base64 with its padding, at least one group of it; what the bits beyond the last byte are is nothing to it.
fn base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    !digits.is_empty() && text.len().is_multiple_of(4) && text.len() - digits.len() <= 2 && digits.bytes().all(plain)
}

/// What may stand in a request: a path from the root, or anything behind a scheme. Nothing takes a fragment off.
fn uri(text: &str) -> bool {
    if text.chars().any(|c| c.is_ascii_control()) {
        return false;
    }
    let (absolute, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (true, rest),
        _ => (false, text),
    };
    let rest = rest.split('?').next().unwrap_or_default();
    if !rest.starts_with('/') {
        return absolute || text == "*";
    }
    let Some(rest) = rest.strip_prefix("//").filter(|_| absolute) else { return escapes(rest) };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let of_user = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:%@".contains(c);
    user.chars().all(of_user) && escapes(user) && is_host(host) && escapes(path)
}

/// A host, in brackets where it has colons, and perhaps a port behind it.
fn is_host(text: &str) -> bool {
    let port = match text.starts_with('[') {
        true => text.rsplit_once(']').map(|(_, after)| after),
        false => Some(text.rfind(':').and_then(|at| text.get(at..)).unwrap_or_default()),
    };
    let numbered = |port: &str| {
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let plain = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"%".contains(c);
    // Only what is no ASCII is escaped here, and the percent sign before a zone.
    let escaped = |after: &str| after.starts_with("25") || after.starts_with(|c: char| !('0'..='7').contains(&c));
    port.is_some_and(numbered) && text.chars().all(plain) && escapes(text) && text.split('%').skip(1).all(escaped)
}

fn is_scheme(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(letter)
}

/// Whether two digits follow every percent sign.
fn escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|after| after.get(..2).is_some_and(|digits| hex(digits, 2)))
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

/// Durations as people write them: `1 day`, `3 weeks`, whatever stands around them.
fn loose_duration(text: &str) -> bool {
    static SPAN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(\d+)\s*([A-Za-zµ]+)").ok());
    let Some(span) = &*SPAN else { return false };
    let mut found = false;
    for parts in span.captures_iter(text) {
        let part = |place: usize| parts.get(place).map_or("", |part| part.as_str());
        if part(1).parse::<i64>().is_err() {
            return false;
        }
        let unit = part(2).to_lowercase();
        found |= UNITS
            .iter()
            .any(|names| names.contains(&unit.as_str()) || names.last().is_some_and(|last| unit.starts_with(*last)));
    }
    found
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> {
    text.chars().map(|c| c.to_digit(10).unwrap_or(10))
}

/// A book's number without what is written between its digits.
fn bare_isbn(text: &str) -> String {
    text.chars().filter(|c| *c != '-' && !c.is_ascii_whitespace()).collect()
}

fn isbn10(text: &str) -> bool {
    let bare = bare_isbn(text);
    let number = bare.strip_suffix('X').filter(|_| bare.len() == 10).unwrap_or(&bare);
    // X is ten.
    let sum = || (1..).zip(digits(&bare)).map(|(factor, digit): (u32, u32)| factor * digit).sum::<u32>();
    bare.len() == 10 && number.bytes().all(|byte| byte.is_ascii_digit()) && sum().is_multiple_of(11)
}

fn isbn13(text: &str) -> bool {
    let bare = bare_isbn(text);
    let sum = || [1, 3].into_iter().cycle().zip(digits(&bare)).map(|(factor, digit)| factor * digit).sum::<u32>();
    bare.len() == 13 && bare.bytes().all(|byte| byte.is_ascii_digit()) && sum().is_multiple_of(10)
}

/// A number of a card whose issuer is known and whose last digit is right.
fn card(text: &str) -> bool {
    const ISSUED: &str = r"^(?:4\d{12}(?:\d{3})?|5[1-5]\d{14}|6(?:011|5\d\d)\d{12}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|(?:2131|1800|35\d{3})\d{11})$";
    static SHAPE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(ISSUED).ok());
    let bare: String = text.chars().filter(char::is_ascii_digit).collect();
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let counted = digits(&bare).rev().enumerate();
    let sum: u32 = counted.map(|(place, digit)| if place.is_multiple_of(2) { digit } else { doubled(digit) }).sum();
    SHAPE.as_ref().is_some_and(|shape| shape.is_match(&bare)) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_formats_that_upstream_finds_in_them() {
        for (format, good, bad) in [
            (
                "uri",
                &[
                    "http://a.b/c d?x#y",
                    "/a/b",
                    "//a b/c",
                    "*",
                    "mailto:a%zz",
                    "urn:x:y",
                    "http:///a",
                    "HTTPS://u:p%20w@[::1]:8443/x?%zz",
                    "oci://a.b:/c#d",
                    "http://\u{fc}.b%c3%bc",
                    "unix:///run/a.sock",
                ][..],
                &[
                    "a/b",
                    "",
                    "http://a b/",
                    "/%zz",
                    "://x",
                    "http://a#b",
                    "http://a:b/",
                    "http://[::1/",
                    "http://a%41/",
                    "http://u|@a/",
                    "a_b:c",
                    "?a:b",
                ][..],
            ),
            (
                "email",
                &["a@b", "A B <a.b@c.d>", "\"a b\"@c", " a@b ", "a@b (c)"],
                &["a", "@b", "a@", "a b@c", "a@b@c", "a..b@c"],
            ),
            ("duration", &["1h30m", "0", "1 day", "3 weeks", "2d", "5 Minutes"], &["", "day", "5", "1 fortnight"]),
            (
                "mac",
                &["01:23:45:67:89:ab", "01-23-45-67-89-AB", "0123.4567.89ab", "01:23:45:67:89:ab:cd:ef"],
                &["01:23:45:67:89", "01:23:45-67:89:ab", "0123456789ab"],
            ),
            ("uuid", &["123e4567-e89b-12d3-a456-426614174000", "123E4567E89B12D3A456426614174000"], &["123e4567-e89b"]),
            ("uuid4", &["123e4567-e89b-42d3-a456-426614174000"], &["123e4567-e89b-12d3-a456-426614174000"]),
            ("isbn", &["0-306-40615-2", "080442957X", "978-0-306-40615-7"], &["0-306-40615-3", "9780306406158", "X"]),
            ("isbn10", &["0306406152"], &["9780306406157", "03064X6152"]),
            ("creditcard", &["4111 1111 1111 1111", "5555-5555-5555-4444"], &["4111111111111112", "1", ""]),
            ("ssn", &["123-45-6789", "123 45-6789"], &["12-345-6789", "123456789"]),
            ("hexcolor", &["#fff", "A0b1C2"], &["#ffff", "red"]),
            ("rgbcolor", &["rgb(0, 10,255)"], &["rgb(0,0,256)", "rgb(0,0)"]),
            ("bsonobjectid", &["507f1f77bcf86cd799439011"], &["507f1f77"]),
            (
                "date-time",
                &["2024-01-02T03:04:05Z", "2024-01-02t03:04:05.6789z", "2024-01-02T23:59:59,1-12:00"],
                &[
                    "2024-01-02",
                    "2024-01-02 03:04:05Z",
                    "2024-01-02T24:04:05Z",
                    "2024-02-30T03:04:05Z",
                    "2024-01-02T03:04:05",
                ],
            ),
            ("byte", &["QQ==", "QR==", "QUI=", "QUJD"], &["", "QQ", "QQ=", "====", "Q===", "QQ-=", "QQ==\n"]),
            (
                "hostname",
                &["A.b.example", "b\u{fc}cher.example", "a-b"],
                &["", "a_b", "-a", "a..b", "a\u{a0}b", "a.b", "a.1", "1.2.3.4"],
            ),
            ("password", &[""], &[]),
            ("int-or-string", &["x"], &[]),
            ("ipv-4", &["1.2.3.4", "::ffff:1.2.3.4", "01.002.0.4"], &["::1", "1..2.3", "a.b"]),
            ("ipv6", &["::1", "::ffff:1.2.3.4"], &["1.2.3.4", "fe80::1%eth0"]),
            ("k8s-short-name", &["a-b"], &["a.b"]),
            ("nonsense", &["anything"], &[]),
        ] {
            for text in good {
                assert!(holds(format, text), "{format}: {text}");
            }
            for text in bad {
                assert!(!holds(format, text), "{format}: {text}");
            }
        }
    }
}
