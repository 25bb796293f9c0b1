//! Telemetry that needs no operator: metrics for Prometheus, logs for a collector.

mod figures;
mod record;
mod serve;
mod ship;
mod source;

pub use serve::serve;
pub use ship::ship;
