//! The methods. Each is a few lines: check what was asked, call the part that knows, answer.

mod methods;
mod missing;

use crate::node::Pid1;
use crate::streams::logs::Places;
use crate::trust::{Peer, Resolver, Rotation};
use rk_config::MachineConfig;
use std::path::PathBuf;
use std::sync::Arc;
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
}

impl Api {
    /// The methods over these parts.
    pub fn new(inner: Inner) -> Api {
        Api { inner: Arc::new(inner) }
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
