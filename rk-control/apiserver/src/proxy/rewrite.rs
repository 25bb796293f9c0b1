//! Pages behind the proxy verbs: their links and redirects that begin at the root get the proxy's path in front, so that a browser
//! comes back through the proxy. Everything else of a page stays as it is, byte for byte.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};

use crate::http::Body;

/// Larger pages pass as they are: a page is held whole while it is rewritten.
const LARGEST: usize = 4 << 20;

/// Attributes that hold links, by element, as HTML has them.
const LINKS: [(&str, &[&str]); 31] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["formaction", "src", "usemap"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("track", &["src"]),
    ("video", &["poster", "src"]),
    ("image", &["href"]),
    ("use", &["href"]),
    ("portal", &["src"]),
    ("menuitem", &["icon"]),
    ("table", &["background"]),
];

/// Rewrites redirects and pages of a backend. `prefix` is the proxy's own path, `host` the name that the client asked.
pub(super) async fn rewrite(mut response: Response<Body>, prefix: &str, host: &str) -> Response<Body> {
    if let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()) {
        if let Some(value) = link(location, prefix, host).and_then(|new| HeaderValue::from_str(&new).ok()) {
            response.headers_mut().insert(LOCATION, value);
        }
        return response;
    }
    if !is_plain_page(response.headers()) {
        return response;
    }
    let (mut parts, mut body) = response.into_parts();
    let mut held = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => held.extend_from_slice(&data),
            Ok(Err(_)) => continue,
            Err(error) => {
                // What came is passed on, and then the error as the backend's own.
                let pieces = [Ok(Frame::data(held.freeze())), Err(error)];
                return Response::from_parts(parts, StreamBody::new(futures::stream::iter(pieces)).boxed_unsync());
            }
        }
        if held.len() > LARGEST {
            let first = futures::stream::iter([Ok(Frame::data(held.freeze()))]);
            return Response::from_parts(parts, StreamBody::new(first.chain(BodyStream::new(body))).boxed_unsync());
        }
    }
    let text = page(&held, prefix, host);
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    Response::from_parts(parts, Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync())
}

fn is_plain_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let kind = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/html") && matches!(text(CONTENT_ENCODING), "" | "identity")
}

/// A link with the prefix in front; `None` for one that stays: relative, of another host, or prefixed already.
fn link(text: &str, prefix: &str, host: &str) -> Option<String> {
    let path = match text.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            let at = rest.find('/').unwrap_or(rest.len());
            let (named, path) = rest.split_at_checked(at)?;
            if named != host {
                return None;
            }
            path
        }
        _ if text.starts_with("//") => return None,
        _ => text,
    };
    (path.starts_with('/') && !path.starts_with(prefix)).then(|| format!("{}{path}", prefix.trim_end_matches('/')))
}

/// A page with its links rewritten.
fn page(html: &[u8], prefix: &str, host: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(html.len() + 256);
    let mut rest = html;
    while let Some(at) = rest.iter().position(|b| *b == b'<') {
        let (before, tail) = rest.split_at(at);
        out.extend_from_slice(before);
        let skipped = comment(tail).unwrap_or(0);
        let length = if skipped > 0 { skipped } else { tag(tail, prefix, host, &mut out) };
        if skipped > 0 {
            out.extend_from_slice(tail.get(..skipped).unwrap_or_default());
        }
        rest = tail.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// The length of a comment, when `text` begins with one.
fn comment(text: &[u8]) -> Option<usize> {
    let inside = text.strip_prefix(b"<!--")?;
    let end = inside.windows(3).position(|w| w == b"-->");
    Some(end.map_or(text.len(), |end| end + 7))
}

/// Copies one tag with its links rewritten, and answers its length in `text`; at least one byte.
fn tag(text: &[u8], prefix: &str, host: &str, out: &mut Vec<u8>) -> usize {
    let name_end = text.iter().skip(1).position(|b| !b.is_ascii_alphanumeric()).map_or(text.len(), |n| n + 1);
    let name = String::from_utf8_lossy(text.get(1..name_end).unwrap_or_default()).to_ascii_lowercase();
    let links = LINKS.iter().find(|(element, _)| *element == name).map_or(&[][..], |(_, links)| *links);
    let mut at = name_end.max(1);
    out.extend_from_slice(text.get(..at).unwrap_or_default());
    if name.is_empty() {
        return at;
    }
    let byte = |at: usize| text.get(at).copied();
    while let Some(next) = byte(at) {
        if next == b'>' {
            break;
        }
        let start = at;
        if next.is_ascii_whitespace() || next == b'/' || next == b'=' {
            out.push(next);
            at += 1;
            continue;
        }
        while byte(at).is_some_and(|b| !b.is_ascii_whitespace() && !matches!(b, b'=' | b'>' | b'/')) {
            at += 1;
        }
        let attribute = String::from_utf8_lossy(text.get(start..at).unwrap_or_default()).to_ascii_lowercase();
        while byte(at).is_some_and(|b| b.is_ascii_whitespace()) {
            at += 1;
        }
        if byte(at) != Some(b'=') {
            out.extend_from_slice(text.get(start..at).unwrap_or_default());
            continue;
        }
        at += 1;
        while byte(at).is_some_and(|b| b.is_ascii_whitespace()) {
            at += 1;
        }
        let quote = byte(at).filter(|b| matches!(b, b'"' | b'\''));
        at += usize::from(quote.is_some());
        out.extend_from_slice(text.get(start..at).unwrap_or_default());
        let ends = |b: u8| match quote {
            Some(quote) => b == quote,
            None => b.is_ascii_whitespace() || b == b'>',
        };
        let value_start = at;
        while byte(at).is_some_and(|b| !ends(b)) {
            at += 1;
        }
        let value = text.get(value_start..at).unwrap_or_default();
        let new = links.contains(&attribute.as_str()).then(|| std::str::from_utf8(value).ok()).flatten();
        match new.and_then(|value| link(value, prefix, host)) {
            Some(new) => out.extend_from_slice(new.as_bytes()),
            None => out.extend_from_slice(value),
        }
        if quote.is_some() && byte(at).is_some() {
            out.extend(byte(at));
            at += 1;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "/api/v1/namespaces/n/pods/p:80/proxy";

    #[test]
    fn links_from_the_root_come_back_through_the_proxy() {
        for (html, want) in [
            ("<a href=\"/rewriteme\">test</a>", "<a href=\"PREFIX/rewriteme\">test</a>"),
            ("<A class=x HREF = '/a?b#c' >", "<A class=x HREF = 'PREFIX/a?b#c' >"),
            (
                "<img src=/i.png><script async src=\"/s.js\"/>",
                "<img src=PREFIX/i.png><script async src=\"PREFIX/s.js\"/>",
            ),
            ("<a href=\"relative\">", "<a href=\"relative\">"),
            ("<a href=\"//other/x\"><a href='https://other/x'>", "<a href=\"//other/x\"><a href='https://other/x'>"),
            ("<a href='https://api:6443/x'>", "<a href='PREFIX/x'>"),
            ("<a href='PREFIX/x'>", "<a href='PREFIX/x'>"),
            ("<p title=\"/x\">a < b /c \"/d\"</p>", "<p title=\"/x\">a < b /c \"/d\"</p>"),
            ("<!-- <a href=\"/x\"> --><a href=\"/y\">", "<!-- <a href=\"/x\"> --><a href=\"PREFIX/y\">"),
            ("text </a ><", "text </a ><"),
            ("<a href=\"/cut", "<a href=\"PREFIX/cut"),
            ("<!-- never closed <a href=\"/x\">", "<!-- never closed <a href=\"/x\">"),
            ("", ""),
        ] {
            let (html, want) = (html.replace("PREFIX", PREFIX), want.replace("PREFIX", PREFIX));
            assert_eq!(String::from_utf8_lossy(&page(html.as_bytes(), PREFIX, "api:6443")), want);
        }
    }

    #[tokio::test]
    async fn redirects_are_led_through_the_proxy_and_other_answers_left_alone() {
        let answer = |kind: &'static str, location: Option<&'static str>| {
            let body = Full::new(Bytes::from_static(b"<a href=\"/x\">")).map_err(|never| match never {}).boxed_unsync();
            let mut response = Response::new(body);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            response.headers_mut().extend(location.map(|l| (LOCATION, HeaderValue::from_static(l))));
            response
        };
        for (kind, location, want) in [
            ("text/html; charset=utf-8", None, format!("<a href=\"{PREFIX}/x\">")),
            ("application/json", None, "<a href=\"/x\">".into()),
        ] {
            let answer = rewrite(answer(kind, location), PREFIX, "api").await;
            let length = answer.headers().get(CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse().ok());
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, want);
            assert!(length.is_none_or(|length: usize| length == body.len()));
        }
        let answer = rewrite(answer("text/html", Some("/login")), PREFIX, "api").await;
        assert_eq!(answer.headers().get(LOCATION).unwrap(), &format!("{PREFIX}/login"));
    }
}
