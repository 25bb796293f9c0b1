//! Who the node is, whom it believes, and what a caller may do.

mod certificate;
mod identity;
mod peer;
mod rotation;
mod tls;

pub use certificate::{Facts, facts, fingerprint};
pub use identity::{Identity, TrustError};
pub use peer::{Peer, judge};
pub use rotation::Rotation;
pub use tls::{Resolver, acceptor};
