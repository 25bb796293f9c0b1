//! The machine config on the kernel command line: `rk.config=base64:<YAML in base64>` or `rk.config=<URL>`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The parameter's name.
pub const CMDLINE_KEY: &str = "rk.config";

/// What the command line says of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CmdlineConfig {
    /// The YAML itself.
    Text(String),
    /// Where to fetch it.
    Url(String),
}

/// Why a config on the command line could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// Another encoding than `base64:`, and no URL.
    #[error("kernel parameter rk.config must start with base64:, http:// or https://")]
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

/// The config that a command line carries or points to, if it does either.
pub fn from_cmdline(cmdline: &str) -> Option<Result<CmdlineConfig, CmdlineError>> {
    let value = cmdline_value(cmdline, CMDLINE_KEY)?;
    Some(decode(value))
}

/// The command-line word that carries `yaml`. The kernel's command line holds 2048 bytes in all: for small configs.
pub fn encode_for_cmdline(yaml: &str) -> String {
    format!("{CMDLINE_KEY}=base64:{}", STANDARD.encode(yaml))
}

/// A text such as the kernel's messages, without the configs that command lines in it carry.
pub fn hidden_in_cmdline(text: &str) -> String {
    let mark = format!("{CMDLINE_KEY}=base64:");
    let mut parts = text.split(mark.as_str());
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str(CMDLINE_KEY);
        shown.push_str("=<secret>");
        shown.push_str(part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+/=".contains(c)));
    }
    shown
}

fn decode(value: &str) -> Result<CmdlineConfig, CmdlineError> {
    if ["http://", "https://"].iter().any(|scheme| value.starts_with(scheme)) {
        return Ok(CmdlineConfig::Url(value.to_owned()));
    }
    let text = value.strip_prefix("base64:").ok_or(CmdlineError::Encoding)?;
    let bytes = STANDARD.decode(text).map_err(|err| CmdlineError::Base64(err.to_string()))?;
    String::from_utf8(bytes).map(CmdlineConfig::Text).map_err(|_| CmdlineError::Utf8)
}
