//! Keeping the clock: one thread that asks time servers and steps or slews.

use crate::{dns, log, sntp};
use rk_sys::ClockOffset;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PORT: u16 = 123;
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at the clock, in seconds: quick after a start, then rarely.
const FIRST_POLL: u64 = 32;
const MOST_POLL: u64 = 1024;
/// While no server answers; one that comes late must not be missed for long.
const FIRST_RETRY: u64 = 5;
const MOST_RETRY: u64 = 60;
/// Beyond this a clock is set at once when the machine starts; certificates cannot wait.
const STEP: i128 = 1_000_000_000;
/// Later it is set only when this many looks in a row agree: one lying answer must not move it.
const WITNESSES: u32 = 3;
/// Looks agree when they differ by less than this.
const AGREEMENT: i128 = 100_000_000;
const FALLBACK: &str = "pool.ntp.org";
/// The last answer: server and microseconds; `off` when the config wants none.
const NOTE: &str = "/run/rk/time";

/// Whom to ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Time servers, by preference; empty means the public pool.
    pub servers: Vec<String>,
    /// Name servers to find them by.
    pub nameservers: Vec<IpAddr>,
}

/// Starts the thread; it ends when the sender is dropped. Only the latest sources count.
///
/// # Errors
/// The system has no thread to give.
pub fn start() -> io::Result<Sender<Sources>> {
    let (sender, receiver) = channel();
    std::thread::Builder::new().name("timesync".to_owned()).spawn(move || keep(&receiver))?;
    Ok(sender)
}

/// Says so when this machine's clock cannot be right: nothing that is dated is of use until it is.
pub fn doubt() {
    let clock = now();
    if !sntp::plausible(clock) {
        log::warn(format_args!(
            "this node's clock says {} (day {} since 1970), which cannot be: certificates are refused until it is set, by a server of \
             network.ntp.servers or in the firmware",
            sntp::year(clock),
            clock.as_secs() / 86_400
        ));
    }
}

fn keep(news: &Receiver<Sources>) {
    let Ok(mut sources) = news.recv() else { return };
    let (mut judge, mut poll, mut retry) = (Judge::default(), FIRST_POLL, FIRST_RETRY);
    let mut told = String::new();
    loop {
        let pause = match look(&sources) {
            Ok((server, offset)) => {
                act(&judge.decide(offset), &server);
                tell(&format!("{server} {}\n", offset / 1000));
                (retry, told) = (FIRST_RETRY, String::new());
                let now = poll;
                poll = (poll * 2).min(MOST_POLL);
                now
            }
            Err(err) => {
                // Once per reason: a node without a time server would warn forever.
                if told != err.to_string() {
                    told = err.to_string();
                    log::info(format_args!("no time yet: {told}"));
                }
                let now = retry;
                retry = (retry * 2).min(MOST_RETRY);
                now
            }
        };
        match news.recv_timeout(Duration::from_secs(pause)) {
            Ok(newer) => {
                sources = news.try_iter().last().unwrap_or(newer);
                retry = FIRST_RETRY;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Writes the note from which others learn how well the clock is kept.
pub fn tell(text: &str) {
    let new = format!("{NOTE}.new");
    if let Err(err) = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, NOTE)) {
        log::info(format_args!("writing {NOTE}: {err}"));
    }
}

/// Asks server after server until one has an answer of use.
fn look(sources: &Sources) -> io::Result<(String, i128)> {
    let fallback = [FALLBACK.to_owned()];
    let servers = if sources.servers.is_empty() { &fallback[..] } else { &sources.servers };
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for server in servers {
        let nonce = nonce();
        let found = dns::lookup(server, &sources.nameservers, nonce as u16).and_then(|addresses| {
            let address = addresses.first().ok_or(io::ErrorKind::NotFound)?;
            ask(SocketAddr::from((*address, PORT)), nonce)
        });
        match found {
            Ok(offset) => return Ok((server.clone(), offset)),
            Err(err) => failure = io::Error::new(err.kind(), format!("{server}: {err}")),
        }
    }
    Err(failure)
}

fn ask(server: SocketAddr, nonce: u64) -> io::Result<i128> {
    let socket = dns::bind_for(server.ip())?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let sent = now();
    socket.send(&sntp::question(nonce))?;
    let mut buffer = [0; 128];
    let size = socket.recv(&mut buffer)?;
    let answer = buffer.get(..size).unwrap_or_default();
    sntp::offset(answer, nonce, sent, now()).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Unpredictable enough that nobody off the path can forge an answer.
fn nonce() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(rk_sys::boot_millis())
}

/// What to do about an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Slew(i128),
    Step(i128),
    Wait(i128),
}

/// Remembers what was seen.
#[derive(Debug, Default)]
struct Judge {
    started: bool,
    suspect: Option<(i128, u32)>,
}

impl Judge {
    fn decide(&mut self, offset: i128) -> Verdict {
        let first = !std::mem::replace(&mut self.started, true);
        if offset.abs() < STEP {
            self.suspect = None;
            return Verdict::Slew(offset);
        }
        let seen = match self.suspect {
            Some((before, seen)) if (before - offset).abs() < AGREEMENT => seen + 1,
            _ => 1,
        };
        if first || seen >= WITNESSES {
            self.suspect = None;
            return Verdict::Step(offset);
        }
        self.suspect = Some((offset, seen));
        Verdict::Wait(offset)
    }
}

fn act(verdict: &Verdict, server: &str) {
    match *verdict {
        Verdict::Slew(offset) => {
            let micros = i64::try_from(offset / 1000).unwrap_or(0);
            if let Err(err) = rk_sys::slew_clock(ClockOffset { micros }) {
                log::warn(format_args!("slewing the clock: {}", log::chain(&err)));
            }
        }
        Verdict::Step(offset) => step(offset, server),
        Verdict::Wait(offset) => {
            log::warn(format_args!("{server} says the clock is off by {} ms, asking again", millis(offset)))
        }
    }
}

/// Sets the system's clock `offset` nanoseconds ahead, and the machine's own with it.
fn step(offset: i128, server: &str) {
    let target = i128::try_from(now().as_nanos()).unwrap_or(0) + offset;
    let target = Duration::from_nanos(u64::try_from(target).unwrap_or(0));
    if let Err(err) = rk_sys::set_clock(target) {
        return log::warn(format_args!("setting the clock: {}", log::chain(&err)));
    }
    log::news(format_args!("clock set by {server}, it was off by {} ms", millis(offset)));
    // Not every machine has a hardware clock.
    if let Err(err) = rk_sys::set_hardware_clock(target) {
        log::info(log::chain(&err));
    }
}

fn millis(offset: i128) -> i128 {
    offset / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i128 = 3600 * STEP;

    #[test]
    fn a_clock_is_set_at_start_and_later_only_by_witnesses_in_a_row() {
        let mut judge = Judge::default();
        assert_eq!(judge.decide(HOUR), Verdict::Step(HOUR));
        assert_eq!(judge.decide(1000), Verdict::Slew(1000));
        assert_eq!(judge.decide(HOUR), Verdict::Wait(HOUR));
        assert_eq!(judge.decide(1000), Verdict::Slew(1000));
        assert_eq!(judge.decide(HOUR), Verdict::Wait(HOUR));
        assert_eq!(judge.decide(HOUR + 1), Verdict::Wait(HOUR + 1));
        assert_eq!(judge.decide(HOUR + 2), Verdict::Step(HOUR + 2));
    }
}
