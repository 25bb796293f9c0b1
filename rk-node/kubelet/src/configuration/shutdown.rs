//! How long pods may take to end when the machine goes down: three keys that are read together.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Reader;
use super::read::duration;
use crate::options::Options;
use crate::shutdown::{PriorityGrace, ShutdownGrace};

const WHOLE: &str = "shutdownGracePeriod";
const CRITICAL: &str = "shutdownGracePeriodCriticalPods";
const BY_PRIORITY: &str = "shutdownGracePeriodByPodPriority";

impl Reader {
    /// Takes over what the document says instead of what the machine does. As upstream: critical pods have no time of their own when
    /// the document names the whole alone.
    pub(super) fn shutdown(&mut self, options: &mut Options, document: &Map<String, Value>) {
        let (whole, critical) = (self.period(document, WHOLE), self.period(document, CRITICAL));
        let by_priority = self.by_priority(document);
        if !by_priority.is_empty() {
            if [whole, critical].into_iter().flatten().all(|period| period.is_zero()) {
                options.shutdown = ShutdownGrace { by_priority, ..Default::default() };
                return;
            }
            self.warn(BY_PRIORITY, &format!("cannot be specified at the same time as {WHOLE}: left out"));
        }
        if let Some(whole) = whole {
            options.shutdown = ShutdownGrace { whole, ..Default::default() };
        }
        match critical {
            Some(critical) if critical > options.shutdown.whole => {
                self.warn(CRITICAL, &format!("must be <= {WHOLE} {:?}: left out", options.shutdown.whole));
            }
            Some(critical) => options.shutdown.critical = critical,
            None => {}
        }
    }

    /// One of the periods, when it is there and right.
    fn period(&mut self, document: &Map<String, Value>, key: &str) -> Option<Duration> {
        let value = document.get(key)?;
        let period = value.as_str().and_then(duration).filter(|t| t.is_zero() || *t >= Duration::from_secs(1));
        if period.is_none() {
            self.warn(key, &format!("{value} must be either zero or otherwise >= 1 sec: left out"));
        }
        period
    }

    fn by_priority(&mut self, document: &Map<String, Value>) -> Vec<PriorityGrace> {
        let mut periods: Vec<PriorityGrace> = Vec::new();
        if let Some(value) = document.get(BY_PRIORITY) {
            self.set(BY_PRIORITY, value, &mut periods);
        }
        if periods.iter().any(|period| period.shutdown_grace_period_seconds < 0) {
            self.warn(BY_PRIORITY, "shutdownGracePeriodSeconds must not be negative: left out");
            periods.clear();
        }
        periods
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::configure;
    use super::*;
    use crate::Cluster;

    #[test]
    fn the_periods_are_read_together() {
        let turn = |priority: i32, seconds: i64| json!({"priority": priority, "shutdownGracePeriodSeconds": seconds});
        for (document, want, warned) in [
            (json!({}), (30, 10, 0), None),
            (json!({WHOLE: "1m"}), (60, 0, 0), None),
            (json!({WHOLE: "0s"}), (0, 0, 0), None),
            (json!({WHOLE: "1s"}), (1, 0, 0), None),
            (json!({WHOLE: "500ms"}), (30, 10, 0), Some(WHOLE)),
            (json!({WHOLE: "-1s"}), (30, 10, 0), Some(WHOLE)),
            (json!({WHOLE: "1m", CRITICAL: "20s"}), (60, 20, 0), None),
            (json!({CRITICAL: "20s"}), (30, 20, 0), None),
            (json!({WHOLE: "1m", CRITICAL: "61s"}), (60, 0, 0), Some(CRITICAL)),
            (json!({BY_PRIORITY: [turn(0, 20), turn(1000, 5)]}), (0, 0, 2), None),
            (json!({BY_PRIORITY: [turn(0, -1)]}), (30, 10, 0), Some(BY_PRIORITY)),
            (json!({BY_PRIORITY: [{"priority": 0}]}), (30, 10, 0), Some(BY_PRIORITY)),
            (json!({BY_PRIORITY: [turn(0, 20)], WHOLE: "0s", CRITICAL: "0s"}), (0, 0, 1), None),
            (json!({BY_PRIORITY: [turn(0, 20)], WHOLE: "9s"}), (9, 0, 0), Some(BY_PRIORITY)),
        ] {
            let mut options = Options::new("n", Cluster::default());
            let warnings = configure(&mut options, &document);
            let named: Vec<&str> = warnings.iter().filter_map(|warning| warning.split(':').next()).collect();
            assert_eq!(named, warned.into_iter().collect::<Vec<_>>(), "{document}");
            let grace = &options.shutdown;
            assert_eq!((grace.whole.as_secs(), grace.critical.as_secs(), grace.by_priority.len()), want, "{document}");
        }
    }
}
