//! How long pods may take to end when the machine goes down, as both documents of a node say it.

use std::time::Duration;

use serde_json::Value;

use crate::Kubelet;

/// More than this is never waited for, seconds.
const MOST: u64 = 3600;

impl Kubelet {
    /// Seconds after which pods must have ended when the machine goes down: the longest that the machine config or its
    /// `KubeletConfiguration` (`shutdownGracePeriod`, or the sum of `shutdownGracePeriodByPodPriority`) leaves them, at most an hour.
    pub fn longest_shutdown_seconds(&self) -> u32 {
        let whole = self.config.get("shutdownGracePeriod").and_then(Value::as_str).and_then(go_duration);
        let whole = whole.map_or(0, |period| period.as_secs());
        let turns = self.config.get("shutdownGracePeriodByPodPriority").and_then(Value::as_array);
        let each = turns.into_iter().flatten().filter_map(|turn| turn.get("shutdownGracePeriodSeconds")?.as_u64());
        let by_priority = each.fold(0_u64, u64::saturating_add);
        let longest = whole.max(by_priority).min(MOST);
        u32::try_from(longest).unwrap_or(u32::MAX).max(self.shutdown_grace_period_seconds)
    }
}

/// A duration in Go's form: `1h30m`, `1.5s`, `300ms`.
pub fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0_f64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at_checked(end)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_machine_waits_as_long_as_either_document_says() {
        let turn = |seconds: i64| json!({"priority": 0, "shutdownGracePeriodSeconds": seconds});
        for (config, want) in [
            (Value::Null, 30),
            (json!({"shutdownGracePeriod": "5s"}), 30),
            (json!({"shutdownGracePeriod": "2m"}), 120),
            (json!({"shutdownGracePeriod": "2d"}), 30),
            (json!({"shutdownGracePeriod": "99h"}), 3600),
            (json!({"shutdownGracePeriodByPodPriority": [turn(40), turn(-1), turn(60), {}]}), 100),
            (json!({"shutdownGracePeriodByPodPriority": 7}), 30),
        ] {
            let kubelet = Kubelet { config: config.clone(), ..Default::default() };
            assert_eq!(kubelet.longest_shutdown_seconds(), want, "{config}");
        }
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, want) in [
            ("5m0s", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("300ms", Some(300)),
            ("1.5s", Some(1500)),
            ("0", Some(0)),
            ("", None),
            ("5", None),
            ("m", None),
            ("5x", None),
            ("-1s", None),
        ] {
            assert_eq!(go_duration(text).map(|d| d.as_millis()), want, "{text}");
        }
    }
}
