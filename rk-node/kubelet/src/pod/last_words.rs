//! Termination messages: the file that the container wrote, or the end of its log.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use super::spec;
use super::start::termination_file;
use crate::logs;
use crate::runtime::{RuntimePod, State};

/// Longest message from the file; of a longer one its end counts.
const MAX_FILE: u64 = 4096;
/// Longest message from the log.
const MAX_LOG: usize = 2048;
/// Lines of the log that are considered.
const MAX_LINES: u64 = 80;

/// Adds to every ended container what it left behind.
pub async fn collect(pod: &Pod, pod_dir: &Path, runtime: &mut RuntimePod) {
    for container in runtime.containers.iter_mut().filter(|c| c.state == State::Exited) {
        let Some((_, spec_of)) = spec::find_container(pod, &container.name) else { continue };
        let mut message = read_limited(&termination_file(pod_dir, &container.name, container.restart_count));
        let fallback = spec_of.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if message.is_empty() && fallback && container.exit_code != 0 && !container.log_path.is_empty() {
            message = logs::tail(Path::new(&container.log_path), MAX_LINES, MAX_LOG).await.unwrap_or_default();
        }
        if message.is_empty() {
            continue;
        }
        if !container.message.is_empty() {
            container.message.push_str(": ");
        }
        container.message.push_str(&message);
    }
}

fn read_limited(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|mut file| {
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(MAX_FILE)))?;
        file.take(MAX_FILE).read_to_end(&mut bytes)
    });
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_long_last_words_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0");
        assert_eq!(read_limited(&path), "", "there are none");
        for (lead, said) in [(0, "short"), (4000, "the end"), (9000, "the end")] {
            std::fs::write(&path, format!("{}{said}", "x".repeat(lead))).unwrap();
            let read = read_limited(&path);
            assert_eq!((read.len(), read.ends_with(said)), ((lead + said.len()).min(4096), true), "{lead}");
        }
    }
}
