//! Priority and fairness as objects: those that every cluster has, and whether a FlowSchema leads anywhere (KEP-1040).
//!
//! Requests are not sorted by them: what bounds the server is per connection and per body (see `http`).

mod dangling;
mod defaults;
mod keeper;

pub use keeper::run;
