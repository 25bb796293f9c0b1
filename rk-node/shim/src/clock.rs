//! Wall-clock time as the log format and exit records want it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch; 0 if the clock is set before it.
pub fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or(0)
}

/// RFC 3339 in UTC with nine fractional digits, always 30 bytes for years 1970 to 9999.
pub fn rfc3339(ns: i64) -> String {
    let ns = ns.max(0);
    let (seconds, fraction) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, date) = civil(day);
    format!(
        "{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{fraction:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Day number since 1970-01-01 to (year, month, day) of the Gregorian calendar, counted in 400-year eras that begin in March.
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let (era, in_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * in_year + 2) / 153;
    let date = in_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn known_instants_are_printed_as_logs_want_them() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_709_251_199_999_999_999, "2024-02-29T23:59:59.999999999Z"),
            (1_763_633_400_120_000_000, "2025-11-20T10:10:00.120000000Z"),
        ] {
            assert_eq!(rfc3339(ns), text);
        }
    }
}
