//! The CRI server exercised through its socket on a machine of its own: cgroup v2, namespaces and seccomp cannot be had on most
//! development hosts. Boot a guest with this, `rk-shim`, `rk-cni` (with its links in `/opt/cni/bin`) and an OCI layout, then run
//! `guest check LAYOUT`; every line says `ok` or `FAILED`, the last one how many failed.
//!
//! ```text
//! guest serve             the server with a node's paths and a mirror at 127.0.0.1:5000
//! guest check LAYOUT      serves LAYOUT as that mirror, starts `guest serve` and goes through the checks
//! ```

mod checks;
mod client;
mod confinement;
mod crash;
mod lifecycle;
mod registry;
mod streams;

use std::sync::Arc;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("serve"), None) => serve().await,
        (Some("check"), Some(layout)) => checks::run(layout.into()).await,
        _ => Err("usage: guest serve | guest check LAYOUT".into()),
    }
}

async fn serve() -> Result<()> {
    let mut images = rk_images::Config::new("/var/lib/rk/images");
    images.mirrors = vec![rk_images::Mirror {
        matches: "*".into(),
        endpoints: vec!["http://127.0.0.1:5000".into()],
        include_host: false,
    }];
    let images = rk_images::Images::open(images).await?;
    let network = Arc::new(rk_cri::CniNetwork::default());
    rk_cri::serve(rk_cri::Config::new(images, network, rk_cri::Starter::new()?), std::future::pending()).await?;
    Ok(())
}
