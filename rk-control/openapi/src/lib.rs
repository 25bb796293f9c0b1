//! OpenAPI v2 and v3 documents of the built-in API, as `kubectl explain`, client-side validation and client generators read them.
//!
//! The documents are made when this crate is compiled and embedded compressed, one for each group and version, so that an idle
//! server holds nothing of them in memory and most clients are answered with the embedded bytes as they are. Documents of kinds that
//! are added at run time are made by the same code, from their rows ([`v3_document`], [`v2_parts`]).

mod custom;
mod names;
mod parameters;
mod paths;
mod protobuf;
mod spec;

pub use custom::{v2_parts, v3_document};
pub use protobuf::{
    encode_v2 as encode_v2_protobuf, encode_v2_text as encode_v2_text_protobuf, encode_v3 as encode_v3_protobuf,
};

/// One document, compressed.
#[derive(Debug, Clone, Copy)]
pub struct Document {
    /// Where it is found below `/openapi/v3/`, such as `api/v1`; `v2` for the one of version 2.
    pub path: &'static str,
    /// SHA-512 of the uncompressed text in upper-case hex, for cache-busting URLs.
    pub hash: &'static str,
    /// Length of the uncompressed text in bytes.
    pub size: usize,
    /// The text (JSON), gzip-compressed.
    pub gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/documents.rs"));

/// The one document of OpenAPI v2.
#[must_use]
pub fn v2() -> &'static Document {
    &V2
}

/// All documents of OpenAPI v3, ordered by path.
#[must_use]
pub fn v3() -> &'static [Document] {
    V3
}

/// The document of a group and version, by its path: `api/v1`, `apis/apps/v1`.
#[must_use]
pub fn v3_at(path: &str) -> Option<&'static Document> {
    V3.iter().find(|document| document.path == path)
}
