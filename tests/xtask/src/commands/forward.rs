//! `forward`: another port of this host into a node, while it runs.

use super::{ForwardArgs, running};
use crate::paths::Paths;
use anyhow::{Result, bail};
use rk_qemu::registry::next_free_port;
use rk_qemu::vm;
use std::net::{Ipv4Addr, SocketAddr};

pub fn run(paths: &Paths, args: &ForwardArgs) -> Result<()> {
    let state = running(paths, &args.name.name)?;
    let Some(node) = state.node(&args.node) else { bail!("no node is named {:?}", args.node) };
    if let Some(known) =
        node.forwards.iter().find(|f| f.guest == args.port && args.host_port.is_none_or(|p| p == f.host))
    {
        say!("http://127.0.0.1:{} leads to port {} of {} already", known.host, args.port, node.name);
        return Ok(());
    }
    let port = match args.host_port {
        Some(port) => port,
        None => next_free_port(args.port)?,
    };
    vm::connect(&node.qmp)?.forward(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), args.port)?;
    say!("http://127.0.0.1:{port} leads to port {} of {}", args.port, node.name);
    Ok(())
}
