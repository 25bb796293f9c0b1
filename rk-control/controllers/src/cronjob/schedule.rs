//! Cron schedules: five fields, or a macro such as `@hourly` or `@every 5m`.

use jiff::civil::{DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Days searched for the next time; a schedule such as February 30 never comes.
const HORIZON_DAYS: i32 = 366 * 5;

/// A schedule that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unparseable schedule: {0}")]
pub(super) struct Unparseable(String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Bits of allowed values; `any_*` say that the field was `*`, which changes how days combine.
    Fields {
        minutes: u64,
        hours: u64,
        days: u64,
        months: u64,
        weekdays: u64,
        any_day: bool,
        any_weekday: bool,
    },
    Every(SignedDuration),
}

/// A parsed schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule(Kind);

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    pub(super) fn parse(text: &str) -> Result<Self, Unparseable> {
        let bad = || Unparseable(text.to_owned());
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        if let Some(every) = text.strip_prefix("@every ") {
            let every: SignedDuration = every.trim().parse().map_err(|_| bad())?;
            return if every >= SignedDuration::from_secs(1) { Ok(Self(Kind::Every(every))) } else { Err(bad()) };
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let &[minutes, hours, days, months, weekdays] = fields.as_slice() else { return Err(bad()) };
        let field = |text: &str, min, max, names: &[&str], first| bits(text, min, max, names, first).ok_or_else(bad);
        let sunday_twice = field(weekdays, 0, 7, &WEEKDAYS, 0)?;
        Ok(Self(Kind::Fields {
            minutes: field(minutes, 0, 59, &[], 0)?,
            hours: field(hours, 0, 23, &[], 0)?,
            days: field(days, 1, 31, &[], 0)?,
            months: field(months, 1, 12, &MONTHS, 1)?,
            weekdays: (sunday_twice | (sunday_twice >> 7)) & 0x7f,
            any_day: days.starts_with('*') || days == "?",
            any_weekday: weekdays.starts_with('*') || weekdays == "?",
        }))
    }

    /// The first time after `after`, in local time of `zone`; `None` if it never comes.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let (hours, minutes) = match &self.0 {
            Kind::Every(every) => return after.checked_add(*every).ok(),
            Kind::Fields { minutes, hours, .. } => (*hours, *minutes),
        };
        let mut date = zone.to_datetime(after).date();
        for _ in 0..HORIZON_DAYS {
            if self.admits_day(date.month(), date.day(), date.weekday()) {
                let times =
                    times_of(hours, minutes).flat_map(|(hour, minute)| instants(zone, date.at(hour, minute, 0, 0)));
                if let Some(at) = times.flatten().filter(|at| *at > after).min() {
                    return Some(at);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// A time, `at` or later, after which the latest one that has passed by `now` is the first to come; `at` where none has passed since.
    pub(super) fn before_latest(&self, at: Timestamp, now: Timestamp, zone: &TimeZone) -> Timestamp {
        if let Kind::Every(every) = &self.0 {
            // Times go on from `at` in even steps, so the one before the latest is one of them, too.
            let steps = now.duration_since(at).as_nanos() / every.as_nanos().max(1);
            let back = i32::try_from(steps - 1).ok().filter(|steps| *steps > 0);
            return back.and_then(|steps| at.checked_add(every.checked_mul(steps)?).ok()).unwrap_or(at);
        }
        // The later one looks from, the later is what comes: found by halves, however many times there are.
        let (mut before, mut after) = (at.as_second(), now.as_second());
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            let next = Timestamp::from_second(middle).ok().and_then(|from| self.next(from, zone));
            if next.is_some_and(|next| next <= now) {
                before = middle;
            } else {
                after = middle;
            }
        }
        Timestamp::from_second(before).map_or(at, |from| from.max(at))
    }

    fn admits_day(&self, month: i8, day: i8, weekday: Weekday) -> bool {
        let Kind::Fields { days, months, weekdays, any_day, any_weekday, .. } = &self.0 else { return true };
        let has = |bits: u64, at: i8| bits & (1 << at) != 0;
        let (by_day, by_weekday) = (has(*days, day), has(*weekdays, weekday.to_sunday_zero_offset()));
        // Two restricted day fields add up, one alone restricts.
        let day = if *any_day || *any_weekday { by_day && by_weekday } else { by_day || by_weekday };
        has(*months, month) && day
    }
}

fn times_of(hours: u64, minutes: u64) -> impl Iterator<Item = (i8, i8)> {
    let hours = (0..24i8).filter(move |h| hours & (1 << h) != 0);
    hours.flat_map(move |h| (0..60i8).filter(move |m| minutes & (1 << m) != 0).map(move |m| (h, m)))
}

/// When clocks of `zone` show `civil`: never for a time that they skip in spring, twice for one that they show again in autumn.
fn instants(zone: &TimeZone, civil: DateTime) -> [Option<Timestamp>; 2] {
    let at = zone.to_ambiguous_timestamp(civil);
    match at.offset() {
        AmbiguousOffset::Gap { .. } => [None, None],
        AmbiguousOffset::Unambiguous { .. } => [at.compatible().ok(), None],
        AmbiguousOffset::Fold { .. } => [at.earlier().ok(), at.later().ok()],
    }
}

/// A field as bits: lists of `*`, `n`, `a-b`, each with an optional `/step`.
fn bits(text: &str, min: u32, max: u32, names: &[&str], first: u32) -> Option<u64> {
    let value = |text: &str| -> Option<u32> {
        let lower = text.to_ascii_lowercase();
        let named = names.iter().position(|name| *name == lower).map(|at| at as u32 + first);
        named.or_else(|| lower.parse().ok()).filter(|n| (min..=max).contains(n))
    };
    let mut bits = 0u64;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|s| *s > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (min, max),
            Some((from, to)) => (value(from)?, value(to)?),
            // `5/15` means from 5 to the end.
            None => (value(range)?, if step.is_some() { max } else { value(range)? }),
        };
        if from > to {
            return None;
        }
        (from..=to).step_by(step.unwrap_or(1) as usize).for_each(|n| bits |= 1 << n);
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str) -> Option<String> {
        let after = after.parse().expect("time");
        Schedule::parse(schedule).expect("valid").next(after, &TimeZone::UTC).map(|t| t.to_string())
    }

    #[test]
    fn the_next_time_follows_every_field() {
        let cases = [
            ("*/5 * * * *", "2026-01-01T00:02:30Z", "2026-01-01T00:05:00Z"),
            ("0 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
            ("30 4 1,15 * *", "2026-01-02T00:00:00Z", "2026-01-15T04:30:00Z"),
            ("0 0 * * mon", "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z"),
            ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("0 0 13 * fri", "2026-01-03T00:00:00Z", "2026-01-09T00:00:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("@daily", "2026-12-31T12:00:00Z", "2027-01-01T00:00:00Z"),
            ("@every 90s", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z"),
        ];
        for (schedule, after, expected) in cases {
            assert_eq!(next(schedule, after).as_deref(), Some(expected), "{schedule}");
        }
        assert_eq!(next("0 0 30 2 *", "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn an_hour_that_clocks_show_twice_has_its_times_twice_and_one_that_they_skip_none() {
        let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").expect("a zone");
        for (schedule, after, expected) in [
            ("*/5 * * * *", "2026-11-01T05:55:00Z", "2026-11-01T06:00:00Z"),
            ("0 * * * *", "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"),
            ("0 * * * *", "2026-11-01T06:00:00Z", "2026-11-01T07:00:00Z"),
            ("30 1 * * *", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
            ("30 1 * * *", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"),
            ("*/5 * * * *", "2026-03-08T06:55:00Z", "2026-03-08T07:00:00Z"),
            ("30 2 * * *", "2026-03-08T06:00:00Z", "2026-03-09T06:30:00Z"),
        ] {
            let after = after.parse().expect("time");
            let next = Schedule::parse(schedule).expect("valid").next(after, &zone).map(|t| t.to_string());
            assert_eq!(next.as_deref(), Some(expected), "{schedule} after {after}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "a * * * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "@sometimes",
            "@every 1ms",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
