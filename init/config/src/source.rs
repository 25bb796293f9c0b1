//! The machine config on the kernel command line: `rk.config=base64:<YAML in base64>`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The parameter's name.
pub const CMDLINE_KEY: &str = "rk.config";

/// Why a config on the command line could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// Another encoding than `base64:`.
    #[error("kernel parameter rk.config must start with base64:")]
    Encoding,
    /// Broken base64.
    #[error("kernel parameter rk.config is not valid base64: {0}")]
    Base64(String),
    /// The bytes are no UTF-8.
    #[error("kernel parameter rk.config is not UTF-8 text")]
    Utf8,
}

/// The value of `key` on a kernel command line: the last one wins, a bare `key` is the empty text.
pub fn cmdline_value<'a>(cmdline: &'a str, key: &str) -> Option<&'a str> {
    cmdline
        .split_ascii_whitespace()
        .filter_map(|word| match word.split_once('=') {
            Some((name, value)) if name == key => Some(value),
            None if word == key => Some(""),
            _ => None,
        })
        .next_back()
}

/// The YAML that a command line carries, if it carries any.
pub fn from_cmdline(cmdline: &str) -> Option<Result<String, CmdlineError>> {
    let value = cmdline_value(cmdline, CMDLINE_KEY)?;
    Some(decode(value))
}

/// The command-line word that carries `yaml`. The kernel's command line holds 2048 bytes in all: for small configs.
pub fn encode_for_cmdline(yaml: &str) -> String {
    format!("{CMDLINE_KEY}=base64:{}", STANDARD.encode(yaml))
}

fn decode(value: &str) -> Result<String, CmdlineError> {
    let text = value.strip_prefix("base64:").ok_or(CmdlineError::Encoding)?;
    let bytes = STANDARD.decode(text).map_err(|err| CmdlineError::Base64(err.to_string()))?;
    String::from_utf8(bytes).map_err(|_| CmdlineError::Utf8)
}
