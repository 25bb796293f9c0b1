//! How long claims of devices take.

use std::time::Duration;

use super::Timing;

/// Bounds up to the longest call of a plugin, seconds: fifteen, each so many times the one before, as upstream's.
const CLAIMS: &[f64] = &[
    0.1,
    0.1534127404634391,
    0.23535468936502524,
    0.36106407876409946,
    0.5539182980610752,
    0.8497812409839363,
    1.303672689737678,
    1.9999999999999993,
    3.068254809268781,
    4.707093787300503,
    7.221281575281985,
    11.0783659612215,
    16.995624819678717,
    26.07345379475355,
    39.99999999999997,
];

/// Timings of claims.
pub struct ClaimMeters {
    operations: Timing,
    /// Calls of plugins, by driver, method and outcome.
    pub calls: Timing,
}

impl Default for ClaimMeters {
    fn default() -> Self {
        Self {
            operations: Timing::new(
                "dra_operations_duration_seconds",
                "Duration in seconds for all claims of a pod together, by what was done with them and whether that failed.",
                &["operation_name", "is_error"],
                CLAIMS,
            ),
            calls: Timing::new(
                "dra_grpc_operations_duration_seconds",
                "Duration in seconds of calls of DRA drivers.",
                &["driver_name", "method_name", "grpc_status_code"],
                CLAIMS,
            ),
        }
    }
}

impl ClaimMeters {
    /// All claims of a pod were to be prepared or taken back.
    pub fn operated(&self, operation: &str, good: bool, took: Duration) {
        self.operations.observe(&[operation, if good { "false" } else { "true" }], took);
    }

    /// The timings of `/metrics`.
    pub fn timings(&self) -> [&Timing; 2] {
        [&self.operations, &self.calls]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_apart() {
        let meters = ClaimMeters::default();
        meters.operated("PrepareResources", true, Duration::from_secs(2));
        meters.operated("PrepareResources", false, Duration::from_secs(1));
        let told = meters.operations.read();
        let of = |error: &str| told.get(["PrepareResources", error].map(str::to_owned).as_slice()).map(|s| s.count);
        assert_eq!((of("false"), of("true")), (Some(1), Some(1)));
        assert!(CLAIMS.is_sorted());
    }
}
