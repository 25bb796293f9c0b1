//! What all objects share: metadata, names, times, amounts.

mod access;

pub use access::*;
