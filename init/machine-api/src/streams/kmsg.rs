//! The kernel's messages.

use super::{Bytes, Sink};
use futures::FutureExt as _;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;
use tonic::Status;

/// One record is at most this long.
const MOST_RECORD: usize = 8 << 10;
/// Records kept when only the last ones are wanted.
const MOST_LINES: usize = 16_384;
const LOOK: Duration = Duration::from_millis(300);
const EPIPE: i32 = 32;

/// Streams the ring buffer, and what comes when it is followed.
///
/// # Errors
/// The kernel's buffer cannot be opened.
pub fn stream(tail: u32, follow: bool) -> Result<Bytes, Status> {
    let file = open().map_err(|err| Status::internal(format!("/dev/kmsg: {err}")))?;
    let (sink, stream) = Sink::pair();
    let task = async move {
        tokio::select! {
            () = sink.closed() => {}
            () = pump(&sink, file, tail, follow) => {}
        }
    };
    tokio::spawn(task.boxed());
    Ok(stream)
}

/// The ring buffer, from its oldest record on; reading does not wait.
pub(crate) fn open() -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open("/dev/kmsg")
}

async fn pump(sink: &Sink, mut file: File, tail: u32, follow: bool) {
    let keep = if tail == 0 { MOST_LINES } else { usize::try_from(tail).unwrap_or(MOST_LINES).min(MOST_LINES) };
    let mut kept = VecDeque::new();
    while let Some(line) = next(&mut file) {
        if kept.len() >= keep {
            kept.pop_front();
        }
        kept.push_back(line);
    }
    if sink.send(kept.into_iter().collect::<String>().as_bytes()).await.is_err() || !follow {
        return;
    }
    loop {
        let mut news = String::new();
        while let Some(line) = next(&mut file) {
            news.push_str(&line);
        }
        if sink.send(news.as_bytes()).await.is_err() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The next record as a line; `None` when there is none now.
pub(crate) fn next(file: &mut File) -> Option<String> {
    let mut buffer = [0; MOST_RECORD];
    // Records that were overwritten before they were read are told by an error each time; a few in a row at most.
    for _ in 0..16 {
        match file.read(&mut buffer) {
            Ok(size) => match format(buffer.get(..size).unwrap_or_default()) {
                Some(line) => return Some(line),
                None => continue,
            },
            Err(err) if err.raw_os_error() == Some(EPIPE) || err.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    None
}

/// `priority,sequence,microseconds,flags;text` and lines of facts that begin with a blank.
fn format(record: &[u8]) -> Option<String> {
    const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
    let text = String::from_utf8_lossy(record);
    let (head, body) = text.split_once(';')?;
    let mut fields = head.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let micros: u64 = fields.nth(1)?.parse().ok()?;
    let level = LEVELS.get(usize::try_from(priority & 7).ok()?)?;
    let line: String = body.lines().next()?.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Whoever may look reads these, and receivers of logs: the kernel tells its command line.
    let line = rk_config::hidden_in_cmdline(&line);
    Some(format!("[{:>5}.{:06}] {level:<6} {line}\n", micros / 1_000_000, micros % 1_000_000))
}

/// Whether PID 1 said this line, which is in its own log as well.
pub(crate) fn is_of_pid_1(line: &str) -> bool {
    line.split_once("] debug  rk: ").is_some_and(|(time, _)| time.starts_with('[') && !time.contains(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pid_1_said_is_told_from_what_the_kernel_says_of_it() {
        let own = format(b"15,339,5140900,-;rk: node started pid=90\n").unwrap();
        let of_it = format(b"6,340,5140901,-;rk-init[1]: segfault\n").unwrap();
        assert!(is_of_pid_1(&own) && !is_of_pid_1(&of_it), "{own}{of_it}");
        assert!(!is_of_pid_1("[    1.0] info   said [x] debug  rk: y"));
    }

    #[test]
    fn records_become_lines_and_noise_becomes_nothing() {
        let line = format(b"6,339,5140900,-;NET: Registered protocol\n SUBSYSTEM=x\n").unwrap();
        assert_eq!(line, "[    5.140900] info   NET: Registered protocol\n");
        let line = format(b"5,1,0,-;Command line: quiet rk.config=base64:cm9sZQ== panic=10\n").unwrap();
        assert!(line.ends_with("quiet rk.config=<secret> panic=10\n"), "{line}");
        for noise in [b"".as_slice(), b"6,1", b"x,1,2,-;a", b"6;a", b"\xff\xff;\xff"] {
            assert_eq!(format(noise), None);
        }
    }
}
