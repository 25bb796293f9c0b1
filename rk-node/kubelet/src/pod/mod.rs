//! One pod: its pure core (spec questions, back-off, decision, status) and the worker that carries decisions out.

pub mod backoff;
pub mod conditions;
pub mod container_status;
pub mod decide;
mod ends;
mod environment;
pub mod given;
pub mod kill;
pub mod last_words;
pub mod phase;
pub mod requested;
pub mod resize;
pub mod round;
pub mod spec;
pub mod start;
pub mod startup;
pub mod status;
mod summary;
mod termination;
pub mod worker;

#[cfg(test)]
pub mod decide_tests;
#[cfg(test)]
mod round_tests;
#[cfg(test)]
mod status_tests;
