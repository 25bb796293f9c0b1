//! Durations as people read them.

use jiff::Timestamp;

use crate::meta::parse_time;

/// How long ago `time` was, or `<unknown>` when there is no time.
pub(super) fn since(time: &str, now: Timestamp) -> String {
    parse_time(time).map_or_else(|| "<unknown>".to_owned(), |time| human(now.as_second() - time.as_second()))
}

/// A duration in at most two units, coarser as it grows: `45s`, `3m20s`, `26m`, `5h12m`, `3d4h`, `12d`, `2y5d`, `9y`.
pub(super) fn human(seconds: i64) -> String {
    // A clock that runs a little behind must not show ages below zero.
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{small_unit}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => pair(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}
