//! Volumes of pods: set up before the first container starts, refreshed while the pod runs, torn down after its end.
//!
//! A volume lives in `<kubelet>/pods/<uid>/volumes/<plugin>/<name>`, as upstream's do. Everything here is idempotent: after a
//! restart of the kubelet, setting up again finds what is there.

mod atomic_writer;
mod claim;
mod csi;
mod empty_dir;
mod groups;
mod held;
mod host_path;
mod local_device;
mod manager;
mod mounted;
mod mounts;
mod nfs;
mod objects;
mod ownership;
mod payload;
mod persistent;
mod problem;
mod settled;
mod source;
mod subpath;
mod tally;
mod tend;
mod tmpfs;
mod token;
mod trust;
mod usage;

use std::time::Duration;

/// How old what is told of a volume may be; upstream's default of `volumeStatsAggPeriod`.
pub const STATS_AGE: Duration = Duration::from_secs(60);

pub use csi::{Csi, Driver, Drivers, InUse, NodeObject, Outcome, VolumeStats, most_loop};
pub use manager::{Grown, VolumeManager};
pub use mounts::{container_devices, container_mounts, is_read_only_all_the_way};
pub use objects::Objects;
pub use subpath::read_beneath;
pub use tend::tend_loop;
pub use token::Tokens;
pub use usage::Volumes;
