//! Commands in a container, for probes and lifecycle hooks.

use std::time::Duration;

use rk_cri_api::v1::ExecSyncResponse;
use tonic::Code;

use crate::pod::decide::go_duration;
use crate::runtime::Runtime;

/// Output beyond this is cut from messages.
const MAX_OUTPUT: usize = 10 * 1024;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum ExecError {
    /// It ran and failed, or took too long.
    Failed {
        /// How, in words.
        error: String,
        /// What it wrote.
        output: String,
    },
    /// It could not be run at all.
    Errored(String),
    /// Its container does not run any more.
    Gone,
}

impl ExecError {
    /// What went wrong, and what the command wrote.
    pub fn parts(self) -> (String, String) {
        match self {
            Self::Failed { error, output } => (error, output),
            Self::Errored(error) => (error, String::new()),
            Self::Gone => ("the container does not run any more".to_owned(), String::new()),
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
        Ok(response) => judged(command, response),
        Err(error) => Err(match error.code {
            Code::DeadlineExceeded => timed_out(command, timeout),
            Code::NotFound | Code::FailedPrecondition => ExecError::Gone,
            _ => ExecError::Errored(error.to_string()),
        }),
    }
}

fn judged(command: &[String], response: ExecSyncResponse) -> Result<(), ExecError> {
    if response.exit_code == 0 {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_OUTPUT)]).into_owned();
    let (code, complaint) = (response.exit_code, text(&response.stderr));
    let error = format!("command '{}' exited with {code}: {complaint}", command.join(" "));
    let mut output = response.stdout;
    output.extend_from_slice(&response.stderr);
    Err(ExecError::Failed { error, output: text(&output) })
}

fn timed_out(command: &[String], timeout: Duration) -> ExecError {
    let (command, after) = (command.join(" "), go_duration(timeout));
    ExecError::Failed {
        error: format!("command timed out: {command:?} timed out after {after}"),
        output: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_tells_how_and_what_it_wrote() {
        let command = ["sh", "-c", "exit 3"].map(str::to_owned);
        let told = |exit_code, stdout: &str, stderr: &str| {
            let response = ExecSyncResponse { stdout: stdout.into(), stderr: stderr.into(), exit_code };
            judged(&command, response).map_err(ExecError::parts)
        };
        assert_eq!(told(0, "fine", ""), Ok(()));
        let error = |end: &str| format!("command 'sh -c exit 3' exited with 3: {end}");
        assert_eq!(told(3, "a", "b"), Err((error("b"), "ab".to_owned())));
        assert_eq!(told(3, "", ""), Err((error(""), String::new())));
        let long = "x".repeat(2 * MAX_OUTPUT);
        assert_eq!(told(3, &long, "").map_err(|(_, output)| output.len()), Err(MAX_OUTPUT));
        let late = "command timed out: \"sh -c exit 3\" timed out after 2s".to_owned();
        assert_eq!(timed_out(&command, Duration::from_secs(2)).parts(), (late, String::new()));
    }
}
