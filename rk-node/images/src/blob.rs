//! A blob as a stream that survives broken connections: resumed by `Range`, restarted where the registry has none.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{StatusCode, header::CONTENT_RANGE};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256, Sha512};

use crate::{
    config::{Config, Pace},
    error::{Error, ErrorKind, Result},
    manifest::Descriptor,
    reference::Digest,
    registry::{Ask, Session},
};

/// Attempts in a row without a single new byte.
const MAX_STALLS: u32 = 4;
/// Attempts over a whole blob.
const MAX_ATTEMPTS: u32 = 64;
/// Times that a registry may drip: behind the same name may be a faster one, but nobody waits for ever.
const MAX_DRIPS: u32 = 2;

/// Hashes with the algorithm of a digest.
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// A hasher with the algorithm of `digest`.
    pub fn like(digest: &Digest) -> Self {
        if digest.is_sha512() { Self::Sha512(Box::default()) } else { Self::Sha256(Sha256::new()) }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(h) => h.update(bytes),
            Self::Sha512(h) => h.update(bytes),
        }
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(h) => Digest::from_sha256(&h.finalize()),
            Self::Sha512(h) => Digest::from_sha512(&h.finalize()),
        }
    }
}

/// Compares content with the digest that it was asked for by.
pub(crate) fn verify(what: &str, expected: &Digest, bytes: &[u8]) -> Result<()> {
    let mut hasher = Hasher::like(expected);
    hasher.update(bytes);
    check(what, expected, hasher.finish())
}

/// Refuses content whose digest is not the expected one; `what` names it in the error.
pub(crate) fn check(what: &str, expected: &Digest, actual: Digest) -> Result<()> {
    if actual == *expected {
        return Ok(());
    }
    Err(Error::DigestMismatch { what: what.to_owned(), expected: expected.to_string(), actual: actual.to_string() })
}

/// Tells a registry that drips from one that sends, by the time that was spent waiting for it.
struct Pacer {
    floor: Pace,
    waited: Duration,
    bytes: u64,
}

impl Pacer {
    fn new(floor: Pace) -> Self {
        Self { floor, waited: Duration::ZERO, bytes: 0 }
    }

    /// Bytes came after a wait; what came since the last answer, if it was too little for its time.
    fn note(&mut self, waited: Duration, bytes: u64) -> Option<String> {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.floor.within {
            return None;
        }
        let slow = (self.bytes < self.floor.bytes).then(|| format!("{} bytes in {:?}", self.bytes, self.waited));
        *self = Self::new(self.floor);
        slow
    }
}

/// One download of one blob from one endpoint.
pub(crate) struct Blob<'a> {
    session: &'a Session,
    descriptor: &'a Descriptor,
    what: String,
    idle: Duration,
    body: Option<Incoming>,
    /// Bytes handed out.
    offset: u64,
    /// Bytes of the current body to drop, because the registry began at zero again.
    skip: u64,
    /// The registry does not say which part it sends: it is asked for no more parts.
    whole: bool,
    stalls: u32,
    attempts: u32,
    pace: Pacer,
    drips: u32,
}

impl<'a> Blob<'a> {
    /// A download that has not begun.
    pub fn new(session: &'a Session, descriptor: &'a Descriptor, config: &Config) -> Self {
        Self {
            session,
            descriptor,
            what: format!("blob {}", descriptor.digest),
            idle: config.idle_timeout,
            body: None,
            offset: 0,
            skip: 0,
            whole: false,
            stalls: 0,
            attempts: 0,
            pace: Pacer::new(config.floor),
            drips: 0,
        }
    }

    /// Begins behind bytes that are here already. To be told before anything is asked for.
    pub fn begin_at(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The next bytes; `None` once exactly the descriptor's size has been handed out.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            // A blob of nothing is asked for as well; one that is here as a whole is not.
            let asked = self.attempts > 0 || self.offset > 0;
            if self.offset == self.descriptor.size && self.body.is_none() && asked {
                return Ok(None);
            }
            if self.body.is_none() {
                self.open().await?;
            }
            let Some(body) = self.body.as_mut() else { continue };
            let asked = Instant::now();
            let frame = tokio::time::timeout(self.idle, body.frame()).await;
            let reason = match frame {
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if let Some(drip) = self.drip(asked.elapsed(), data.len() as u64) {
                        drip
                    } else if let Some(data) = self.take(data)? {
                        return Ok(Some(data));
                    } else {
                        continue;
                    }
                }
                Ok(None) if self.offset == self.descriptor.size => {
                    self.body = None;
                    return Ok(None);
                }
                Ok(None) => "connection closed early".to_owned(),
                Ok(Some(Err(error))) => error.to_string(),
                Err(_) => format!("silent for {} s", self.idle.as_secs()),
            };
            self.body = None;
            self.pause(self.session.failed(format!("{} at byte {}: {reason}", self.what, self.offset))).await?;
        }
    }

    /// Why the connection is not worth its slot; what it brought last is asked for again.
    fn drip(&mut self, waited: Duration, bytes: u64) -> Option<String> {
        let slow = self.pace.note(waited, bytes)?;
        // The end is the end, however long it took.
        if self.offset + bytes.saturating_sub(self.skip) >= self.descriptor.size {
            return None;
        }
        self.drips += 1;
        Some(slow)
    }

    fn take(&mut self, mut data: Bytes) -> Result<Option<Bytes>> {
        let drop = self.skip.min(data.len() as u64);
        let _ = data.split_to(drop as usize);
        self.skip -= drop;
        if data.is_empty() {
            return Ok(None);
        }
        self.offset += data.len() as u64;
        self.stalls = 0;
        if self.offset > self.descriptor.size {
            let reason = format!("longer than the {} bytes that its manifest says", self.descriptor.size);
            return Err(Error::Malformed { what: self.what.clone(), reason });
        }
        Ok(Some(data))
    }

    async fn open(&mut self) -> Result<()> {
        loop {
            self.attempts += 1;
            let path = format!("blobs/{}", self.descriptor.digest);
            let offset = if self.whole { 0 } else { self.offset };
            match self.session.get(&path, &self.what, Ask { accept: None, offset }).await {
                Ok(response) => {
                    let range = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok());
                    self.skip = match (response.status(), range.and_then(range_start)) {
                        (StatusCode::PARTIAL_CONTENT, Some(start)) if start <= self.offset => self.offset - start,
                        (StatusCode::PARTIAL_CONTENT, _) if offset > 0 => {
                            self.whole = true;
                            continue;
                        }
                        (StatusCode::PARTIAL_CONTENT, _) => {
                            return Err(self.session.failed(format!("{}: bad Content-Range", self.what)));
                        }
                        _ => self.offset,
                    };
                    self.body = Some(response.into_body());
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => self.pause(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits before another attempt, or gives up with the last error.
    async fn pause(&mut self, error: Error) -> Result<()> {
        self.stalls += 1;
        if self.stalls >= MAX_STALLS || self.attempts >= MAX_ATTEMPTS || self.drips >= MAX_DRIPS {
            return Err(error);
        }
        tracing::debug!(%error, attempt = self.attempts, "resuming a download");
        let jitter = rand::random_range(0..100);
        tokio::time::sleep(Duration::from_millis((100u64 << (2 * self.stalls.min(4))) / 4 + jitter)).await;
        Ok(())
    }
}

/// `bytes 100-199/200` begins at 100.
fn range_start(header: &str) -> Option<u64> {
    header.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_drips_is_told_from_one_that_sends() {
        let ms = Duration::from_millis;
        let floor = Pace { bytes: 100, within: ms(1000) };
        let mut pace = Pacer::new(floor);
        // Too early to tell, enough, and then too little for another span.
        for (waited, bytes, slow) in
            [(999, 1, false), (1, 99, false), (600, 50, false), (600, 49, true), (999, 0, false)]
        {
            assert_eq!(pace.note(ms(waited), bytes).is_some(), slow, "{waited} ms, {bytes} bytes");
        }
        assert_eq!(Pacer::new(floor).note(ms(1500), 7).as_deref(), Some("7 bytes in 1.5s"));
    }
}
