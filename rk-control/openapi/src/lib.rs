//! OpenAPI v2 and v3 documents of the built-in API, as `kubectl explain`, client-side validation and client generators read them.
//!
//! The documents, one for each group and version, are made when this crate is compiled and embedded in one compressed archive: an idle
//! server holds nothing of them in memory, and what they have in common is stored once. Documents of kinds that are added at run time
//! are made by the same code, from their rows ([`v3_document`], [`v2_parts`]).

use std::io::{self, Read as _, Write as _};
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;

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

/// All documents, one behind the other, as Zstandard packs them.
static ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/documents.zst"));

/// One document.
#[derive(Debug)]
pub struct Document {
    /// Where it is found below `/openapi/v3/`, such as `api/v1`; `v2` for the one of version 2.
    pub path: &'static str,
    /// SHA-512 of the text in upper-case hex, for cache-busting URLs.
    pub hash: &'static str,
    /// Length of the text in bytes.
    pub size: usize,
    /// Where it begins among all documents, in bytes.
    start: usize,
    gzip: OnceLock<Vec<u8>>,
}

impl Document {
    /// The text (JSON), unpacked anew.
    ///
    /// # Errors
    /// The archive is broken, which a build that ended well makes impossible.
    pub fn text(&self) -> io::Result<String> {
        let mut archive = zstd::stream::read::Decoder::with_buffer(ARCHIVE)?;
        io::copy(&mut archive.by_ref().take(self.start as u64), &mut io::sink())?;
        let mut text = String::with_capacity(self.size);
        archive.take(self.size as u64).read_to_string(&mut text)?;
        Ok(text)
    }

    /// The text as gzip packs it, for clients that take that. Made for the first who asks, then kept: few documents are ever asked for,
    /// and these often.
    ///
    /// # Errors
    /// Those of [`Document::text`].
    pub fn gzip(&'static self) -> io::Result<&'static [u8]> {
        if let Some(made) = self.gzip.get() {
            return Ok(made);
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(self.text()?.as_bytes())?;
        let made = encoder.finish()?;
        Ok(self.gzip.get_or_init(|| made))
    }
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
    &V3
}

/// The document of a group and version, by its path: `api/v1`, `apis/apps/v1`.
#[must_use]
pub fn v3_at(path: &str) -> Option<&'static Document> {
    V3.iter().find(|document| document.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_each_change_of_a_definition_is_unpacked_alone() {
        assert_eq!(COMMON.start, 0);
        let text = COMMON.text().unwrap();
        assert_eq!(text.len(), COMMON.size);
        assert!(text.starts_with('{') && text.ends_with('}'));
        assert_eq!(V2.start, COMMON.size, "what is merged with those comes next");
    }
}
