//! The ends of a machine that is to come back or not: its pods leave first, if the caller gives them time.

use super::{Drained, drain};
use crate::disks::{ProgressStream, STEPS, Teller, Turn};
use crate::log;
use crate::node::Pid1;
use futures::FutureExt as _;
use rk_config::MachineConfig;
use rk_supervise::control::Request;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It starts again.
    Reboot,
    /// It starts again with the other slot.
    RollBack,
    /// It goes off.
    PowerOff,
}

/// Ends the machine; the answer tells the steps. `turn` keeps others from its disks meanwhile.
///
/// # Errors
/// There is no other slot to go back to, or PID 1 refuses. That pods did not leave in time comes as the last step.
pub async fn restart(
    pid1: Arc<Pid1>,
    config: Option<MachineConfig>,
    deed: Deed,
    drain_seconds: u32,
    turn: Option<Turn>,
) -> Result<ProgressStream, Status> {
    if deed == Deed::RollBack {
        pid1.ask(&Request::Slots).await?;
    }
    let (sender, receiver) = mpsc::channel(STEPS);
    let teller = Teller::new(sender);
    let config = config.filter(|_| drain_seconds > 0);
    let Some(config) = config else {
        end(&pid1, deed).await?;
        teller.say(Ok(word(deed))).await;
        return Ok(Box::pin(ReceiverStream::new(receiver)));
    };
    let patience = Duration::from_secs(u64::from(drain_seconds.min(super::MOST_DRAIN)));
    let task = async move {
        let done = match drain(&config, patience, &teller).await {
            Ok(drained) => finish(&pid1, deed, drained, &teller).await,
            Err(status) => Err(status),
        };
        drop(turn);
        if let Err(status) = done {
            log::warn(format_args!("{}: {}", word(deed), status.message()));
            teller.say(Err(status)).await;
        }
    };
    tokio::spawn(task.boxed());
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

async fn finish(pid1: &Pid1, deed: Deed, drained: Drained, teller: &Teller) -> Result<(), Status> {
    teller.say(Ok(word(deed))).await;
    if let Err(status) = end(pid1, deed).await {
        drained.undo().await;
        return Err(status);
    }
    Ok(())
}

async fn end(pid1: &Pid1, deed: Deed) -> Result<(), Status> {
    if deed == Deed::RollBack {
        pid1.ask(&Request::RollBack).await?;
    }
    let request = if deed == Deed::PowerOff { Request::PowerOff } else { Request::Reboot };
    pid1.ask(&request).await?;
    Ok(())
}

fn word(deed: Deed) -> &'static str {
    match deed {
        Deed::Reboot => "the machine restarts",
        Deed::RollBack => "the machine restarts with the other slot",
        Deed::PowerOff => "the machine goes off",
    }
}
