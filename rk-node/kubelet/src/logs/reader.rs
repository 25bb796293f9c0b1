//! Reading a container's log: from the end, from a time, bounded, followed over rotations.

use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

use super::format::parse_line;

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(150);
/// How often it is asked whether the container has ended.
const ASK: Duration = Duration::from_millis(600);
/// Block size when searching backwards for line ends.
const BLOCK: usize = 16 * 1024;
/// A line beyond this is passed on in pieces: the runtime writes parts of 16 KiB, so only foreign files have such.
const MAX_LINE: u64 = 1024 * 1024;

/// Which output is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamChoice {
    /// Both, as they came.
    #[default]
    All,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a reader wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogOptions {
    /// Go on as the log grows.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only what was written at or after this.
    pub since: Option<Timestamp>,
    /// Stop after so many bytes.
    pub limit: Option<u64>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Which output.
    pub stream: StreamChoice,
}

/// Sends the log to `out` until its end, the limit, or, when following, until `ended` says that the container has ended.
pub async fn stream<F: Future<Output = bool>>(
    path: PathBuf,
    options: LogOptions,
    out: mpsc::Sender<Bytes>,
    ended: impl Fn() -> F,
) -> io::Result<()> {
    let mut file = open(&path)?;
    let start = match options.tail {
        Some(lines) => tail_offset(&mut file, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let mut inode = file.metadata().await?.ino();
    let mut reader = BufReader::new(file);
    let mut writer = Writer { options: options.clone(), out, sent: 0, midline: false };
    let mut pending = Vec::new();
    let mut asked: Option<Instant> = None;
    loop {
        let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut pending).await?;
        if pending.ends_with(b"\n") {
            pending.pop();
            if !writer.line(&pending).await {
                return Ok(());
            }
            pending.clear();
            continue;
        }
        if pending.len() as u64 >= MAX_LINE {
            pending.clear();
        }
        if read > 0 {
            continue;
        }
        if !options.follow || writer.out.is_closed() {
            return Ok(());
        }
        // The end is asked before the last look, so that nothing written in between is missed; once in a while is enough.
        let due = asked.is_none_or(|at| at.elapsed() >= ASK);
        let over = due && ended().await;
        if due {
            asked = Some(Instant::now());
        }
        // The next file is looked for before the last look: once it is there, nothing is added to the old one any more.
        let next = rotated(&path, inode).await;
        if reader.get_ref().metadata().await?.len() > reader.stream_position().await? {
            continue;
        }
        if let Some((fresh, number)) = next {
            reader = BufReader::new(fresh);
            inode = number;
            pending.clear();
            continue;
        }
        if over {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Opens a log. A pod that can write where logs are could put a link to any file of the node in the place of its own.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let file = std::fs::File::from(file);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no regular file", path.display())));
    }
    Ok(File::from_std(file))
}

/// The new file when the log was rotated.
async fn rotated(path: &Path, inode: u64) -> Option<(File, u64)> {
    let fresh = tokio::fs::metadata(path).await.ok()?.ino();
    if fresh == inode {
        return None;
    }
    Some((open(path).ok()?, fresh))
}

struct Writer {
    options: LogOptions,
    out: mpsc::Sender<Bytes>,
    sent: u64,
    midline: bool,
}

impl Writer {
    /// Passes one line on; false when enough was sent or nobody listens.
    async fn line(&mut self, raw: &[u8]) -> bool {
        let Some(line) = parse_line(raw) else { return true };
        let wanted = match self.options.stream {
            StreamChoice::All => true,
            StreamChoice::Stdout => !line.stderr,
            StreamChoice::Stderr => line.stderr,
        };
        if !wanted {
            return true;
        }
        if let Some(since) = self.options.since
            && line.time.parse::<Timestamp>().is_ok_and(|at| at < since)
        {
            return true;
        }
        let mut text = Vec::with_capacity(line.text.len() + 40);
        if self.options.timestamps && !self.midline {
            text.extend_from_slice(line.time.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(line.text);
        if line.full {
            text.push(b'\n');
        }
        self.midline = !line.full;
        if let Some(limit) = self.options.limit {
            text.truncate(usize::try_from(limit.saturating_sub(self.sent)).unwrap_or(usize::MAX));
        }
        self.sent += text.len() as u64;
        let delivered = text.is_empty() || self.out.send(text.into()).await.is_ok();
        delivered && self.options.limit.is_none_or(|limit| self.sent < limit)
    }
}

/// Offset at which the last `lines` lines begin.
async fn tail_offset(file: &mut File, lines: u64) -> io::Result<u64> {
    let size = file.metadata().await?.len();
    if lines == 0 {
        return Ok(size);
    }
    let mut block = vec![0_u8; BLOCK];
    let (mut end, mut found) = (size, 0);
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let length = usize::try_from(end - start).unwrap_or(BLOCK);
        let Some(part) = block.get_mut(..length) else { break };
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(part).await?;
        for (index, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let position = start + index as u64;
            // The line end that closes the file ends a line, it does not begin one.
            if position + 1 == size {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok(position + 1);
            }
        }
        end = start;
    }
    Ok(0)
}

/// The last output of a log, at most `lines` lines and `bytes` bytes, for termination messages.
pub async fn tail(path: &Path, lines: u64, bytes: usize) -> io::Result<String> {
    let (send, mut receive) = mpsc::channel(64);
    let options = LogOptions { tail: Some(lines), ..Default::default() };
    let read = stream(path.to_owned(), options, send, || std::future::ready(true));
    let collect = async {
        let mut all = Vec::new();
        while let Some(part) = receive.recv().await {
            all.extend_from_slice(&part);
        }
        all
    };
    let (result, all) = tokio::join!(read, collect);
    result?;
    let start = all.len().saturating_sub(bytes);
    Ok(String::from_utf8_lossy(all.get(start..).unwrap_or_default()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(path: &Path, options: LogOptions) -> String {
        let (send, mut receive) = mpsc::channel(1000);
        stream(path.to_owned(), options, send, || std::future::ready(true)).await.unwrap();
        let mut all = Vec::new();
        while let Some(part) = receive.recv().await {
            all.extend_from_slice(&part);
        }
        String::from_utf8(all).unwrap()
    }

    fn log(dir: &Path) -> PathBuf {
        let path = dir.join("0.log");
        let lines = [
            "2024-01-01T00:00:01.000000000Z stdout F one",
            "2024-01-01T00:00:02.000000000Z stderr F two",
            "2024-01-01T00:00:03.000000000Z stdout P thr",
            "2024-01-01T00:00:03.000000001Z stdout F ee",
            "garbage",
        ];
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        path
    }

    #[tokio::test]
    async fn a_link_or_a_pipe_in_the_place_of_a_log_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (log, link) = (log(dir.path()), dir.path().join("1.log"));
        std::os::unix::fs::symlink(&log, &link).unwrap();
        let pipe = dir.path().join("2.log");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [link, pipe] {
            assert!(tail(&path, 1, 100).await.is_err(), "{}", path.display());
        }
        assert!(tail(&log, 4, 100).await.is_ok());
    }

    #[tokio::test]
    async fn every_option_selects_what_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = log(dir.path());
        let since = Some("2024-01-01T00:00:02Z".parse().unwrap());
        for (options, want) in [
            (LogOptions::default(), "one\ntwo\nthree\n"),
            (LogOptions { tail: Some(4), ..Default::default() }, "two\nthree\n"),
            (LogOptions { tail: Some(0), ..Default::default() }, ""),
            (LogOptions { tail: Some(99), ..Default::default() }, "one\ntwo\nthree\n"),
            (LogOptions { since, ..Default::default() }, "two\nthree\n"),
            (LogOptions { limit: Some(5), ..Default::default() }, "one\nt"),
            (LogOptions { stream: StreamChoice::Stderr, ..Default::default() }, "two\n"),
            (
                LogOptions { timestamps: true, tail: Some(3), ..Default::default() },
                "2024-01-01T00:00:03.000000000Z three\n",
            ),
        ] {
            assert_eq!(read(&path, options.clone()).await, want, "{options:?}");
        }
        assert_eq!(tail(&path, 80, 4).await.unwrap(), "ree\n");
    }

    #[tokio::test]
    async fn following_survives_a_rotation_and_ends_with_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = log(dir.path());
        let (send, mut receive) = mpsc::channel(1000);
        let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (flag, file) = (over.clone(), path.clone());
        let options = LogOptions { follow: true, tail: Some(2), ..Default::default() };
        let task = tokio::spawn(async move {
            stream(file, options, send, || std::future::ready(flag.load(std::sync::atomic::Ordering::SeqCst))).await
        });
        let append = |text: &str| {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
            writeln!(file, "2024-01-01T00:00:09.000000000Z stdout F {text}").unwrap();
        };
        // The reader has taken its start position, and what comes from now on is new.
        assert_eq!(receive.recv().await.unwrap(), "ee\n");
        append("four");
        assert_eq!(receive.recv().await.unwrap(), "four\n");
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        append("five");
        assert_eq!(receive.recv().await.unwrap(), "five\n");
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        task.await.unwrap().unwrap();
    }
}
