//! A stock registry (Debian's `docker-registry`) on loopback. Guests reach it at slirp's host address.

use crate::http::{Body, Client};
use crate::process::Bound;
use crate::{Error, Result, wait};
use rand::RngExt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// The host as guests see it through their uplink.
pub const HOST_FROM_GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Start-up of the registry, generously.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Ports below those that Linux gives to whoever names none (`ip_local_port_range`): a connection of somebody else may take one of those
/// before the program listens for which it was chosen, which may be seconds later.
const PORTS: Range<u16> = 10_000..30_000;

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

/// A port of loopback that nobody listens on now; another one each time. Every process begins somewhere else.
pub fn free_port() -> Result<SocketAddr> {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(rand::rng().random_range(PORTS)));
    let mut asked = PORTS.map(|_| {
        let port = PORTS.start + next.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    });
    let free = asked.find(|address| TcpListener::bind(address).is_ok());
    free.ok_or_else(|| Error::State(format!("no free port in {PORTS:?}")))
}

/// `wanted` when it is free on loopback, else the next free one above it.
pub fn next_free_port(wanted: u16) -> Result<u16> {
    let free = (wanted..=u16::MAX).find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.ok_or_else(|| Error::State(format!("no free port from {wanted} on")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_free_port_is_given_once_and_is_none_that_the_system_gives_away() {
        let given: Vec<u16> = (0..50).map(|_| free_port().expect("port").port()).collect();
        assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len(), "{given:?}");
        assert!(given.iter().all(|port| PORTS.contains(port)), "{given:?}");
    }
}
