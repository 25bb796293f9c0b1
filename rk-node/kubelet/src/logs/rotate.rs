//! Keeping logs in bounds: a file that grew too large is moved aside and the runtime opens a new one.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;

use crate::options::LogBounds;
use crate::runtime::Runtime;

/// What a file that is being compressed is called, and one that is.
const HALF: &str = "tmp";
const WHOLE: &str = "gz";

/// Rotates the logs of running containers for ever.
pub async fn rotate_loop(runtime: Runtime, bounds: LogBounds) {
    // Where a container logs never changes: it is asked once.
    let mut paths: HashMap<String, PathBuf> = HashMap::new();
    loop {
        tokio::time::sleep(bounds.monitor).await;
        let Ok(mut containers) = runtime.list_containers().await else { continue };
        containers.retain(|c| c.state == rk_cri_api::v1::ContainerState::ContainerRunning as i32);
        let running: HashSet<&str> = containers.iter().map(|c| c.id.as_str()).collect();
        paths.retain(|id, _| running.contains(id.as_str()));
        let mut due = Vec::new();
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
            if fs::symlink_metadata(&path).is_ok_and(|m| m.len() >= bounds.size) {
                due.push((container.id.clone(), path));
            }
        }
        let workers = usize::try_from(bounds.workers).unwrap_or(usize::MAX).max(1);
        let runtime = &runtime;
        let work = futures::stream::iter(due).for_each_concurrent(workers, |(id, path)| async move {
            if let Err(error) = rotate(runtime, &id, &path, bounds.files).await {
                tracing::warn!(path = %path.display(), "rotating a log: {error}");
            }
        });
        work.await;
    }
}

async fn rotate(runtime: &Runtime, id: &str, path: &Path, files: usize) -> io::Result<()> {
    let log = path.to_owned();
    tokio::task::spawn_blocking(move || tidy(&log, files)).await.map_err(io::Error::other)??;
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

/// Makes room for one more rotated file, and compresses those that are there: the one before the live file was plain so far, for who
/// reads it still.
fn tidy(path: &Path, files: usize) -> io::Result<()> {
    let all = rotated(path)?;
    let is = |file: &Path, ending: &str| file.extension().is_some_and(|extension| extension == ending);
    let whole_of = |file: &Path| PathBuf::from(format!("{}.{WHOLE}", file.display()));
    // What a crash left: halves, and what was compressed and not removed yet.
    let (useless, mut old): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(|file| is(file, HALF) || all.contains(&whole_of(file)));
    let surplus = old.len().saturating_sub(files.saturating_sub(2));
    for file in useless.into_iter().chain(old.drain(..surplus)) {
        fs::remove_file(file)?;
    }
    for file in old.iter().filter(|file| !is(file, WHOLE)) {
        compress(file, &whole_of(file))?;
    }
    Ok(())
}

/// What was moved aside of a log, oldest first.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut found: Vec<PathBuf> = fs::read_dir(dir)?
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(&prefix))
        .map(|e| e.path())
        .collect();
    found.sort();
    Ok(found)
}

/// Whole under its name or not at all; the plain file goes last.
fn compress(file: &Path, whole: &Path) -> io::Result<()> {
    // Whoever can write here must not have other files read or written by a link.
    if !fs::symlink_metadata(file)?.is_file() {
        return Ok(());
    }
    let half = PathBuf::from(format!("{}.{HALF}", file.display()));
    let from = fs::File::open(file)?;
    let permissions = from.metadata()?.permissions();
    let into = fs::File::create_new(&half)?;
    into.set_permissions(permissions)?;
    let mut encoder = GzEncoder::new(into, Compression::default());
    io::copy(&mut io::BufReader::new(from), &mut encoder)?;
    encoder.finish()?;
    fs::rename(&half, whole)?;
    fs::remove_file(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn rotated_files_are_compressed_kept_in_number_and_cleared_of_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| fs::write(dir.path().join(name), format!("of {name}\n")).unwrap();
        let names = || {
            let entries = fs::read_dir(dir.path()).unwrap().flatten();
            let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        for name in ["0.log", "0.log.1.gz", "0.log.2.gz", "0.log.2", "0.log.3", "0.log.4.tmp", "0.log.4", "1.log.1"] {
            write(name);
        }
        let log = dir.path().join("0.log");
        tidy(&log, 4).unwrap();
        assert_eq!(names(), ["0.log", "0.log.3.gz", "0.log.4.gz", "1.log.1"]);
        let mut text = String::new();
        let whole = fs::File::open(dir.path().join("0.log.4.gz")).unwrap();
        flate2::read::GzDecoder::new(whole).read_to_string(&mut text).unwrap();
        assert_eq!(text, "of 0.log.4\n");
        tidy(&log, 4).unwrap();
        assert_eq!(names().len(), 4, "what is compressed stays as it is");
        tidy(&log, 2).unwrap();
        assert_eq!(names(), ["0.log", "1.log.1"]);
    }
}
