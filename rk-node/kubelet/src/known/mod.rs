//! What the node knew last, on its disk: so that a machine which starts while the API is away runs what it ran.
//!
//! Specs of pods, the node's pod CIDR and the addresses of Services are kept. Values of ConfigMaps and Secrets, and tokens, never
//! are: a pod that needs them waits for the API.

mod keep;
mod record;

use std::time::Duration;

pub use keep::keep_loop;
pub use record::Store;

/// So long the API may take to answer before the node goes on with what it knew.
pub const ALONE: Duration = Duration::from_secs(5);
