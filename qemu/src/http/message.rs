//! HTTP/1.1 messages on the wire.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result};

/// Longest answer that is read.
const MAX_BODY: u64 = 256 << 20;
/// Longest head of an answer.
const MAX_HEAD: u64 = 64 << 10;

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(super) fn request_head(method: &str, path: &str, host: &str, headers: &[(&str, &str)], length: u64) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rk\r\nConnection: close\r\n");
    if length > 0 || !matches!(method, "GET" | "HEAD") {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head
}

pub(super) fn read_response(stream: impl Read, method: &str) -> Result<Response> {
    let mut reader = BufReader::new(stream);
    let (status, headers) = loop {
        let head = read_head(&mut reader)?;
        // Interim answers (100 Continue) precede the real one.
        if !(100..200).contains(&head.0) {
            break head;
        }
    };
    let mut response = Response { status, headers, body: Vec::new() };
    if method == "HEAD" || matches!(status, 204 | 304) {
        return Ok(response);
    }
    let chunked = response.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
    let length = response.header("content-length").map(str::parse::<u64>);
    response.body = match (chunked, length) {
        (true, _) => read_chunks(&mut reader)?,
        (false, Some(Ok(length))) if length <= MAX_BODY => {
            let mut body = Vec::new();
            let read = reader.take(length).read_to_end(&mut body)?;
            if read as u64 != length { Err(Error::from(ErrorKind::UnexpectedEof))? } else { body }
        }
        (false, Some(_)) => return Err(invalid("unreadable or excessive Content-Length")),
        (false, None) => read_to_close(reader)?,
    };
    Ok(response)
}

fn read_to_close(reader: impl Read) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    match reader.take(MAX_BODY).read_to_end(&mut body) {
        // A peer that closes TLS without a farewell ends its answer all the same.
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(body),
        other => other.map(|_| body),
    }
}

fn read_head(reader: &mut impl BufRead) -> Result<(u16, Vec<(String, String)>)> {
    let mut limited = reader.take(MAX_HEAD);
    let status_line = line(&mut limited)?;
    let status = status_line.split_whitespace().nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| invalid(&format!("not an HTTP answer: {status_line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = line(&mut limited)?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header line without colon"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_chunks(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let head = line(reader)?;
        let size = head.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| invalid("unreadable chunk size"))?;
        if size == 0 {
            while !line(reader)?.is_empty() {}
            return Ok(body);
        }
        if size > MAX_BODY.saturating_sub(body.len() as u64) {
            return Err(invalid("excessive body"));
        }
        if reader.take(size).read_to_end(&mut body)? as u64 != size {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        line(reader)?;
    }
}

fn line(reader: &mut impl BufRead) -> Result<String> {
    let mut bytes = Vec::new();
    if reader.take(MAX_HEAD).read_until(b'\n', &mut bytes)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned())
}

fn invalid(reason: &str) -> Error {
    Error::new(ErrorKind::InvalidData, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Response> {
        read_response(text.as_bytes(), "GET")
    }

    #[test]
    fn bodies_end_by_length_by_chunks_or_by_closing() {
        let cases = [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello",
        ];
        for case in cases {
            assert_eq!(read(case).map(|r| r.text()).ok().as_deref(), Some("hello"), "{case}");
        }
    }

    #[test]
    fn torn_and_foreign_answers_are_errors() {
        for case in [
            "",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ] {
            assert!(read(case).is_err(), "{case:?}");
        }
    }
}
