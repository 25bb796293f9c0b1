//! The methods. Each is a few lines: check what was asked, call the part that knows, answer.

mod methods;

use crate::node::Pid1;
use crate::streams::logs::Places;
use crate::trust::{Peer, Resolver, Rotation};
use rk_config::MachineConfig;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tonic::{Request, Status};

/// What the methods share.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

/// See [`Api::new`].
pub struct Inner {
    /// PID 1.
    pub pid1: Arc<Pid1>,
    /// The node has no config yet.
    pub maintenance: bool,
    /// The accepted config.
    pub accepted: PathBuf,
    /// Where a new one is offered.
    pub offered: PathBuf,
    /// Where logs lie.
    pub logs: Places,
    /// Where the machine API listens.
    pub port: u16,
    /// The certificate in use.
    pub resolver: Arc<Resolver>,
    /// The certificate to be.
    pub rotation: Rotation,
    /// Somebody writes disks.
    pub disks: Arc<AtomicBool>,
    /// Calls that PID 1 works for, and whose answers are not on their way yet.
    pub busy: Arc<AtomicUsize>,
}

/// A call while it is worked for.
pub(crate) struct Working(Arc<AtomicUsize>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Api {
    /// The methods over these parts.
    pub fn new(inner: Inner) -> Api {
        Api { inner: Arc::new(inner) }
    }

    /// Counts a call for as long as the answer lives.
    fn working(&self) -> Working {
        self.inner.busy.fetch_add(1, Ordering::Relaxed);
        Working(Arc::clone(&self.inner.busy))
    }

    /// The config in effect; none in maintenance mode.
    fn config(&self) -> Result<Option<MachineConfig>, Status> {
        if self.inner.maintenance { Ok(None) } else { crate::node::current(&self.inner.accepted).map(Some) }
    }

    fn present_config(&self) -> Result<MachineConfig, Status> {
        self.config()?.ok_or_else(|| Status::failed_precondition("the node has no config yet"))
    }
}

/// Who asks; nobody when the request came by no connection of ours.
fn peer<T>(request: &Request<T>) -> Peer {
    request.extensions().get::<Peer>().cloned().unwrap_or(Peer::Known { name: String::new(), role: None })
}
