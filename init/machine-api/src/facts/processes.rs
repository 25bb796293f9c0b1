//! Processes.

use super::{text, value};
use rk_machine_proto::v1::Process;
use std::fs;

/// Processes told; more are not looked at.
const MOST: usize = 8192;
/// Most bytes of a command line that are reported.
const MOST_COMMAND: u64 = 512;
const TICKS: f64 = 100.0;

/// Reads `/proc`, in order of id.
pub fn read() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(MOST).collect();
    pids.sort_unstable();
    // One that ended meanwhile is left out.
    pids.into_iter().filter_map(one).collect()
}

fn one(pid: i32) -> Option<Process> {
    let dir = format!("/proc/{pid}");
    let mut process = parse(&text(format!("{dir}/stat"), 4096))?;
    let command = text(format!("{dir}/cmdline"), MOST_COMMAND);
    process.command = command.trim_end_matches('\0').replace('\0', " ");
    process.resident_bytes = value(&text(format!("{dir}/status"), 16 << 10), "VmRSS:").unwrap_or(0) << 10;
    let cgroup = text(format!("{dir}/cgroup"), 4096);
    process.cgroup = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned();
    Some(process)
}

/// Reads `stat`; the name in parentheses may hold anything, parentheses too.
fn parse(stat: &str) -> Option<Process> {
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = stat.get(close + 1..)?.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    Some(Process {
        pid: stat.get(..open)?.trim().parse().ok()?,
        name: stat.get(open + 1..close)?.to_owned(),
        state: (*fields.first()?).to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        cpu_seconds: (number(11)? + number(12)?) as f64 / TICKS,
        threads: u32::try_from(number(17)?).unwrap_or(u32::MAX),
        ..Process::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses_and_blanks() {
        let process = parse("42 (a) (b) S 1 42 42 0 -1 4194560 10 0 0 0 150 50 0 0 20 0 3 0 100 1 2").unwrap();
        assert_eq!((process.pid, process.name.as_str(), process.parent), (42, "a) (b", 1));
        assert_eq!((process.cpu_seconds, process.threads), (2.0, 3));
        for torn in ["", "1", "1 (x", "1 (x) S", ") 1 (", "x (y) S 1 2 3"] {
            assert_eq!(parse(torn), None, "{torn}");
        }
    }

    #[test]
    fn this_very_process_is_told() {
        let own = i32::try_from(std::process::id()).unwrap();
        let found = read().into_iter().find(|process| process.pid == own).unwrap();
        assert!(found.resident_bytes > 0 && found.threads > 0, "{found:?}");
    }
}
