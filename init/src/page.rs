//! The status page of a screen, and one line for consoles that scroll: who the node is, how it is reached, whether it is Ready.
//!
//! It shows what others wrote into small files; nothing is parsed but lines.

use crate::console::{self, Journal};
use rk_config::Role;
use rk_supervise::Millis;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;

/// Written by netd: an address with its prefix on each line.
const ADDRESSES: &str = "/run/rk/addresses";
/// Written by the node agent: `True` or `False`, then why.
const NODE_STATUS: &str = "/run/rk/node-status";
/// Columns of the narrowest screen, less what a line begins with: a line that wraps would push the first ones away.
const WIDTH: usize = 75;
/// The first virtual terminal; machines with a serial console alone have none.
const SCREEN: &str = "/dev/tty1";
const LOOK_EVERY: Millis = 3_000;
const MOST_BYTES: u64 = 4096;
/// Troubles shown.
const MOST_TROUBLES: usize = 8;
const TROUBLE: [&str; 8] =
    ["failed", "refused", "exited", "cannot", "killed", "not confirmed", "corrupted", "was left"];
/// Opening a terminal must not wait for a carrier.
const NO_WAIT: i32 = 0o4000;

/// What was shown last.
#[derive(Debug, Default)]
pub struct Page {
    next: Millis,
    summary: String,
    screen: String,
}

/// All that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts<'a> {
    hostname: &'a str,
    addresses: &'a str,
    role: Option<Role>,
    node: &'a str,
    invitation: &'a str,
    troubles: Vec<&'a str>,
}

/// Whether the node agent says that the node is Ready.
pub fn node_is_ready() -> bool {
    short(NODE_STATUS).lines().next() == Some("True")
}

impl Page {
    /// When to look again.
    pub fn next(&self) -> Option<Millis> {
        Some(self.next)
    }

    /// Looks when it is due, and shows what changed.
    pub fn tick(&mut self, now: Millis, role: Option<Role>, journal: &Journal) {
        if now < self.next {
            return;
        }
        self.next = now + LOOK_EVERY;
        let (hostname, addresses, node) = (short("/proc/sys/kernel/hostname"), short(ADDRESSES), short(NODE_STATUS));
        // Of before, once there is a config.
        let invitation = if role.is_none() { short(rk_config::INVITATION_PATH) } else { String::new() };
        let facts = Facts {
            hostname: hostname.trim(),
            addresses: &addresses,
            role,
            node: &node,
            invitation: &invitation,
            troubles: journal.events().newest_with(&TROUBLE, MOST_TROUBLES),
        };
        let summary = summary(&facts);
        if !addresses.is_empty() && summary != self.summary {
            console::line(&format!("rk: status: {summary}"));
            self.summary = summary;
        }
        let screen = screen(&facts);
        if screen != self.screen {
            // A machine without a screen shows nothing there.
            if let Ok(mut terminal) = OpenOptions::new().write(true).custom_flags(NO_WAIT).open(SCREEN) {
                let _ = terminal.write_all(screen.as_bytes());
            }
            self.screen = screen;
        }
    }
}

fn short(path: &str) -> String {
    let mut text = String::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(MOST_BYTES).read_to_string(&mut text);
    }
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

fn role_word(role: Option<Role>) -> &'static str {
    match role {
        None => "maintenance, waiting for a config",
        Some(Role::Worker) => "worker",
        Some(Role::ControlPlane) => "control-plane",
    }
}

fn readiness(facts: &Facts<'_>) -> String {
    let (ready, why) = facts.node.split_once('\n').unwrap_or((facts.node, ""));
    match (facts.role, ready) {
        (None, _) => String::new(),
        (_, "True") => "Ready".to_owned(),
        (_, "False") => format!("not Ready: {}", why.trim().replace('\n', " ")),
        _ => "not Ready: the node agent has told nothing yet".to_owned(),
    }
}

fn summary(facts: &Facts<'_>) -> String {
    let addresses: Vec<&str> = facts.addresses.lines().collect();
    let parts = [facts.hostname.to_owned(), addresses.join(" "), role_word(facts.role).to_owned(), readiness(facts)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn screen(facts: &Facts<'_>) -> String {
    let mut text = format!("\x1b[2J\x1b[H\n  rk {}\n\n", env!("CARGO_PKG_VERSION"));
    let addresses: Vec<&str> = facts.addresses.lines().collect();
    let addresses = if addresses.is_empty() { "none yet".to_owned() } else { addresses.join("\n             ") };
    for (name, value) in [
        ("name", facts.hostname),
        ("addresses", &addresses),
        ("role", role_word(facts.role)),
        ("node", &readiness(facts)),
    ] {
        text.push_str(&format!("  {name:<11}{value}\n"));
    }
    if !facts.invitation.is_empty() {
        text.push_str("\n  give it a config\n");
    }
    for line in facts.invitation.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text.push_str("\n  latest troubles\n");
    for trouble in &facts.troubles {
        let line: String = trouble.chars().take(WIDTH).collect();
        text.push_str(&format!("    {line}\n"));
    }
    if facts.troubles.is_empty() {
        text.push_str("    none\n");
    }
    text.push_str("\n  There is no login here; use rkctl.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(role: Option<Role>, node: &'a str) -> Facts<'a> {
        let (invitation, troubles) = ("", vec!["netd exited with code 1"]);
        Facts { hostname: "n1", addresses: "10.0.2.15/24\n", role, node, invitation, troubles }
    }

    #[test]
    fn one_line_says_who_where_and_whether_ready() {
        assert_eq!(summary(&facts(Some(Role::Worker), "True\n")), "n1, 10.0.2.15/24, worker, Ready");
        assert_eq!(
            summary(&facts(Some(Role::Worker), "False\nno network plugin\n")),
            "n1, 10.0.2.15/24, worker, not Ready: no network plugin"
        );
        assert_eq!(summary(&facts(None, "")), "n1, 10.0.2.15/24, maintenance, waiting for a config");
    }

    #[test]
    fn the_screen_shows_troubles_and_no_login() {
        let text = screen(&facts(Some(Role::ControlPlane), ""));
        for wanted in ["n1", "10.0.2.15/24", "control-plane", "told nothing yet", "netd exited with code 1", "rkctl"] {
            assert!(text.contains(wanted), "{text}");
        }
    }

    #[test]
    fn the_screen_of_a_machine_that_waits_shows_its_fingerprint_and_no_line_wraps() {
        let (long, invitation) = ("x".repeat(200), "rkctl node apply FILE --fingerprint\nsha256:00ff\n");
        let waits = Facts { invitation, troubles: vec![long.as_str(); MOST_TROUBLES], ..facts(None, "") };
        let text = screen(&waits);
        assert!(text.contains("    sha256:00ff\n"), "{text}");
        assert!(text.lines().all(|line| line.len() < 80) && text.lines().count() < 25, "{text}");
        assert!(!screen(&facts(None, "")).contains("give it a config"));
    }
}
