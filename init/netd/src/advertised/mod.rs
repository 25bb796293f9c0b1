//! Resolvers and search domains that routers advertise (RFC 8106). The kernel takes prefixes and routes of an advertisement and hands these
//! options on.

mod option;
mod store;

pub use option::decode;
pub use store::Advertised;

/// Entries taken of one option, and kept for one link. RFC 8106, section 5.3.1, wants three at least.
const MOST_ENTRIES: usize = 8;
