//! Points and lengths of time.

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use super::{Made, failed, int, no_overload, text};
use crate::eval::Failure;
use crate::registry::Row;
use crate::value::Value;

const SECOND: i64 = 1_000_000_000;

/// Rows of a function of a point in time, in UTC and in a zone.
macro_rules! parts {
    ($($name:literal $part:expr),*) => {
        &[$(
            Row($name, ".T>I", |_, a| part(a, $part)),
            Row($name, ".TS>I", |_, a| part(a, $part)),
        )*]
    };
}

pub(super) const PARTS: &[Row] = parts!(
    "getFullYear" | zoned: &Zoned | i64::from(zoned.year()),
    "getMonth" | zoned: &Zoned | i64::from(zoned.month()) - 1,
    "getDate" | zoned: &Zoned | i64::from(zoned.day()),
    "getDayOfMonth" | zoned: &Zoned | i64::from(zoned.day()) - 1,
    "getDayOfYear" | zoned: &Zoned | i64::from(zoned.day_of_year()) - 1,
    "getDayOfWeek" | zoned: &Zoned | i64::from(zoned.weekday().to_sunday_zero_offset()),
    "getHours" | zoned: &Zoned | i64::from(zoned.hour()),
    "getMinutes" | zoned: &Zoned | i64::from(zoned.minute()),
    "getSeconds" | zoned: &Zoned | i64::from(zoned.second()),
    "getMilliseconds" | zoned: &Zoned | i64::from(zoned.millisecond())
);

pub(super) const TABLE: &[Row] = &[
    Row("timestamp", "T>T", |_, a| a.first().cloned().map_or_else(no_overload, Ok)),
    Row("timestamp", "S>T", |_, a| match parse_time(text(a, 0)) {
        Some(time) => Ok(Value::Time(time)),
        None => failed(format!("invalid timestamp: {:?}", text(a, 0))),
    }),
    Row("timestamp", "I>T", |_, a| match Timestamp::from_second(int(a, 0)) {
        Ok(time) if time >= earliest() => Ok(Value::Time(time)),
        _ => failed("timestamp overflow"),
    }),
    Row("duration", "R>R", |_, a| a.first().cloned().map_or_else(no_overload, Ok)),
    Row("duration", "I>R", |_, a| Ok(Value::Span(int(a, 0)))),
    Row("duration", "S>R", |_, a| match parse_duration(text(a, 0)) {
        Some(nanos) => Ok(Value::Span(nanos)),
        None => failed(format!("time: invalid duration {:?}", text(a, 0))),
    }),
    Row("getHours", ".R>I", |_, a| span(a, 3600 * SECOND)),
    Row("getMinutes", ".R>I", |_, a| span(a, 60 * SECOND)),
    Row("getSeconds", ".R>I", |_, a| span(a, SECOND)),
    Row("getMilliseconds", ".R>I", |_, a| span(a, SECOND / 1000)),
];

/// The first second of year 1, before which there is no time.
pub(super) fn earliest() -> Timestamp {
    Timestamp::from_second(-62_135_596_800).unwrap_or(Timestamp::MIN)
}

/// A point in time as RFC 3339 writes it.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    // jiff reads more forms than RFC 3339 has.
    let strict = text.len() >= 20 && text.as_bytes().get(10).is_some_and(|byte| matches!(byte, b'T' | b't'));
    text.parse::<Timestamp>().ok().filter(|time| strict && *time >= earliest())
}

/// A length of time as Go writes it (`1h30m`, `-1.5s`), in nanoseconds.
#[must_use]
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let length = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let nanos: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || number.len() > 20 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(nanos)?)?;
        if !fraction.is_empty() {
            let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            total = total.checked_add(fraction.parse::<i128>().ok()? * nanos / scale)?;
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

pub(crate) fn show_time(time: Timestamp) -> String {
    time.to_string()
}

/// In seconds, with as many digits as it needs.
pub(crate) fn show_duration(nanos: i64) -> String {
    let amount = nanos.unsigned_abs();
    let (whole, fraction) = (amount / SECOND.unsigned_abs(), amount % SECOND.unsigned_abs());
    let fraction = format!("{fraction:09}");
    let fraction = fraction.trim_end_matches('0');
    let (sign, point) = (if nanos < 0 { "-" } else { "" }, if fraction.is_empty() { "" } else { "." });
    format!("{sign}{whole}{point}{fraction}s")
}

fn zone(name: &str) -> Result<TimeZone, Failure> {
    let wrong = || Failure::new(format!("unknown time zone {name}"));
    let Some((hours, minutes)) = name.split_once(':') else {
        return if matches!(name, "" | "UTC") { Ok(TimeZone::UTC) } else { TimeZone::get(name).map_err(|_| wrong()) };
    };
    let negative = hours.starts_with('-');
    let hours: i32 = hours.parse().map_err(|_| wrong())?;
    let minutes: i32 = minutes.parse().map_err(|_| wrong())?;
    let seconds = hours.abs().saturating_mul(3600).saturating_add(minutes.saturating_mul(60));
    let offset = Offset::from_seconds(if negative { -seconds } else { seconds }).map_err(|_| wrong())?;
    Ok(TimeZone::fixed(offset))
}

fn part<'a>(args: &[Value<'a>], part: fn(&Zoned) -> i64) -> Made<'a> {
    let [Value::Time(time), rest @ ..] = args else { return no_overload() };
    let zone = zone(text(rest, 0))?;
    Ok(Value::Int(part(&time.to_zoned(zone))))
}

fn span<'a>(args: &[Value<'a>], unit: i64) -> Made<'a> {
    match args {
        [Value::Span(nanos)] => Ok(Value::Int(nanos / unit)),
        _ => no_overload(),
    }
}
