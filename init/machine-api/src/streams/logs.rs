//! Logs of our services and of containers, from files; followed by looking again, for files are renamed when they are full.

use super::{Bytes, Sink, last_lines};
use futures::FutureExt as _;
use rk_machine_proto::CHUNK;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::Status;

/// Bytes told of one log that is not followed.
const MOST: u64 = 64 << 20;
const LOOK: Duration = Duration::from_millis(300);

/// Where logs lie.
#[derive(Debug, Clone)]
pub struct Places {
    /// Of our services.
    pub services: PathBuf,
    /// Of pods, as the kubelet lays them out.
    pub pods: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Places { services: "/var/log/rk".into(), pods: "/var/log/pods".into() }
    }
}

/// Finds the log of `source`: a service's name, or `namespace/pod/container`.
///
/// # Errors
/// There is none; services that have one are named.
pub fn find(places: &Places, source: &str) -> Result<PathBuf, Status> {
    let plain = |text: &str| {
        !text.is_empty()
            && text.len() <= 253
            && !text.starts_with('.')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
    };
    let parts: Vec<&str> = source.split('/').collect();
    if !parts.iter().all(|part| plain(part)) {
        return Err(Status::invalid_argument("a log is named by a service, or by namespace/pod/container"));
    }
    match parts.as_slice() {
        [service] => {
            let path = places.services.join(format!("{service}.log"));
            if path.is_file() {
                return Ok(path);
            }
            Err(Status::not_found(format!(
                "no service {service} has a log here; there are: {}",
                services(places).join(", ")
            )))
        }
        [namespace, pod, container] => container_log(places, namespace, pod, container),
        _ => Err(Status::invalid_argument("a log is named by a service, or by namespace/pod/container")),
    }
}

fn services(places: &Places) -> Vec<String> {
    let Ok(entries) = fs::read_dir(&places.services) else { return Vec::new() };
    let names = entries.flatten().take(64).filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter_map(|name| name.strip_suffix(".log").map(str::to_owned)).collect();
    names.sort();
    names
}

/// `<namespace>_<pod>_<uid>/<container>/<restart>.log`: the newest folder, the highest number.
fn container_log(places: &Places, namespace: &str, pod: &str, container: &str) -> Result<PathBuf, Status> {
    let prefix = format!("{namespace}_{pod}_");
    let entries =
        fs::read_dir(&places.pods).map_err(|err| Status::not_found(format!("{}: {err}", places.pods.display())))?;
    let folders = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    let newest = folders.max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok());
    let number = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok());
    newest
        .and_then(|folder| fs::read_dir(folder.path().join(container)).ok())
        .and_then(|files| {
            let logs =
                files.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "log"));
            logs.filter(|path| number(path).is_some()).max_by_key(|path| number(path))
        })
        .ok_or_else(|| Status::not_found(format!("no log of {namespace}/{pod}/{container} is on this node")))
}

/// Streams a log: its last `lines` lines (0: all), then what comes, when it is followed.
///
/// # Errors
/// It cannot be opened.
pub fn stream(path: PathBuf, lines: u32, follow: bool) -> Result<Bytes, Status> {
    let failed = |err: std::io::Error| Status::internal(format!("{}: {err}", path.display()));
    let mut file = File::open(&path).map_err(failed)?;
    let from = if lines == 0 {
        file.metadata().map_err(failed)?.len().saturating_sub(MOST)
    } else {
        last_lines(&mut file, lines, MOST).map_err(failed)?
    };
    file.seek(SeekFrom::Start(from)).map_err(failed)?;
    let (sink, stream) = Sink::pair();
    let task = async move {
        tokio::select! {
            () = sink.closed() => {}
            () = pump(&sink, file, &path, follow) => {}
        }
    };
    tokio::spawn(task.boxed());
    Ok(stream)
}

async fn pump(sink: &Sink, mut file: File, path: &Path, follow: bool) {
    let mut buffer = vec![0; CHUNK];
    // Another file has the name: it follows once the last lines of this one were read.
    let mut successor = None;
    loop {
        match file.read(&mut buffer) {
            Ok(0) if !follow => return,
            Ok(0) => match successor.take() {
                Some(new) => file = new,
                None => {
                    tokio::time::sleep(LOOK).await;
                    successor = replacement(&file, path);
                }
            },
            Ok(size) => {
                if sink.send(buffer.get(..size).unwrap_or_default()).await.is_err() {
                    return;
                }
            }
            Err(err) => return sink.fail(Status::internal(format!("{}: {err}", path.display()))).await,
        }
    }
}

/// The file that now has this name, when it is another one.
fn replacement(file: &File, path: &Path) -> Option<File> {
    let (old, new) = (file.metadata().ok()?, fs::metadata(path).ok()?);
    if (old.dev(), old.ino()) == (new.dev(), new.ino()) {
        return None;
    }
    File::open(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tokio_stream::StreamExt;

    fn places(dir: &Path) -> Places {
        let places = Places { services: dir.join("rk"), pods: dir.join("pods") };
        fs::create_dir_all(&places.services).unwrap();
        fs::create_dir_all(places.pods.join("a_web_uid-1/c")).unwrap();
        fs::write(places.services.join("node.log"), "one\ntwo\nthree\n").unwrap();
        for restart in [2, 10, 9] {
            fs::write(places.pods.join(format!("a_web_uid-1/c/{restart}.log")), format!("{restart}\n")).unwrap();
        }
        places
    }

    #[test]
    fn a_log_is_found_by_service_and_by_container_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        assert!(find(&places, "node").unwrap().ends_with("rk/node.log"));
        assert!(find(&places, "a/web/c").unwrap().ends_with("c/10.log"));
        assert!(find(&places, "netd").unwrap_err().message().contains("there are: node"));
        for odd in ["", "../node", "..", "a/b", "a/../c", "a/web/", "a/b/c/d", "no\0de"] {
            assert!(find(&places, odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_followed_log_goes_on_in_the_file_that_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let path = places.services.join("node.log");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut stream = stream(path.clone(), 1, true).unwrap();
            assert_eq!(stream.next().await.unwrap().unwrap().data, b"three\n");
            fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"four\n").unwrap();
            fs::rename(&path, path.with_extension("log.1")).unwrap();
            fs::write(&path, "five\n").unwrap();
            assert_eq!(stream.next().await.unwrap().unwrap().data, b"four\n");
            assert_eq!(stream.next().await.unwrap().unwrap().data, b"five\n");
        });
    }
}
