//! The Kubernetes API as values: what a v1.36 server knows about its objects, without sockets, clocks or storage.
//!
//! An object is a [`serde_json::Value`] that was checked against a [`schema::Schema`]; a resource is a row of the
//! [`resources::Registry`]. One request passes through this crate in the following order:
//!
//! 1. [`decode`] turns bytes (JSON, YAML) into a value, [`proto`] does so for protobuf; unknown and duplicate fields are reported.
//! 2. [`patch`] or [`managed::apply`] computes the new object when the verb is PATCH; [`scale`] maps the scale subresource.
//! 3. [`convert`] moves between the versions of a group, [`defaults`] fills what was left out.
//! 4. [`managed::update`] tracks owners; [`strategy`] resets what the caller may not set, bumps `generation` and validates.
//! 5. [`table`], [`proto`], [`yaml`] or `serde_json` write the answer; every failure is a [`status::Status`].
//!
//! Kinds that CustomResourceDefinitions make take the same way; [`custom`] holds what only they have.
//!
//! Invariants: nothing here does IO or reads a clock (the caller passes the time), nothing panics on what a client sent,
//! every recursion over outside data is bounded by [`decode::Limits`].

pub mod convert;
pub mod custom;
pub mod decode;
pub mod defaults;
pub mod managed;
pub mod meta;
pub mod patch;
pub mod pattern;
pub mod proto;
pub mod resources;
pub mod scale;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod table;
pub mod validate;
pub mod yaml;

/// A JSON object: the body of every Kubernetes object.
pub type Object = serde_json::Map<String, serde_json::Value>;
