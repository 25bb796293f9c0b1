//! How a finished command is told to the client.

use serde_json::{Value, json};

/// What became of an exec or attach session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutcome {
    /// The process ended with this code.
    Exited(i32),
    /// The session failed before or besides the process: the text reaches the user.
    Failed(String),
}

impl ExecOutcome {
    /// The `metav1.Status` of protocol versions 4 and 5, as JSON text.
    pub(crate) fn status(&self) -> Vec<u8> {
        let value: Value = match self {
            Self::Exited(0) => json!({"metadata": {}, "status": "Success"}),
            Self::Exited(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(text) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {text}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": text}]},
                "code": 500,
            }),
        };
        value.to_string().into_bytes()
    }

    /// The plain text of older versions; nothing on success.
    pub(crate) fn text(&self) -> Vec<u8> {
        match self {
            Self::Exited(0) => Vec::new(),
            Self::Exited(code) => format!(
                "error executing remote command: command terminated with non-zero exit code: exit status {code}"
            )
            .into_bytes(),
            Self::Failed(text) => format!("error executing remote command: {text}").into_bytes(),
        }
    }

    /// What this protocol version puts on the error stream.
    pub(crate) fn encode(&self, protocol: &str) -> Vec<u8> {
        if protocol.starts_with("v4.") || protocol.starts_with("v5.") { self.status() } else { self.text() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_a_cause() {
        let status: Value = serde_json::from_slice(&ExecOutcome::Exited(42).encode("v5.channel.k8s.io")).unwrap();
        assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "42"}));
        assert_eq!(status["reason"], "NonZeroExitCode");
        let done: Value = serde_json::from_slice(&ExecOutcome::Exited(0).encode("v4.channel.k8s.io")).unwrap();
        assert_eq!(done["status"], "Success");
    }

    #[test]
    fn old_versions_get_text() {
        assert!(ExecOutcome::Exited(0).encode("channel.k8s.io").is_empty());
        assert!(ExecOutcome::Failed("no such container".into()).encode("").ends_with(b"no such container"));
    }
}
