//! A stock registry (Debian's `docker-registry`) on loopback. Guests reach it at slirp's host address.

use crate::http::{Body, Client};
use crate::process::Bound;
use crate::{Error, Result, wait};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The host as guests see it through their uplink.
pub const HOST_FROM_GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Start-up of the registry, generously.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running registry; dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    process: Bound,
}

impl Registry {
    /// Starts `binary` over `storage` on a free port of loopback; config and log lie in `dir`.
    pub fn start(binary: &Path, storage: &Path, dir: &Path) -> Result<Registry> {
        for folder in [storage, dir] {
            std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        }
        let address = free_port()?;
        let config = dir.join("registry.yml");
        std::fs::write(&config, config_text(storage, address)).map_err(Error::file("write", &config))?;
        let mut command = Command::new(binary);
        command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        let log = dir.join("registry.log");
        let process = Bound::spawn_logged("docker-registry", &command, &log)?;
        let mut registry = Registry { address, process };
        registry.wait_ready(&log)?;
        Ok(registry)
    }

    /// Where the host reaches it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where guests reach it.
    pub fn url_from_guest(&self) -> String {
        format!("http://{HOST_FROM_GUEST}:{}", self.address.port())
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::plain(self.address)
    }

    fn wait_ready(&mut self, log: &Path) -> Result<()> {
        let client = self.client().with_limit(Duration::from_secs(5));
        let process = &mut self.process;
        let answered = wait::until("the registry", START_LIMIT, || {
            if process.ended().is_some() {
                return Ok(false);
            }
            client.expect("GET", "/v2/", &[], Body::Empty, &[200]).map(|_| true).map_err(|e| e.to_string())
        })?;
        let said = || crate::console::tail(&std::fs::read_to_string(log).unwrap_or_default(), 10);
        if answered { Ok(()) } else { Err(Error::program("docker-registry", format!("ended at once: {}", said()))) }
    }
}

fn config_text(storage: &Path, address: SocketAddr) -> String {
    // JSON is YAML; quoting of odd paths comes for free.
    let value = serde_json::json!({
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": true}},
        "storage": {
            "filesystem": {"rootdirectory": storage},
            "delete": {"enabled": true},
            "maintenance": {"uploadpurging": {"enabled": false}},
        },
        "http": {"addr": address.to_string()},
    });
    value.to_string()
}

/// A port of loopback that nobody listens on now.
pub fn free_port() -> Result<SocketAddr> {
    let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bound = TcpListener::bind(asked).and_then(|l| l.local_addr());
    bound.map_err(Error::file("bind", "127.0.0.1:0"))
}

/// `wanted` when it is free on loopback, else the next free one above it.
pub fn next_free_port(wanted: u16) -> Result<u16> {
    let free = (wanted..=u16::MAX).find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.ok_or_else(|| Error::State(format!("no free port from {wanted} on")))
}
