//! What every controller and the scheduler stand on: shared informers, work queues, events, leader election.
//!
//! - [`Informers`] hands out one [`Informer`] per kind: one watch and one cache per kind and process, whoever asks.
//! - Writes made through an [`Informer`] are visible in its cache at once ("read your writes"), so control loops
//!   need no bookkeeping of expected events: a loop never acts twice on what it has just done.
//! - [`Queue`] keeps keys, not events: a key is worked on by one worker at a time, and changes that arrive
//!   meanwhile are merged into one later run.
//! - [`Recorder`] writes Events, merging repeats and dropping floods.
//! - [`Leadership`] holds a Lease.
//!
//! Invariant: handlers of one informer run one after another, in the order in which the cache changed.

mod cache;
mod device;
mod events;
mod families;
mod feed;
mod figures;
mod hub;
mod in_process;
mod informer;
mod leader;
mod limiter;
mod owner;
mod quantity;
mod queue;
mod retry;
mod running;
mod selector;
mod verbs;
mod worker;

pub use device::tolerates_device;
pub use events::{EventType, Recorder, Recorders};
pub use feed::{Feed, MetaHandler, Presence};
pub use figures::{add, count, forget, observe, render_figures, sample, set};
pub use hub::Informers;
pub use in_process::in_process;
pub use informer::{Change, Informer};
pub use leader::{Leadership, LeaseConfig};
pub use limiter::{RateLimiter, TokenBucket};
pub use owner::{controller_of, controller_ref, is_controlled_by, owner_key};
pub use quantity::{parse_milli, parse_value, try_parse_milli};
pub use queue::Queue;
pub use retry::{is_already_exists, is_conflict, is_namespace_terminating, is_not_found, message, on_conflict, reason};
pub use rk_watch::{Object, ObjectKey};
pub use selector::{LabelMatcher, Labels, SelectorError};
pub use verbs::{Deletion, Verbs};
pub use worker::{BoxError, Outcome, work};
