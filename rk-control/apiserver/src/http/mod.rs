//! HTTP: listening, limits, what a request asks for, and how answers are written.

mod body;
mod coalesced;
mod connection;
mod counted;
mod listener;
mod negotiate;
mod patterns;
mod query;
mod request_info;
mod respond;
mod resting;

pub use body::{Body, BoxError, read_body};
pub use connection::{Connection, Peer};
pub use counted::counted;
pub use listener::{Limits, serve_listener};
pub use negotiate::{Accept, Format, MetaVersion, Shape, Subject, accepts_gzip, clauses, content_format, wants_pretty};
pub use patterns::{is_path, lists};
pub use query::{Query, decode};
pub use request_info::{RequestInfo, ResourcePath, required_value};
pub use respond::{
    add_warnings, bytes_response, gzipped, json_response, maybe_gzip, plain_response, status_response, text_response,
};
pub use resting::{call_together, rests};
