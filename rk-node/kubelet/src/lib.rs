//! The kubelet: makes this machine a Node of its cluster and its pods run, through the CRI alone.
//!
//! ```text
//!  API server ──watch──► manager ──► worker per pod: gather ─► decide (pure) ─► publish ─► act
//!      ▲                               │ CRI gRPC            │ status (pure)      │
//!      └── status manager ◄────────────┴─────────────────────┘                    ▼
//!      └── node loop, lease        pleg ◄── relist, events ── runtime ◄── start, kill, volumes
//!      └── HTTPS :10250 (logs, exec, stats)
//! ```
//!
//! Tasks: one per pod and one per probe; node loop, lease, PLEG, manager, status writer, event writer, certificate rotation,
//! HTTPS server. All are level-triggered: after a restart everything is rebuilt from the API, the CRI and the disk, and no
//! container is touched that is as it should be. Without the API the node goes on with what it knew (`known`).

mod admission;
mod api_error;
mod cgroups;
mod claims;
mod cleanup;
mod clock;
mod configuration;
mod context;
mod cpus;
mod devices;
mod disk;
mod events;
mod eviction;
mod features;
mod filesystem;
mod heartbeat;
mod image_gc;
mod images;
mod join;
mod known;
mod kubelet;
mod logs;
mod manager;
mod memory;
mod meters;
mod node;
mod numa;
mod oom;
mod oom_score;
mod options;
mod pace;
mod plugins;
mod pod;
mod preemption;
mod probes;
mod quantity;
mod resources;
mod runtime;
mod server;
mod services;
mod shutdown;
mod static_pods;
mod status_manager;
mod swap;
mod throttle;
mod translate;
mod userns;
mod views;
mod volumes;
mod wire;

pub use configuration::{CredentialProvider, TlsRules, TokenRules, configure, credential_providers};
pub use cpus::{CpuOptions, CpuPolicy, CpuSet, Reserved};
pub use images::Verification;
pub use join::{ApiLink, JoinError, OperatorError, Session, join};
pub use kubelet::{Hooks, StartError, run};
pub use memory::MemoryPolicy;
pub use node::{Signal, node_ips, second_address};
pub use numa::{Scope, TopologyPolicy, TopologyRules};
pub use options::{
    Amount, Cluster, Dirs, ImageGc, KUBELET_VERSION, LogBounds, Options, PodUrl, RegistryAuth, SoftEviction, Thresholds,
};
pub use pace::Pace;
pub use shutdown::{PriorityGrace, ShutdownGrace};
pub use swap::SwapBehavior;
pub use throttle::Rate;
