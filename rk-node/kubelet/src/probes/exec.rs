//! Commands in a container, for probes and lifecycle hooks.

use std::time::Duration;

use crate::runtime::Runtime;

/// Output beyond this is cut from messages.
const MAX_OUTPUT: usize = 10 * 1024;

/// Runs the command; a non-zero exit is an error that carries its output.
pub async fn run(runtime: &Runtime, container_id: &str, command: &[String], timeout: Duration) -> Result<(), String> {
    match runtime.exec_sync(container_id, command.to_vec(), timeout).await {
        Ok(response) if response.exit_code == 0 => Ok(()),
        Ok(response) => {
            let mut output = response.stdout;
            output.extend_from_slice(&response.stderr);
            output.truncate(MAX_OUTPUT);
            let text = String::from_utf8_lossy(&output).into_owned();
            Err(if text.is_empty() { format!("command exited with code {}", response.exit_code) } else { text })
        }
        Err(error) if error.code == tonic::Code::DeadlineExceeded => {
            Err(format!("command timed out: {command:?} timed out after {}", crate::pod::decide::go_duration(timeout)))
        }
        Err(error) => Err(error.to_string()),
    }
}
