//! Events of the node about processes that the kernel ended since the machine as a whole had no memory left. What ends at a
//! container's own limit is told by its status.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NONBLOCK;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::events::{PodRef, Recorder};

/// The kernel's messages, one with each read.
const MESSAGES: &str = "/dev/kmsg";
/// More than the kernel tells at once.
const LONGEST: usize = 8192;
/// The first level of those that come from programs: kernel messages have lower ones.
const OF_PROGRAMS: u32 = 8;

/// The event for a message of the kernel, when that tells of a process that went since the machine lacked memory.
fn told(record: &str) -> Option<String> {
    let (head, text) = record.split_once(';')?;
    let level: u32 = head.split(',').next()?.parse().ok()?;
    if level >= OF_PROGRAMS || !text.starts_with("Out of memory") {
        return None;
    }
    let (pid, rest) = text.split_once("Killed process ")?.1.split_once(" (")?;
    let (name, _) = rest.rsplit_once(") total-vm")?;
    let pid: u32 = pid.parse().ok()?;
    Some(format!("System OOM encountered, victim process: {name}, pid: {pid}"))
}

/// Follows what the kernel says from now on, until that fails.
async fn follow(path: &Path, mut tell: impl FnMut(String)) -> io::Result<()> {
    let mut file = File::options().read(true).custom_flags(O_NONBLOCK).open(path)?;
    file.seek(SeekFrom::End(0))?;
    #[allow(deprecated, reason = "its heir is unsafe, for types that do not keep their descriptor; a File does")]
    let file = AsyncFd::with_interest(file, Interest::READABLE)?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let mut ready = file.readable().await?;
        match ready.try_io(|file| file.get_ref().read(&mut buffer)) {
            Ok(Ok(0)) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(Ok(length)) => {
                let record = buffer.get(..length).map(String::from_utf8_lossy).unwrap_or_default();
                told(&record).into_iter().for_each(&mut tell);
            }
            // Messages were lost, or one is longer than any that matters: the next one is another.
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::InvalidInput) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
    }
}

/// Tells of them, as long as the kernel can be heard.
pub async fn watch_loop(recorder: Recorder, node: String) {
    let about = PodRef::node(&node);
    let failed = follow(Path::new(MESSAGES), |message| recorder.warning(&about, "SystemOOM", message)).await;
    if let Err(error) = failed {
        tracing::info!("nothing tells when the machine runs out of memory: {MESSAGES}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_s_lack_of_memory_ended_is_told_with_its_name() {
        let of = |name: &str| {
            format!(
                "3,339,5140900,-;Out of memory: Killed process 1234 ({name}) total-vm:9kB, anon-rss:1kB\n SUBSYSTEM=x\n"
            )
        };
        for name in ["stress", "a) b (c", "x) total-vm:1"] {
            let want = format!("System OOM encountered, victim process: {name}, pid: 1234");
            assert_eq!(told(&of(name)), Some(want));
        }
        for other in [
            "3,340,5140901,-;Memory cgroup out of memory: Killed process 1234 (stress) total-vm:9kB",
            "12,341,5140902,-;Out of memory: Killed process 1234 (stress) total-vm:9kB",
            "3,342,5140903,-;Out of memory: Killed process x (stress) total-vm:9kB",
            "6,343,5140904,-;eth0: link up",
            "",
        ] {
            assert_eq!(told(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_kernel_that_cannot_be_heard_is_an_error() {
        let none = tempfile::tempdir().unwrap();
        assert!(follow(&none.path().join("kmsg"), |_| ()).await.is_err());
    }
}
