//! `load`: image archives into the registry of a running cluster.

use super::{LoadArgs, running};
use crate::paths::Paths;
use anyhow::{Context, Result};
use rk_qemu::http::Client;
use rk_qemu::oci::{Archive, ImageName, push};
use std::net::{Ipv4Addr, SocketAddr};

pub fn run(paths: &Paths, args: &LoadArgs) -> Result<()> {
    let state = running(paths, &args.name.name)?;
    let client = Client::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, state.registry_port)));
    let fallback = args.image_name.as_deref().map(str::parse::<ImageName>).transpose()?;
    for path in &args.archives {
        let archive = Archive::open(path, fallback.as_ref()).with_context(|| format!("read {}", path.display()))?;
        for name in push(&client, &archive).with_context(|| format!("load {}", path.display()))? {
            say!("{name}");
        }
    }
    Ok(())
}
