//! The clock, and what netd last heard from a time server.

use rk_machine_proto::v1::TimeReply;
use std::time::{SystemTime, UNIX_EPOCH};

/// Written by netd after each answer: server and microseconds; `off` when the config turns it off.
const HEARD: &str = "/run/rk/time";

/// The time now and how well it is known.
pub fn read() -> TimeReply {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    judge(&super::text(HEARD, 4096), i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

fn judge(heard: &str, unix_millis: i64) -> TimeReply {
    let mut words = heard.split_whitespace();
    let server = words.next().unwrap_or_default();
    let offset = words.next().and_then(|micros| micros.parse().ok());
    TimeReply {
        unix_millis,
        server: if server == "off" { String::new() } else { server.to_owned() },
        offset_micros: offset.unwrap_or(0),
        synchronized: server == "off" || offset.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_as_synchronized_once_a_server_answered_or_when_none_is_wanted() {
        assert!(judge("10.0.0.1 -25\n", 0).synchronized);
        assert_eq!(judge("10.0.0.1 -25\n", 0).offset_micros, -25);
        assert!(judge("off\n", 0).synchronized);
        assert!(!judge("", 0).synchronized);
        assert!(!judge("10.0.0.1 x", 0).synchronized);
    }
}
