//! Writing an image of one layer as an OCI layout.

use super::layer::{Entry, gzip_layer};
use super::store::{Descriptor, digest};
use super::{ImageName, media};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::path::Path;

/// How a container of the image runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// What is run.
    pub entrypoint: Vec<String>,
    /// Arguments, replaced by a pod's `args`.
    pub cmd: Vec<String>,
    /// `KEY=value`.
    pub env: Vec<String>,
    /// Ports such as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Signal that asks for the end, such as `SIGQUIT`.
    pub stop_signal: Option<String>,
    /// Who it runs as: `user`, `uid`, `user:group` or `uid:gid`; root when absent.
    pub user: Option<String>,
    /// Directories that are to outlive containers.
    pub volumes: Vec<String>,
}

/// Writes an image for linux/amd64 to the folder `layout` (emptied first) under `name`. Equal input gives equal bytes.
pub fn write_layout(layout: &Path, name: &ImageName, entries: &[Entry], config: &ImageConfig) -> Result<()> {
    let (plain, gzip) = gzip_layer(entries).map_err(|e| Error::image(name.to_string(), e))?;
    let blobs = layout.join("blobs/sha256");
    if layout.exists() {
        std::fs::remove_dir_all(layout).map_err(Error::file("clear", layout))?;
    }
    std::fs::create_dir_all(&blobs).map_err(Error::file("create", &blobs))?;
    let layer = put(&blobs, &format!("{}+gzip", media::LAYER), &gzip)?;
    let config = put(&blobs, media::CONFIG, &to_bytes(&config_json(config, &digest(&plain))))?;
    let manifest = json!({"schemaVersion": 2, "mediaType": media::MANIFEST, "config": config, "layers": [layer]});
    let mut root = put(&blobs, media::MANIFEST, &to_bytes(&manifest))?;
    root.annotations.insert("io.containerd.image.name".into(), name.to_string());
    root.annotations.insert("org.opencontainers.image.ref.name".into(), name.tag.clone());
    let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": [root]});
    write(&layout.join("index.json"), &to_bytes(&index))?;
    write(&layout.join("oci-layout"), &to_bytes(&json!({"imageLayoutVersion": "1.0.0"})))
}

fn config_json(config: &ImageConfig, diff_id: &str) -> Value {
    let ports: serde_json::Map<String, Value> = config.exposed_ports.iter().map(|p| (p.clone(), json!({}))).collect();
    let mut run = json!({"Entrypoint": config.entrypoint, "Cmd": config.cmd, "Env": config.env, "ExposedPorts": ports, "WorkingDir": "/"});
    for (key, value) in [("StopSignal", &config.stop_signal), ("User", &config.user)] {
        if let Some(value) = value {
            run[key] = json!(value);
        }
    }
    if !config.volumes.is_empty() {
        run["Volumes"] =
            config.volumes.iter().map(|path| (path.clone(), json!({}))).collect::<serde_json::Map<_, _>>().into();
    }
    json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "rk"}],
    })
}

fn put(blobs: &Path, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
    let digest = digest(bytes);
    let hash = digest.strip_prefix("sha256:").unwrap_or(&digest);
    write(&blobs.join(hash), bytes)?;
    Ok(Descriptor::new(media_type, &digest, bytes.len() as u64))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(Error::file("write", path))
}

fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
