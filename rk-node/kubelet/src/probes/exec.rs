//! Commands in a container, for probes and lifecycle hooks.

use std::time::Duration;

use tonic::Code;

use crate::pod::decide::go_duration;
use crate::runtime::Runtime;

/// Output beyond this is cut from messages.
const MAX_OUTPUT: usize = 10 * 1024;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum ExecError {
    /// It ran and failed, or took too long: the words for it.
    Failed(String),
    /// It could not be run at all.
    Errored(String),
    /// Its container does not run any more.
    Gone,
}

impl ExecError {
    /// The words.
    pub fn message(self) -> String {
        match self {
            Self::Failed(message) | Self::Errored(message) => message,
            Self::Gone => "the container does not run any more".into(),
        }
    }
}

/// Runs the command; a non-zero exit is an error that carries its output.
pub async fn run(
    runtime: &Runtime,
    container_id: &str,
    command: &[String],
    timeout: Duration,
) -> Result<(), ExecError> {
    match runtime.exec_sync(container_id, command.to_vec(), timeout).await {
        Ok(response) if response.exit_code == 0 => Ok(()),
        Ok(response) => {
            let mut output = response.stdout;
            output.extend_from_slice(&response.stderr);
            output.truncate(MAX_OUTPUT);
            let text = String::from_utf8_lossy(&output).into_owned();
            let code = response.exit_code;
            Err(ExecError::Failed(if text.is_empty() { format!("command exited with code {code}") } else { text }))
        }
        Err(error) => Err(match error.code {
            Code::DeadlineExceeded => {
                ExecError::Failed(format!("command timed out: {command:?} timed out after {}", go_duration(timeout)))
            }
            Code::NotFound | Code::FailedPrecondition => ExecError::Gone,
            _ => ExecError::Errored(error.to_string()),
        }),
    }
}
