//! Timestamps as the API wants them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The time now, cut to whole seconds: `metav1.Time` carries no more, so finer values would never compare equal.
pub fn now_seconds() -> Time {
    seconds(Timestamp::now())
}

/// A timestamp cut to whole seconds.
pub fn seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// Whole seconds from `then` to `now`, never negative.
pub fn elapsed(now: Timestamp, then: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// A CRI timestamp (nanoseconds since the epoch; zero means unset).
pub fn from_nanos(nanos: i64) -> Option<Timestamp> {
    if nanos <= 0 {
        return None;
    }
    Timestamp::from_nanosecond(nanos.into()).ok()
}
