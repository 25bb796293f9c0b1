//! A learning L2 switch in user space.
//!
//! Every port is a listening unix socket; a machine's `-netdev stream` connects to it and speaks frames behind a four-byte
//! big-endian length. Per port one thread reads and one writes; [`Bridge`] (pure) decides where a frame goes; a bounded
//! queue per port drops what a slow machine does not take, as a real switch does. A machine that was restarted may connect
//! to its port again.
//!
//! Faults are commands at run time: [`Switch::set_fault`] drops or delays what a port sends, [`Switch::partition`] forbids
//! pairs of ports. A [`Station`] is a host of the test's own: a time server, a DHCP server; a
//! [`Router`] one that speaks IPv6.

mod bridge;
mod fault;
mod frame;
mod port;
mod router;
mod services;
mod station;

pub use bridge::{Bridge, Mac, PortId, Verdict};
pub use fault::Fault;
pub use frame::{MAX_FRAME, read_frame, write_frame};
pub use router::{Offer, Router};
pub use services::{dhcp_server, dhcp_server_in, time_server};
pub use station::{Datagram, Station};

use crate::{Error, Result};
use port::Port;
use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Frames that went through and that were lost, over all ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Handed to a port's queue.
    pub forwarded: u64,
    /// Lost to a fault, a partition or a full queue.
    pub dropped: u64,
}

/// A running switch; dropping it closes all ports.
pub struct Switch {
    shared: Arc<Shared>,
    dir: PathBuf,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    forwarded: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    bridge: Bridge,
    ports: Vec<Port>,
    apart: BTreeSet<(PortId, PortId)>,
    closed: bool,
}

impl Switch {
    /// A switch without ports whose sockets lie in `dir`.
    pub fn new(dir: &Path) -> Switch {
        let shared = Shared { state: Mutex::default(), forwarded: AtomicU64::new(0), dropped: AtomicU64::new(0) };
        Switch { shared: Arc::new(shared), dir: dir.to_owned() }
    }

    /// Adds a port and answers its number and the socket to connect to.
    pub fn add_port(&self) -> Result<(PortId, PathBuf)> {
        let mut state = self.shared.state();
        let id = PortId(state.ports.len());
        let socket = self.dir.join(format!("port{}.sock", id.0));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).map_err(Error::file("listen on", &socket))?;
        let port = Port::new(id, socket.clone());
        port::serve(self.shared.clone(), port.clone(), listener);
        state.ports.push(port);
        Ok((id, socket))
    }

    /// What happens to frames that `port` sends, from now on.
    pub fn set_fault(&self, port: PortId, fault: Fault) {
        if let Some(port) = self.shared.state().ports.get(port.0) {
            port.set_fault(fault);
        }
    }

    /// Forbids traffic between every port of `left` and every port of `right`, both ways.
    pub fn partition(&self, left: &[PortId], right: &[PortId]) {
        let mut state = self.shared.state();
        for a in left {
            for b in right {
                state.apart.extend([(*a, *b), (*b, *a)]);
            }
        }
    }

    /// Lifts all partitions and faults.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.apart.clear();
        for port in &state.ports {
            port.set_fault(Fault::default());
        }
    }

    /// What went through so far.
    pub fn counters(&self) -> Counters {
        Counters {
            forwarded: self.shared.forwarded.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        for port in &state.ports {
            port.close();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> bool {
        self.state().closed
    }

    /// Takes a frame in from `from` and queues it where it belongs.
    fn forward(&self, from: PortId, frame: &[u8]) {
        let mut state = self.state();
        let Some(delay) = state.ports.get(from.0).and_then(Port::admit) else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let ports = state.ports.len();
        let targets = match state.bridge.decide(from, frame) {
            Verdict::Drop => return,
            Verdict::Port(port) => vec![port],
            Verdict::Flood => (0..ports).map(PortId).filter(|p| *p != from).collect(),
        };
        let frame: Arc<[u8]> = Arc::from(frame);
        for target in targets {
            let apart = state.apart.contains(&(from, target));
            let taken = !apart && state.ports.get(target.0).is_some_and(|p| p.send(frame.clone(), delay));
            let counter = if taken { &self.forwarded } else { &self.dropped };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
