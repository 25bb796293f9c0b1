//! The Kubernetes API server: HTTP in front, [`rk_api`] for what objects are, [`rk_store`] for where they live.
//!
//! The way of a request: [`http`] reads it, [`authn`] tells who asks, [`authz`] whether they may, [`handlers`] do it (decode,
//! default, field ownership, [`admission`], validate, compare-and-swap), [`storage`] keeps and watches. [`discovery`] serves what
//! is not a resource, [`proxy`] what lives on nodes, [`bootstrap`] makes what every cluster has, [`pki`] the keys, [`audit`] tells who did
//! what.
//!
//! Invariants:
//! - one path serves every kind; a kind is a row of the resource table, which may change while the server runs;
//! - a write that was answered is in the store, and every read that began after it sees it;
//! - no lock is held across IO; every body, queue, window and connection count has a bound written where it is used;
//! - every failure is answered with a `Status`.

pub mod admission;
mod aggregation;
mod alloc;
mod anybody;
mod audit;
pub mod authn;
pub mod authz;
mod bootstrap;
mod callout;
mod codec;
mod config;
mod conversion;
mod custom;
mod deadline;
mod discovery;
mod flow;
mod front_door;
mod handlers;
mod health;
mod http;
mod identity;
mod in_process;
mod keeper;
mod lookup;
mod metrics;
pub mod pki;
mod proxy;
mod server;
pub mod storage;
mod tls;

pub use audit::{AuditConfig, LogConfig as AuditLogConfig, Policy as AuditPolicy, PolicyError as AuditPolicyError};
pub use authn::User;
pub use config::{BootstrapToken, Config};
pub use discovery::GIT_VERSION;
pub use http::{Body, BoxError, Limits};
pub use in_process::InProcess;
pub use pki::{Authority, Pki, PkiError, ServingNames, encryption_keys, host_addresses};
pub use server::{ApiServer, Core, StartError};
