//! What the scheduler remembers, in the form in which it asks questions.

mod affinity;
mod attached;
mod capacity;
mod cluster;
mod extended;
mod node;
mod pod;
mod resources;
mod spread;
mod storage;
mod toleration;
mod volume;

pub use cluster::Cluster;
pub use node::NodeInfo;
pub use pod::PodInfo;
pub use resources::Resources;

pub(crate) use affinity::{NodeTerms, PodTerm};
pub(crate) use extended::{Asker, Portion, askers};
pub(crate) use node::{Effect, Taint};
pub(crate) use pod::{PREEMPTED, Preemption};
pub(crate) use resources::pod_request;
pub(crate) use spread::{Spread, Unsatisfiable};
pub(crate) use storage::Choice;
pub(crate) use toleration::tolerated;
pub(crate) use volume::SELECTED_NODE;
