//! The machine API of a node, as a process of its own between the network and PID 1.
//!
//! | part | what |
//! |---|---|
//! | [`trust`] | who the node is and whom it believes: certificates, TLS, roles |
//! | [`serve`] | the listener, its bounds, and the check of each call against the caller's role |
//! | [`server`] | the methods, each a few lines that call one of the parts below |
//! | [`node`] | what PID 1 is asked: config, services, events, the end of the machine |
//! | [`facts`] | what the kernel tells: processes, mounts, disks, memory, sockets, links |
//! | [`disks`] | what writes disks: upgrades and installations |
//! | [`drain`] | a node leaves its cluster for a restart, and returns |
//! | [`files`] | files and folders, contained, secrets refused |
//! | [`images`] | archives of images on their way to the node agent |
//! | [`pulls`] | how far pulls of images are, by the node agent |
//! | [`confine`] | what this process gives up before it listens |
//! | [`streams`] | logs, kernel messages, packets |
//! | [`telemetry`] | figures for Prometheus, logs for a collector |
//! | [`outside`] | parsers by themselves, for fuzz targets |
//! | [`main`] | the process |
//!
//! One thread. Parsers of what the kernel or a client says are pure functions with bounds; nothing indexes outside data.

pub mod confine;
pub mod disks;
pub mod drain;
pub mod facts;
pub mod files;
pub mod images;
pub mod log;
pub mod node;
mod opening;
pub mod outside;
mod process;
pub mod pulls;
pub mod serve;
pub mod server;
pub mod streams;
pub mod telemetry;
pub mod trust;

pub use process::main;
pub use serve::{Settings, run};
pub use server::Api;
pub use trust::{Identity, Peer};
