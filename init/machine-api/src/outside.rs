//! The parsers of outside bytes that are no part of the API, by themselves, for fuzz targets.

use crate::node::http::{Url, response};

/// What a metadata service or a web server answers, and where it is said to be.
pub fn metadata(bytes: &[u8]) {
    if let Some((_, body)) = response(bytes, 1 << 20) {
        assert!(body.len() <= bytes.len(), "more came out than went in");
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Url::parse(text.trim());
    }
}
