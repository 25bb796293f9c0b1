//! RFC 3339 times as the API writes them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Seconds, in UTC: `2024-01-02T03:04:05Z`.
pub fn format_time(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Microseconds, in UTC: `2024-01-02T03:04:05.000006Z`.
pub fn format_micro_time(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Parses either form, and any RFC 3339 time with an offset.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    // jiff accepts more than RFC 3339 (spaces, missing seconds); the API does not.
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 20
        && bytes.get(10) == Some(&b'T')
        && bytes.get(16) == Some(&b':')
        && bytes.get(4) == Some(&b'-');
    if shape { text.parse().ok() } else { None }
}

/// A time of a client in the server's form: UTC, whole seconds. `None` when it is no RFC 3339 time.
pub fn canonical_time(text: &str) -> Option<String> {
    parse_time(text).map(format_time)
}

/// As [`canonical_time`] in microseconds.
pub fn canonical_micro_time(text: &str) -> Option<String> {
    parse_time(text).map(format_micro_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_utc_with_the_precision_of_their_type() {
        for (given, seconds, micros) in [
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z", "2024-01-02T03:04:05.000000Z"),
            ("2024-01-02T03:04:05.987654321Z", "2024-01-02T03:04:05Z", "2024-01-02T03:04:05.987654Z"),
            ("2024-01-02T05:04:05+02:00", "2024-01-02T03:04:05Z", "2024-01-02T03:04:05.000000Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000000Z"),
            ("0001-01-01T00:00:02.000000Z", "0001-01-01T00:00:02Z", "0001-01-01T00:00:02.000000Z"),
        ] {
            assert_eq!(canonical_time(given).as_deref(), Some(seconds));
            assert_eq!(canonical_micro_time(given).as_deref(), Some(micros));
        }
    }

    #[test]
    fn what_is_no_rfc_3339_time_is_refused() {
        for text in ["", "now", "2024-01-02", "2024-01-02 03:04:05Z", "2024-13-02T03:04:05Z", "2024-01-02T03:04Z"] {
            assert_eq!(canonical_time(text), None, "{text}");
        }
    }
}
