//! Cluster DNS on every node: the names of services and pods by the Kubernetes DNS specification 1.1.0, everything else forwarded.
//!
//! [`Zone`] is pure: it remembers Services and EndpointSlices and answers questions about names. Around it: `feed` keeps it
//! current, `respond` turns packets into packets, `server` owns the sockets, `upstream` asks the node's resolvers, `link` puts the
//! cluster DNS address on a dummy link, so that every pod's queries end on its own node.
//!
//! Limits: queries under way, those of them that wait for other resolvers, TCP connections and cached answers are bounded where they are
//! named; what is over is dropped, or told that it failed, and DNS clients ask again.

mod cache;
mod feed;
mod link;
mod respond;
mod server;
mod upstream;
mod zone;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

pub use zone::{Answer, Data, Zone};

/// Where and what to serve.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address that pods ask, usually the tenth of the service network.
    pub address: IpAddr,
    /// 53 but for tests.
    pub port: u16,
    /// The cluster's domain, `cluster.local`.
    pub domain: String,
    /// The dummy link that carries `address`; `None` when the address is there already.
    pub link: Option<String>,
    /// The node's `resolv.conf`, read again when it changes; its servers are asked for all other names.
    pub resolv_conf: PathBuf,
}

/// Why cluster DNS cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The address cannot be put on the node.
    #[error("cannot put {address} on link {link}")]
    Link {
        /// The link's name.
        link: String,
        /// The address.
        address: IpAddr,
        /// What the kernel said.
        #[source]
        source: rtnetlink::Error,
    },
    /// Talking to the kernel failed.
    #[error("cannot reach the kernel's link interface")]
    Netlink(#[source] std::io::Error),
    /// The socket cannot be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// The socket address.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

/// Serves until dropped.
///
/// # Errors
/// When the link or the sockets cannot be set up; the caller tries again.
pub async fn run(client: kube::Client, config: Config) -> Result<(), DnsError> {
    let zone = Arc::new(RwLock::new(Zone::new(&config.domain, config.address)));
    if let Some(link) = &config.link {
        link::ensure(link, config.address).await?;
    }
    let upstream = Arc::new(upstream::Upstream::new(config.resolv_conf.clone(), config.address));
    let server = server::Server::bind(SocketAddr::new(config.address, config.port)).await?;
    tracing::info!(address = %config.address, domain = config.domain, "cluster DNS is up");
    tokio::select! {
        () = feed::run(client, &zone) => {}
        () = server.run(Arc::clone(&zone), upstream) => {}
    }
    Ok(())
}
