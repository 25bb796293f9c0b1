//! The scheduler: which node runs a pod.
//!
//! The core is pure: [`Cluster`] is a value that remembers nodes, pods and volumes; [`decide`] answers a node for a pod, or why
//! there is none; `preempt` answers whom to evict. The order of work follows upstream's framework: filters leave the feasible
//! nodes, scores rank them, the best wins, ties are broken at random.
//!
//! `devices` is the part of it that knows what drivers publish and what claims have of it: which devices a pod's claims would get on a
//! node is the last filter. `follow` keeps it current, from the first pod on that may get any; `claims` writes what was decided, and
//! `extended` the claims that are made for pods which ask for devices by the names of extended resources.
//!
//! [`run`] is the thin loop: informers keep the cluster and the queue current, one task takes pods in order of priority, assumes
//! the decision in the cluster at once and binds in the background, so that a slow API never slows decisions. A search for devices
//! that takes long goes on in a copy of the cluster, and `confirm` looks whether its outcome still holds. Everything can be
//! rebuilt from the API; a lost event costs at most the five minutes after which waiting pods are tried again.

mod attempt;
mod bind;
mod claims;
mod confirm;
mod decide;
mod devices;
mod diagnosis;
mod extended;
mod figures;
mod filter;
mod follow;
mod model;
mod preempt;
mod queue;
mod reports;
mod runner;
mod score;
mod sync;
mod turn;

pub use decide::{Decision, Placement, decide};
pub use diagnosis::Diagnosis;
pub use model::{Cluster, NodeInfo, PodInfo, Resources};
pub use queue::SchedulingQueue;
pub use runner::{Config, run};
