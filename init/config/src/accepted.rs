//! The accepted config as PID 1 hands it to the services it starts.

use crate::error::ConfigError;
use crate::parse::MAX_CONFIG_BYTES;
use crate::types::MachineConfig;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where PID 1 writes it; mode 0600, for it holds secrets.
pub const ACCEPTED_PATH: &str = "/run/rk/machine.json";

/// The node agent touches it every few seconds while its parts get their turns; PID 1 watches its time.
pub const ALIVE_PATH: &str = "/run/rk/node-alive";

/// How to give a config to a machine that waits for one, in lines for its screen: the machine API writes them, PID 1 shows them.
pub const INVITATION_PATH: &str = "/run/rk/invitation";

/// What outlives everything: the config that an operator applied. The disk labelled `RK-STATE`, else a folder of the data disk.
pub const STATE_DIR: &str = "/run/rk/state";
/// Where the machine API lays a config for PID 1 to accept; mode 0600.
pub const OFFERED_PATH: &str = "/run/rk/offered.yaml";
/// Where rk-node takes archives of images in: a length of 8 bytes (big endian) and as many bytes come, lines of JSON go back, each an
/// image's `name` with its `id` or an `error`, or an `error` alone.
pub const IMAGES_SOCKET: &str = "/run/rk/images.sock";
/// Where rk-node tells how far pulls of images are: whoever connects reads one document of JSON.
pub const PULLS_SOCKET: &str = "/run/rk/pulls.sock";
/// Largest archive of images.
pub const MAX_IMAGES_BYTES: u64 = 64 << 30;

/// The config as JSON.
///
/// # Errors
/// Never for a config made by [`crate::parse`]; the type says so because serde's does.
pub fn to_json(config: &MachineConfig) -> Result<String, ConfigError> {
    serde_json::to_string_pretty(config).map_err(|err| ConfigError::Syntax(err.to_string()))
}

/// The config as the YAML that [`crate::parse`] reads; for tools that make configs.
///
/// # Errors
/// Never for a config made by [`crate::parse`]; the type says so because serde's does.
pub fn to_yaml(config: &MachineConfig) -> Result<String, ConfigError> {
    serde_yaml_ng::to_string(config).map_err(|err| ConfigError::Syntax(err.to_string()))
}

/// Reads the accepted config back.
///
/// # Errors
/// The file cannot be read, or is not what [`save_accepted`] writes.
pub fn load_accepted(path: impl AsRef<Path>) -> Result<MachineConfig, ConfigError> {
    let path = path.as_ref();
    let io = |source| ConfigError::Io { path: path.display().to_string(), source };
    let mut bytes = Vec::new();
    // JSON escapes may double a text, hence twice the YAML limit.
    File::open(path).map_err(io)?.take(2 * MAX_CONFIG_BYTES as u64).read_to_end(&mut bytes).map_err(io)?;
    serde_json::from_slice(&bytes)
        .map_err(|err| ConfigError::Corrupt { path: path.display().to_string(), reason: err.to_string() })
}

/// Writes the accepted config: new file of mode 0600, fsync, rename.
///
/// # Errors
/// The directory or file cannot be written.
pub fn save_accepted(config: &MachineConfig, path: impl AsRef<Path>) -> Result<(), ConfigError> {
    let path = path.as_ref();
    let json = to_json(config)?;
    write_new(path, json.as_bytes()).map_err(|source| ConfigError::Io { path: path.display().to_string(), source })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = path.with_extension("json.new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}
