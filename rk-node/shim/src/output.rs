//! One stream of a container's output: read, cut into log entries, copied to attached clients.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::attach::Sink;
use crate::clock;
use crate::logfile::{LineCutter, LogFile};

/// Bytes taken per read; a pipe holds 64 KiB.
const CHUNK: usize = 32 * 1024;
/// Reads per turn, so that one chatty container does not starve the others of its pod.
const TURN: usize = 8;
/// Reads of what a container left when it ended: twice what a pipe holds for anybody. Whoever was handed its stream and writes on keeps no
/// shim from telling the end.
const LEFT: usize = 64;

/// A stream and who listens to it.
#[derive(Debug)]
pub struct Output {
    fd: OwnedFd,
    cutter: LineCutter,
    /// Attached clients.
    pub sinks: Vec<Sink>,
}

impl Output {
    /// Takes over the read end `fd`, made non-blocking.
    pub fn new(fd: OwnedFd, stream: &'static str) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd, cutter: LineCutter::new(stream), sinks: Vec::new() })
    }

    /// `stdout` or `stderr`.
    pub fn stream(&self) -> &'static str {
        self.cutter.stream()
    }

    /// For polling and, with a terminal, for handing its master to clients.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Moves what is there. `false`: the stream ended and its last line is written.
    pub fn pump(&mut self, log: Option<&mut LogFile>) -> bool {
        self.pump_turns(log, TURN)
    }

    /// Moves what a writer that is dead left there. `false` as for [`Output::pump`]; more than that is moved in turn with everything else.
    pub fn drain(&mut self, log: Option<&mut LogFile>) -> bool {
        self.pump_turns(log, LEFT)
    }

    fn pump_turns(&mut self, mut log: Option<&mut LogFile>, turns: usize) -> bool {
        let mut buffer = [0u8; CHUNK];
        for _ in 0..turns {
            match rustix::io::read(&self.fd, &mut buffer[..]) {
                // A terminal whose last slave closed says EIO instead of end of file.
                Ok(0) | Err(Errno::IO) => {
                    let rest = self.cutter.finish(clock::now_ns());
                    if let Some(log) = log.as_deref_mut() {
                        log.append(&rest);
                    }
                    self.sinks.clear();
                    return false;
                }
                Ok(n) => {
                    let bytes = buffer.get(..n).unwrap_or_default();
                    let entries = self.cutter.feed(bytes, clock::now_ns());
                    if let Some(log) = log.as_deref_mut() {
                        log.append(&entries);
                    }
                    self.sinks.retain_mut(|sink| sink.send(bytes));
                }
                Err(Errno::INTR) => {}
                Err(_) => return true,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_reaches_the_log_and_the_attached_client_and_ends_with_its_writer() {
        let _alone = crate::PROGRAMS.lock();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = LogFile::open(&path).unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let (client, sink) = rustix::pipe::pipe().unwrap();
        let mut output = Output::new(read, "stdout").unwrap();
        output.sinks.push(Sink::new(sink).unwrap());
        rustix::io::write(&write, b"hello\nwor").unwrap();
        assert!(output.pump(Some(&mut log)));
        drop(write);
        assert!(!output.drain(Some(&mut log)));
        let text = std::fs::read_to_string(&path).unwrap();
        let said: Vec<_> = text.lines().map(|l| l.split_once(" stdout ").unwrap().1).collect();
        assert_eq!(said, ["F hello", "P wor"]);
        let mut seen = [0; 32];
        let n = rustix::io::read(&client, &mut seen).unwrap();
        assert_eq!(&seen[..n], b"hello\nwor");
        assert_eq!(rustix::io::read(&client, &mut seen), Ok(0), "the client hears the end");
    }
    #[test]
    fn a_stream_without_an_end_keeps_no_container_from_ending() {
        let endless = std::fs::File::open("/dev/zero").unwrap();
        let mut output = Output::new(endless.into(), "stdout").unwrap();
        assert!(output.drain(None), "it was taken for one that ended");
    }
}
