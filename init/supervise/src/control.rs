//! What PID 1 is told and asked through its local socket: one short line in, one bounded text out.
//!
//! The socket is a unix datagram socket that only root reaches. PID 1 understands these few words and nothing else; the
//! processes that speak with networks turn what they hear into one of them.

use std::fmt;

/// Where PID 1 listens.
pub const SOCKET: &str = "/run/rk/init.sock";
/// Where a passphrase lies while PID 1 is asked to [`Request::Unlock`]; PID 1 removes it.
pub const PASSPHRASE: &str = "/run/rk/passphrase";
/// Longest request.
pub const MOST_REQUEST: usize = 128;
/// Longest reply; events and services are few.
pub const MOST_REPLY: usize = 32 << 10;
/// Longest trial of a config in seconds.
pub const MOST_TRIAL: u32 = 600;

/// What PID 1 is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Tell the state of everything.
    Status,
    /// Tell the events after this number.
    Events(u64),
    /// Stop a service and start it again.
    Restart(String),
    /// Stop a service and leave it so.
    Hold(String),
    /// Start a held service.
    Release(String),
    /// Take the offered config, for good.
    Apply,
    /// Open what is locked, by the passphrase in [`PASSPHRASE`].
    Unlock,
    /// Keep the offered config for the next start of the machine.
    Stage,
    /// Take the offered config for so many seconds.
    Try(u32),
    /// Keep the config that is on trial.
    Confirm,
    /// The network brought a config from this place, which names itself; it is offered.
    Offer(String),
    /// Tell where the slots of the disk lie.
    Slots,
    /// As before, and mount the EFI partition.
    OpenSlots,
    /// Unmount the EFI partition.
    CloseSlots,
    /// Try the other slot at the next start.
    RollBack,
    /// Forget this (`state`, `data`, `all`) and start again.
    Reset(String),
    /// Put the offered config on the disk at this path, which was just installed.
    Seed(String),
    /// End the machine and start it again.
    Reboot,
    /// End the machine.
    PowerOff,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Status => f.write_str("status"),
            Request::Events(after) => write!(f, "events {after}"),
            Request::Restart(name) => write!(f, "restart {name}"),
            Request::Hold(name) => write!(f, "hold {name}"),
            Request::Release(name) => write!(f, "release {name}"),
            Request::Apply => f.write_str("apply"),
            Request::Unlock => f.write_str("unlock"),
            Request::Stage => f.write_str("stage"),
            Request::Try(seconds) => write!(f, "try {seconds}"),
            Request::Confirm => f.write_str("confirm"),
            Request::Offer(source) => write!(f, "offer {source}"),
            Request::Slots => f.write_str("slots"),
            Request::OpenSlots => f.write_str("open-slots"),
            Request::CloseSlots => f.write_str("close-slots"),
            Request::RollBack => f.write_str("roll-back"),
            Request::Reset(words) => write!(f, "reset {words}"),
            Request::Seed(disk) => write!(f, "seed {disk}"),
            Request::Reboot => f.write_str("reboot"),
            Request::PowerOff => f.write_str("poweroff"),
        }
    }
}

impl Request {
    /// Reads a request; `None` for everything else.
    pub fn parse(bytes: &[u8]) -> Option<Request> {
        let text = std::str::from_utf8(bytes.get(..bytes.len().min(MOST_REQUEST + 1))?).ok()?;
        if text.len() > MOST_REQUEST || text.bytes().any(|byte| byte.is_ascii_control()) {
            return None;
        }
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let name = || {
            let plain = rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            (plain && (1..=32).contains(&rest.len())).then(|| rest.to_owned())
        };
        let alone = |request| rest.is_empty().then_some(request);
        match word {
            "status" => alone(Request::Status),
            "events" => rest.parse().ok().map(Request::Events),
            "restart" => name().map(Request::Restart),
            "hold" => name().map(Request::Hold),
            "release" => name().map(Request::Release),
            "apply" => alone(Request::Apply),
            "unlock" => alone(Request::Unlock),
            "stage" => alone(Request::Stage),
            "try" => rest.parse().ok().filter(|seconds| (1..=MOST_TRIAL).contains(seconds)).map(Request::Try),
            "confirm" => alone(Request::Confirm),
            "offer" => (!rest.is_empty()).then(|| Request::Offer(rest.to_owned())),
            "slots" => alone(Request::Slots),
            "open-slots" => alone(Request::OpenSlots),
            "close-slots" => alone(Request::CloseSlots),
            "roll-back" => alone(Request::RollBack),
            "reset" => {
                let known = rest.split(' ').all(|word| ["state", "data", "all"].contains(&word));
                known.then(|| Request::Reset(rest.to_owned()))
            }
            "seed" => {
                let name = rest.strip_prefix("/dev/")?;
                let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
                (plain && (1..=32).contains(&name.len())).then(|| Request::Seed(rest.to_owned()))
            }
            "reboot" => alone(Request::Reboot),
            "poweroff" => alone(Request::PowerOff),
            _ => None,
        }
    }
}

/// A service, as PID 1 sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// `running`, `starting`, `waiting`, `stopping`, `stopped`.
    pub state: String,
    /// Its process; 0 when there is none.
    pub pid: i32,
    /// Milliseconds since it was started; 0 when it does not run.
    pub uptime_millis: u64,
    /// How often it was started.
    pub starts: u32,
    /// How it ended last; empty when it never did.
    pub last_exit: String,
}

/// All that PID 1 tells about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The node has no config yet.
    pub maintenance: bool,
    /// Where the config came from.
    pub source: String,
    /// Seconds until the config on trial is taken back; 0 when none is.
    pub reverts_in: u32,
    /// `reboot` or `poweroff` when the machine is on its way down.
    pub going_down: String,
    /// Its services.
    pub services: Vec<ServiceStatus>,
}

impl Status {
    /// The text that goes over the socket: a line per fact, fields parted by tabs.
    pub fn encode(&self) -> String {
        let plain = |text: &str| text.replace(|c: char| c.is_control(), " ");
        let mut text = format!(
            "machine\t{}\t{}\t{}\t{}\n",
            u8::from(self.maintenance),
            plain(&self.source),
            self.reverts_in,
            self.going_down
        );
        for s in &self.services {
            let line = [&s.name, &s.state, &s.pid.to_string(), &s.uptime_millis.to_string(), &s.starts.to_string()];
            text.push_str("service");
            for field in line {
                text.push('\t');
                text.push_str(field);
            }
            text.push_str(&format!("\t{}\n", plain(&s.last_exit)));
        }
        text
    }

    /// Reads that text; what it does not understand it leaves at its default.
    pub fn decode(text: &str) -> Status {
        let mut status = Status::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields.as_slice() {
                ["machine", maintenance, source, reverts, down] => {
                    status.maintenance = *maintenance == "1";
                    status.source = (*source).to_owned();
                    status.reverts_in = reverts.parse().unwrap_or(0);
                    status.going_down = (*down).to_owned();
                }
                ["service", name, state, pid, uptime, starts, exit] => status.services.push(ServiceStatus {
                    name: (*name).to_owned(),
                    state: (*state).to_owned(),
                    pid: pid.parse().unwrap_or(0),
                    uptime_millis: uptime.parse().unwrap_or(0),
                    starts: starts.parse().unwrap_or(0),
                    last_exit: (*exit).to_owned(),
                }),
                _ => {}
            }
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_reads_back_as_itself() {
        let all = [
            Request::Status,
            Request::Events(7),
            Request::Restart("netd".to_owned()),
            Request::Hold("control".to_owned()),
            Request::Release("control".to_owned()),
            Request::Apply,
            Request::Unlock,
            Request::Stage,
            Request::Try(60),
            Request::Confirm,
            Request::Offer("https://a/b".to_owned()),
            Request::Slots,
            Request::OpenSlots,
            Request::CloseSlots,
            Request::RollBack,
            Request::Reset("state data".to_owned()),
            Request::Seed("/dev/nvme0n1".to_owned()),
            Request::Reboot,
            Request::PowerOff,
        ];
        for request in all {
            assert_eq!(Request::parse(request.to_string().as_bytes()), Some(request));
        }
    }

    #[test]
    fn everything_else_is_no_request() {
        let long = format!("offer {}", "a".repeat(MOST_REQUEST));
        for text in [
            "",
            "Status",
            "status now",
            "try 0",
            "try 601",
            "try",
            "restart",
            "restart ../x",
            "reset",
            "reset everything",
            "seed vda",
            "seed /dev/../etc",
            "reboot\n",
            "offer",
            &long,
        ] {
            assert_eq!(Request::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Request::parse(&[0xff; 64]), None);
        assert_eq!(Request::parse(&[0xff; 4096]), None);
    }

    #[test]
    fn a_status_survives_the_socket_whatever_its_texts_hold() {
        let status = Status {
            maintenance: true,
            source: "a drive".to_owned(),
            reverts_in: 9,
            going_down: "reboot".to_owned(),
            services: vec![ServiceStatus {
                name: "node".to_owned(),
                state: "running".to_owned(),
                pid: 12,
                uptime_millis: 5,
                starts: 2,
                last_exit: "with code 1".to_owned(),
            }],
        };
        assert_eq!(Status::decode(&status.encode()), status);
        let odd = Status { source: "a\tb\nservice\tc".to_owned(), ..Status::default() };
        assert_eq!(Status::decode(&odd.encode()).source, "a b service c");
        assert_eq!(Status::decode("nonsense\n\t\t\n"), Status::default());
    }
}
