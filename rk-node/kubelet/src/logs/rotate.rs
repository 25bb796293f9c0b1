//! Keeping logs in bounds: a file that grew too large is moved aside and the runtime opens a new one.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::options::LogBounds;
use crate::runtime::Runtime;

/// How often sizes are looked at.
const PERIOD: Duration = Duration::from_secs(10);

/// Rotates the logs of running containers for ever.
pub async fn rotate_loop(runtime: Runtime, bounds: LogBounds) {
    // Where a container logs never changes: it is asked once.
    let mut paths: HashMap<String, PathBuf> = HashMap::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        let Ok(mut containers) = runtime.list_containers().await else { continue };
        containers.retain(|c| c.state == rk_cri_api::v1::ContainerState::ContainerRunning as i32);
        let running: HashSet<&str> = containers.iter().map(|c| c.id.as_str()).collect();
        paths.retain(|id, _| running.contains(id.as_str()));
        for container in &containers {
            let path = match paths.get(&container.id) {
                Some(path) => path.clone(),
                None => {
                    let Ok(status) = runtime.container_status(&container.id).await else { continue };
                    let path = PathBuf::from(status.log_path);
                    paths.insert(container.id.clone(), path.clone());
                    path
                }
            };
            if fs::symlink_metadata(&path).is_ok_and(|m| m.len() >= bounds.size)
                && let Err(error) = rotate(&runtime, &container.id, &path, bounds.files).await
            {
                tracing::warn!(path = %path.display(), "rotating a log: {error}");
            }
        }
    }
}

async fn rotate(runtime: &Runtime, id: &str, path: &Path, files: usize) -> io::Result<()> {
    for old in surplus(path, files)? {
        fs::remove_file(old)?;
    }
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let aside = PathBuf::from(format!("{}.{stamp}", path.display()));
    fs::rename(path, &aside)?;
    if let Err(error) = runtime.reopen_log(id).await {
        // Without a reopened log the container would write into the rotated file for ever.
        fs::rename(&aside, path)?;
        return Err(io::Error::other(error));
    }
    Ok(())
}

/// Rotated files beyond the limit, oldest first; one more is about to be made.
fn surplus(path: &Path, files: usize) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut old: Vec<PathBuf> = fs::read_dir(dir)?
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(&prefix))
        .map(|e| e.path())
        .collect();
    old.sort();
    let keep = files.saturating_sub(2);
    old.truncate(old.len().saturating_sub(keep));
    Ok(old)
}
