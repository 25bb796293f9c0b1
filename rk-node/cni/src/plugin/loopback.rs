//! `loopback`: brings `lo` up.

use serde_json::to_value;

use super::{
    Answer,
    link::{Links, in_container},
    request::{Command, Request, failed},
};
use crate::types::{CniError, CniResult, Interface, IpConfig};

pub(super) fn run(request: &Request) -> Answer {
    match request.command {
        Command::Add => add(request),
        Command::Check => check(request),
        // The link goes with its namespace.
        Command::Del | Command::Gc | Command::Status => Ok(None),
    }
}

fn add(request: &Request) -> Answer {
    in_container(request, || async {
        let links = Links::open()?;
        let lo = links.need("lo").await?;
        links.up(lo.index).await
    })?;
    let previous = request.previous()?;
    let own = || CniResult {
        interfaces: vec![Interface {
            name: "lo".into(),
            mac: "00:00:00:00:00:00".into(),
            sandbox: request.netns.as_deref().map(|p| p.display().to_string()).unwrap_or_default(),
            ..Interface::default()
        }],
        ips: ["127.0.0.1/8", "::1/128"]
            .iter()
            .filter_map(|a| a.parse().ok())
            .map(|address| IpConfig { version: None, interface: Some(0), address, gateway: None })
            .collect(),
        ..CniResult::default()
    };
    let result = previous.unwrap_or_else(own).versioned(&request.version);
    to_value(result).map(Some).map_err(|e| failed("encode result", e))
}

fn check(request: &Request) -> Answer {
    let up = in_container(request, || async { Ok(Links::open()?.need("lo").await?.up) })?;
    if up { Ok(None) } else { Err(CniError::new(CniError::FAILED, "interface lo is down")) }
}
