//! What SIGTERM means: the end of this process, or, with PID 1's note, the end of the machine.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How the process was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The machine goes down: pods must end first.
    Machine,
    /// Only this process ends, to be started again: nothing else may notice.
    Process,
}

/// Waits for SIGTERM or SIGINT. `going_down` becomes true when the machine goes down.
pub async fn wait(note: PathBuf, going_down: watch::Sender<bool>) -> std::io::Result<End> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    if note.exists() {
        going_down.send_replace(true);
        return Ok(End::Machine);
    }
    Ok(End::Process)
}
