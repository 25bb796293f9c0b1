//! Watches that cost little: the load shares the processors with the server, so that all it does is a part of what it measures. One
//! task per connection takes the frames of HTTP/2 as they come and searches them for marks; nothing is woken, queued or allocated
//! for an event.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{Buf, BytesMut};
use memchr::memmem::Finder;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::Target;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The head of a frame, in bytes.
const HEAD: usize = 9;
// Kinds of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW: u8 = 8;
// Flags of frames.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// The setting that tells how much of a stream may be under way.
const STREAM_WINDOW: u16 = 4;
/// Most that may be under way, in bytes: more than is told in all, so that nobody waits for a window or is told of one.
const MOST: u32 = 0x7fff_ffff;
/// What may be under way on a connection of which nothing was said, in bytes.
const USUAL: u32 = 0xffff;
/// The status 200 as a header.
const STATUS_OK: u8 = 0x88;
/// Room for what is read at once, in bytes.
const ROOM: usize = 64 * 1024;

/// Watches of one path over one connection.
pub struct Watches {
    stream: TlsStream<BufReader<TcpStream>>,
    /// What was read; at most the beginning of a frame between two reads.
    read: BytesMut,
    /// By watch: the beginning of a line whose end is still to come.
    begun: Vec<Vec<u8>>,
    /// How many are served.
    served: usize,
    /// How many have seen the last change.
    over: usize,
    marks: Marks,
    epoch: Instant,
    ages: Vec<Duration>,
}

impl Watches {
    /// Begins `count` watches, and returns when all of them are served. They are over with the last of so many `changes`, which tell when
    /// they were sent, since the epoch.
    pub async fn open(target: &Target, path: &str, count: usize, epoch: Instant, changes: u32) -> anyhow::Result<Self> {
        let stream = target.dial().await?;
        let host = stream.peer_addr()?.ip();
        // TLS itself would read a quarter of a record at a time.
        let mut stream = target.secure(host, BufReader::with_capacity(ROOM, stream)).await?;
        stream.write_all(&opening(path, count)?).await?;
        stream.flush().await?;
        let mut watches = Self {
            stream,
            read: BytesMut::new(),
            begun: vec![Vec::new(); count],
            served: 0,
            over: 0,
            marks: Marks::new(changes.saturating_sub(1)),
            epoch,
            ages: Vec::with_capacity(count * changes as usize),
        };
        while watches.served < count {
            watches.step().await?;
        }
        Ok(watches)
    }

    /// How old each change was when its event arrived, for each watch.
    pub async fn ages(mut self) -> anyhow::Result<Vec<Duration>> {
        while self.over < self.begun.len() {
            self.step().await?;
        }
        Ok(self.ages)
    }

    /// Reads once, takes the frames that are whole, and answers what asks for it.
    async fn step(&mut self) -> anyhow::Result<()> {
        self.read.reserve(ROOM);
        let count = self.stream.read_buf(&mut self.read).await?;
        ensure!(count > 0, "a connection of watches ended early, after {} events", self.ages.len());
        let mut read = std::mem::take(&mut self.read);
        let (mut taken, mut answers) = (0, Vec::new());
        while let Some((frame, size)) = Frame::first(read.get(taken..).unwrap_or_default()) {
            self.take(&frame, &mut answers)?;
            taken += size;
        }
        read.advance(taken);
        self.read = read;
        if !answers.is_empty() {
            self.stream.write_all(&answers).await?;
            self.stream.flush().await?;
        }
        Ok(())
    }

    fn take(&mut self, frame: &Frame<'_>, answers: &mut Vec<u8>) -> anyhow::Result<()> {
        match frame.kind {
            DATA => {
                ensure!(frame.flags & (END_STREAM | PADDED) == 0, "a watch ended early");
                self.told(frame)?;
            }
            HEADERS => {
                ensure!(frame.payload.first() == Some(&STATUS_OK), "a watch was refused");
                self.served += 1;
            }
            SETTINGS if frame.flags & ACK == 0 => push(answers, (SETTINGS, ACK, 0), &[]),
            PING if frame.flags & ACK == 0 => push(answers, (PING, ACK, 0), frame.payload),
            RESET | GO_AWAY => bail!("the server took watches back, after {} events", self.ages.len()),
            _ => {}
        }
        Ok(())
    }

    /// Looks at what a watch was told: lines, of which the last one may be cut off.
    fn told(&mut self, frame: &Frame<'_>) -> anyhow::Result<()> {
        let begun = self.begun.get_mut(frame.stream as usize / 2).context("a stream that nobody asked for")?;
        let mut rest = frame.payload;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            let found = if begun.is_empty() {
                self.marks.find(line)?
            } else {
                begun.extend_from_slice(line);
                let found = self.marks.find(begun)?;
                begun.clear();
                found
            };
            let Some((sent, is_last)) = found else { continue };
            self.ages.push(self.epoch.elapsed().saturating_sub(sent));
            self.over += usize::from(is_last);
        }
        begun.extend_from_slice(rest);
        Ok(())
    }
}

/// What a connection begins with: windows that nobody reaches, and a request for each watch.
fn opening(path: &str, count: usize) -> anyhow::Result<Vec<u8>> {
    let mut out = PREFACE.to_vec();
    let setting = [&STREAM_WINDOW.to_be_bytes()[..], &MOST.to_be_bytes()].concat();
    push(&mut out, (SETTINGS, 0, 0), &setting);
    push(&mut out, (WINDOW, 0, 0), &(MOST - USUAL).to_be_bytes());
    // GET and https by their places in the table that every peer has, then a path and an authority by their names' places.
    let mut request: Vec<u8> = vec![0x82, 0x87];
    for (name, value) in [(0x04, path), (0x01, "server")] {
        let length = u8::try_from(value.len()).ok().filter(|length| *length < 0x7f).context("too long a path")?;
        request.extend([name, length]);
        request.extend(value.as_bytes());
    }
    for watch in 0..u32::try_from(count)? {
        push(&mut out, (HEADERS, END_STREAM | END_HEADERS, 2 * watch + 1), &request);
    }
    Ok(out)
}

/// Appends a frame of a kind, with flags, on a stream.
fn push(out: &mut Vec<u8>, (kind, flags, stream): (u8, u8, u32), payload: &[u8]) {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    out.extend(length);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that some bytes begin with, if it is whole, and its size with its head.
    fn first(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let [high, middle, low, kind, flags, stream @ ..] = *head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let payload = rest.get(..length)?;
        Some((Self { kind, flags, stream: u32::from_be_bytes(stream), payload }, HEAD + length))
    }
}

/// How far from the time of sending the number of the change may stand, in bytes: both are annotations of a few bytes.
const NEAR: usize = 64;

/// What is searched for in events.
struct Marks {
    sent: Finder<'static>,
    last: Finder<'static>,
}

impl Marks {
    fn new(last: u32) -> Self {
        let last = format!("\"number\":\"{last}\"");
        Self { sent: Finder::new(b"\"sent\":\""), last: Finder::new(last.as_bytes()).into_owned() }
    }

    /// When the change of an event was sent, since the epoch, and whether it is the last one.
    fn find(&self, line: &[u8]) -> anyhow::Result<Option<(Duration, bool)>> {
        let Some(at) = self.sent.find(line) else { return Ok(None) };
        let (before, after) = line.split_at(at);
        let value = after.get(self.sent.needle().len()..).unwrap_or_default();
        let end = memchr::memchr(b'"', value).context("an event that is cut off")?;
        let sent: u64 = std::str::from_utf8(value.get(..end).unwrap_or_default())?.parse()?;
        let near = before.get(before.len().saturating_sub(NEAR)..).unwrap_or_default();
        let is_last = self.last.find(near).is_some() || self.last.find(value.get(..NEAR).unwrap_or(value)).is_some();
        Ok(Some((Duration::from_nanos(sent), is_last)))
    }
}
