use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch, at least 1: CRI calls 0 "not specified".
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    since.and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or(1).max(1)
}
