//! Restarting and switching off, one node after the other: what keeps a cluster up is that they do not leave at once.

use super::{disk, known};
use crate::args::{Drain, Format, Global};
use crate::connect::{Trust, connect};
use crate::exit::{Class, class_of_error, words};
use crate::output;
use anyhow::Result;
use rk_machine_proto::v1::RestartRequest;
use serde_json::json;

/// What becomes of the machine.
#[derive(Debug, Clone, Copy)]
pub enum Deed {
    /// It starts again.
    Reboot,
    /// It starts again with the other slot.
    RollBack,
    /// It goes off.
    Shutdown,
}

/// Asks the nodes in their order; stops at the first that does not do it.
///
/// # Errors
/// There is no operator's file, or no node is named.
pub async fn run(global: &Global, deed: Deed, drain: &Drain) -> Result<Class> {
    let (trust, nodes) = known(global)?;
    let (several, mut class) = (nodes.len() > 1, Class::Good);
    let mut done = Vec::new();
    for node in nodes {
        if let Err(err) = one(&node, &trust, deed, drain).await {
            eprintln!("rkctl: {node}: {}", words(&err));
            class = class_of_error(&err);
            break;
        }
        // A person hears of each as it goes.
        if global.print == Format::Table {
            output::done(Format::Table, "done", several, &[(node.clone(), json!({}))])?;
        }
        done.push((node, json!({})));
    }
    if global.print != Format::Table {
        output::done(global.print, "done", several, &done)?;
    }
    Ok(class)
}

async fn one(node: &str, trust: &Trust, deed: Deed, drain: &Drain) -> Result<()> {
    let mut client = connect(node, trust).await?;
    let request = RestartRequest { drain_seconds: drain.seconds() };
    let answer = match deed {
        Deed::Reboot => client.reboot(request).await,
        Deed::RollBack => client.rollback(request).await,
        Deed::Shutdown => client.shutdown(request).await,
    };
    disk::show(answer?.into_inner()).await
}
