//! For how long a busy registry wants to be left alone, and for how long it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};

/// What a pull waits for one endpoint in all: the next one may be less busy, and so may this one be at the next attempt of the kubelet.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who wants to be asked again at once is asked this late.
const LEAST: Duration = Duration::from_secs(1);

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The wait that an answer of 429 or 503 asks for by `Retry-After`: seconds or a date (RFC 9110 §10.2.3).
pub(crate) fn asked(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let told = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match told.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => date(told)?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.max(LEAST))
}

/// A date in any of the three forms of HTTP (RFC 9110 §5.6.7), from 1970 on.
fn date(text: &str) -> Option<SystemTime> {
    let parts: Vec<&str> = text.split([' ', ',', '-']).filter(|part| !part.is_empty()).collect();
    let (day, month, year, time) = match *parts.as_slice() {
        [_, day, month, year, time, "GMT"] => (day, month, year, time),
        [_, month, day, time, year] => (day, month, year, time),
        _ => return None,
    };
    let number = |text: &str, most: u64| text.parse::<u64>().ok().filter(|number| *number <= most);
    let day = number(day, 31)?;
    let month = MONTHS.iter().position(|known| *known == month)?;
    let year = match number(year, 9999)? {
        year @ 0..70 => year + 2000,
        year @ 70..100 => year + 1900,
        year => year,
    };
    let mut clock = time.split(':').map(|part| number(part, 60));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Years and months are counted from March, so that a leap day is the last of its year.
    let (year, month) = if month < 2 { (year.checked_sub(1)?, month + 10) } else { (year, month - 2) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month as u64 + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    Some(UNIX_EPOCH + Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

/// What is left of the time that one endpoint may keep a pull waiting. Waits side by side count once.
pub(crate) struct Patience {
    left: Duration,
    /// When the last wait ends.
    until: Option<Instant>,
}

impl Patience {
    /// All of it.
    pub fn new() -> Self {
        Self { left: PATIENCE, until: None }
    }

    /// Whether one may wait for so long from now on.
    pub fn grant(&mut self, now: Instant, wait: Duration) -> bool {
        let Some(end) = now.checked_add(wait) else { return false };
        let counted = self.until.map_or(now, |until| until.max(now));
        let Some(left) = self.left.checked_sub(end.saturating_duration_since(counted)) else { return false };
        self.left = left;
        self.until = Some(end.max(counted));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_registry_tells_seconds_or_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (status, told, wait) in [
            (429, "7", Some(7)),
            (503, " 120 ", Some(120)),
            (429, "0", Some(1)),
            (429, "Sun, 06 Nov 1994 08:50:00 GMT", Some(23)),
            (429, "Sunday, 06-Nov-94 08:50:00 GMT", Some(23)),
            (503, "Sun Nov  6 08:50:00 1994", Some(23)),
            (503, "Wed, 01 Mar 1995 00:00:00 GMT", Some(9_904_223)),
            (503, "Sun, 06 Nov 1994 08:00:00 GMT", Some(1)),
            (503, "Sun, 06 Nov 1969 08:00:00 GMT", None),
            (429, "Sun, 06 Nov 1994 08:50 GMT", None),
            (429, "Sun, 06 Foo 1994 08:50:00 GMT", None),
            (429, "-1", None),
            (429, "soon", None),
            (429, "", None),
            (500, "7", None),
            (200, "7", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, told.parse().expect("header"));
            let status = StatusCode::from_u16(status).expect("status");
            assert_eq!(asked(status, &headers, now), wait.map(Duration::from_secs), "{status} {told:?}");
        }
        assert_eq!(asked(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), now), None);
    }

    #[test]
    fn waits_are_bounded_together_and_those_side_by_side_count_once() {
        let begin = Instant::now();
        let mut patience = Patience::new();
        for (at, wait, granted) in [
            (0, 61, false),
            (0, 20, true),
            (5, 15, true),
            (10, 20, true),
            // Of these 20 s, ten were waited for already.
            (40, 31, false),
            (40, 30, true),
            (90, 1, false),
            (60, 10, true),
        ] {
            let now = begin + Duration::from_secs(at);
            assert_eq!(patience.grant(now, Duration::from_secs(wait)), granted, "{wait} s at {at} s");
        }
        assert!(!patience.grant(begin, Duration::MAX));
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_the_parser_panic(text in ".{0,60}") {
            let _ = date(&text);
        }
    }
}
