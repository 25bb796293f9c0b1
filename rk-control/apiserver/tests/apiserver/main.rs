//! The API server as its clients see it, each test with a server and a store of its own.
//!
//! One program, since each would be linked with all of the server: tests share its process, so none may change what is the
//! process' own.

mod abuse;
mod access;
mod aggregation;
mod audit;
mod behaviours;
mod conditions;
mod conversion;
mod custom;
mod definitions;
mod gaps;
mod health;
mod mutations;
mod namespaces;
mod objects;
mod operations;
mod plugins;
mod policies;
mod quotas;
mod renewal;
mod rules;
mod servers;
mod streams;
mod support;
mod watching;
mod webhooks;
