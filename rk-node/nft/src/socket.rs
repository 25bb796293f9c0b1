//! The netfilter netlink socket of the network namespace that the calling thread is in.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt::SndBufForce};

use crate::{
    attr,
    batch::{Batch, Family, frame},
};

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;
const GET_RULE: u16 = (10 << 8) | 7;
const GET_ELEMENTS: u16 = (10 << 8) | 13;
const GET_CHAIN: u16 = (10 << 8) | 4;
/// A transaction is one datagram: ten thousand Services are about ten megabytes.
const SEND_BUFFER: usize = 64 << 20;
const RECEIVE_BUFFER: usize = 8 << 20;

/// What the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket itself failed.
    #[error("netfilter netlink: {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A change was refused, and with it the whole transaction.
    #[error("nftables refused to {what}")]
    Refused {
        /// The change.
        what: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel did not say whether the transaction was applied.
    #[error("nftables transaction was not acknowledged")]
    Unacknowledged,
}

impl Error {
    /// The kernel's error number.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Unacknowledged => None,
        }
    }
}

/// Key and data of an element that the kernel holds.
pub type Stored = (Vec<u8>, Vec<u8>);

/// A netfilter netlink socket.
pub struct Netfilter {
    socket: Socket,
}

impl Netfilter {
    /// Opens a socket in the current network namespace.
    pub fn open() -> Result<Self, Error> {
        let fail = |action| move |source| Error::Io { action, source };
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(fail("open"))?;
        socket.bind_auto().map_err(fail("bind"))?;
        // Without CAP_NET_ADMIN in the first user namespace the small default must do.
        let _ = setsockopt(&socket, SndBufForce, &SEND_BUFFER);
        socket.set_rx_buf_sz(RECEIVE_BUFFER).map_err(fail("size"))?;
        let _ = socket.set_cap_ack(true);
        Ok(Self { socket })
    }

    /// Applies a transaction: all of it or nothing.
    pub fn commit(&self, mut batch: Batch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let acked = batch.finish();
        self.send(&batch.bytes)?;
        let mut applied = false;
        // The kernel works inside `send`; all answers are queued when it returns.
        loop {
            let bytes = match self.socket.recv_from_full() {
                Ok((bytes, _)) => bytes,
                Err(source) => return Err(Error::Io { action: "receive", source }),
            };
            for (kind, seq, payload) in messages(&bytes) {
                if kind != ERROR {
                    continue;
                }
                match code(payload) {
                    0 => applied |= seq == acked,
                    code => {
                        self.drain();
                        let what = batch.what.get(&seq).cloned().unwrap_or_else(|| format!("run message {seq}"));
                        return Err(Error::Refused { what, source: io::Error::from_raw_os_error(-code) });
                    }
                }
            }
            if applied {
                return Ok(());
            }
            if bytes.is_empty() {
                return Err(Error::Unacknowledged);
            }
        }
    }

    /// Names of the chains of a table; empty when there is no such table.
    pub fn chains(&self, family: Family, table: &str) -> Result<Vec<String>, Error> {
        let found = self.dump(GET_CHAIN, family.number(), &[])?;
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
        let of_table = |attrs: &&Vec<u8>| attr::find(attrs, 1).map(name).is_some_and(|t| t == table);
        Ok(found.iter().filter(of_table).filter_map(|attrs| attr::find(attrs, 3).map(name)).collect())
    }

    /// The number of rules in a chain.
    pub fn rules(&self, family: Family, table: &str, chain: &str) -> Result<usize, Error> {
        let mut filter = attr::Attrs::default();
        filter.name(1, table);
        filter.name(2, chain);
        Ok(self.dump(GET_RULE, family.number(), &filter.0)?.len())
    }

    /// Elements of a set as key and data (empty for sets and verdict maps); none when there is no such set.
    pub fn elements(&self, family: Family, table: &str, set: &str) -> Result<Vec<Stored>, Error> {
        let mut filter = attr::Attrs::default();
        filter.name(1, table);
        filter.name(2, set);
        let found = match self.dump(GET_ELEMENTS, family.number(), &filter.0) {
            Err(error) if error.errno() == Some(nix::libc::ENOENT) => return Ok(Vec::new()),
            other => other?,
        };
        let lists = found.iter().filter_map(|attrs| attr::find(attrs, 3));
        let value = |element, kind| attr::find(element, kind).and_then(|v| attr::find(v, 1)).map(<[u8]>::to_vec);
        let pair = |(_, element)| Some((value(element, 1)?, value(element, 2).unwrap_or_default()));
        Ok(lists.flat_map(attr::iter).filter_map(pair).collect())
    }

    /// Attributes of every object that a dump request answers with.
    pub(crate) fn dump(&self, kind: u16, family: u8, filter: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let mut request = Vec::new();
        frame(&mut request, kind, DUMP, 1, family, 0, filter);
        self.send(&request)?;
        let mut found = Vec::new();
        loop {
            let (bytes, _) = self.socket.recv_from_full().map_err(|source| Error::Io { action: "receive", source })?;
            for (kind, _, payload) in messages(&bytes) {
                match kind {
                    DONE => return Ok(found),
                    ERROR => {
                        let source = io::Error::from_raw_os_error(-code(payload));
                        return Err(Error::Refused { what: "dump".into(), source });
                    }
                    _ => found.push(payload.get(4..).unwrap_or_default().to_vec()),
                }
            }
            if bytes.is_empty() {
                return Err(Error::Unacknowledged);
            }
        }
    }

    /// Sends one request and waits for its acknowledgement.
    pub(crate) fn request(&self, kind: u16, family: u8, attrs: &[u8], what: &str) -> Result<(), Error> {
        let mut request = Vec::new();
        // NLM_F_REQUEST | NLM_F_ACK
        frame(&mut request, kind, 5, 1, family, 0, attrs);
        self.send(&request)?;
        let (bytes, _) = self.socket.recv_from_full().map_err(|source| Error::Io { action: "receive", source })?;
        match messages(&bytes).find(|(kind, ..)| *kind == ERROR).map(|(.., payload)| code(payload)) {
            Some(0) => Ok(()),
            Some(code) => Err(Error::Refused { what: what.to_owned(), source: io::Error::from_raw_os_error(-code) }),
            None => Err(Error::Unacknowledged),
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        let sent = self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0);
        sent.map(drop).map_err(|source| Error::Io { action: "send", source })
    }

    /// Empties the queue after a failure, so that the next transaction reads its own answers.
    fn drain(&self) {
        let _ = self.socket.set_non_blocking(true);
        while self.socket.recv_from_full().is_ok_and(|(bytes, _)| !bytes.is_empty()) {}
        let _ = self.socket.set_non_blocking(false);
    }
}

/// Kind, sequence number and payload of each message.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let seq = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
        let payload = bytes.get(16..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, seq, payload))
    })
}

fn code(payload: &[u8]) -> i32 {
    payload.get(..4).and_then(|c| c.try_into().ok()).map_or(-nix::libc::EPROTO, i32::from_ne_bytes)
}
