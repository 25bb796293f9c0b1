//! Priority and fairness: the objects that every cluster has, whether a FlowSchema leads anywhere, and which one a request matches
//! (KEP-1040).
//!
//! Requests are not queued by them: what bounds the server is per connection and per body (see `http`).

mod dangling;
mod defaults;
mod dump;
mod figures;
mod keeper;
mod matching;

pub use keeper::run;
pub use matching::{Flows, Matched};
