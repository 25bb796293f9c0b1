//! The parsers of outside bytes that are no part of the API, by themselves, for fuzz targets.

use crate::node::http::{Url, response};
use crate::streams::capture::{Filter, Protocol};
use std::net::{IpAddr, Ipv4Addr};

/// What a metadata service or a web server answers, and where it is said to be.
pub fn metadata(bytes: &[u8]) {
    if let Some((_, body)) = response(bytes, 1 << 20) {
        assert!(body.len() <= bytes.len(), "more came out than went in");
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Url::parse(text.trim());
    }
}

/// A frame of anybody's, as a capture looks at it: a frame that a narrow filter keeps is kept by a wider one.
pub fn frame(bytes: &[u8]) {
    let wide = Filter { not_tcp_port: 50_000, ..Filter::default() };
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::Arp] {
        let of_one = Filter { protocol, ..wide.clone() };
        let narrow = Filter { host: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2))), port: 67, ..of_one.clone() };
        assert!(of_one.passes(bytes) || !narrow.passes(bytes), "{narrow:?}");
        assert!(wide.passes(bytes) || !of_one.passes(bytes), "{of_one:?}");
    }
}
