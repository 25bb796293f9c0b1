//! The way down, carried out.

use crate::cgroups;
use crate::console::Journal;
use crate::pid1::Machine;
use crate::services::{CONTROL, MACHINE, NETD, NODE};
use crate::{root, swap};
use rk_config::MachineConfig;
use rk_supervise::{Deadlines, Event, Millis, Observed, Shutdown, Step};
use rk_sys::{End, Signal, SysError};
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Tells `rk-node` that SIGTERM now means the end of the machine, and pods must go: `poweroff` or `reboot`.
pub const NOTE: &str = "/run/rk/shutdown";
/// While waiting for containers, which send no signal to PID 1.
const LOOK_EVERY: Millis = 50;
/// Processes of pods signalled in one go; a node runs far fewer.
const MOST_POD_PROCESSES: usize = 65_536;
/// Rounds of unmounting: each frees what is below.
const UNMOUNT_ROUNDS: usize = 4;
/// File systems of other machines, which may never answer.
const SERVED: [&str; 5] = ["nfs", "nfs4", "cifs", "smb3", "ceph"];
/// How long a step waits for them. What lies on disks is written back by unmounting as well.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What stays mounted: the kernel needs no unmount of these, and the console and the program that runs are among them.
const KEEP: [&str; 6] = ["/", root::PROGRAM, "/proc", "/sys", "/dev", "/run"];

/// A machine on its way down.
#[derive(Debug)]
pub struct GoingDown {
    end: End,
    shutdown: Shutdown,
}

impl GoingDown {
    /// Begins; says why.
    pub fn begin(journal: &mut Journal, end: End, why: &str, config: Option<&MachineConfig>) -> GoingDown {
        let word = word(end);
        journal.say(format_args!("{word} asked by {why}"));
        journal
            .check("leaving a note for services", fs::create_dir_all("/run/rk").and_then(|()| fs::write(NOTE, word)));
        let grace = config.map_or(0, |config| u64::from(config.kubelet.longest_shutdown_seconds())) * 1000;
        let deadlines = Deadlines { node: grace + 10_000, containers: 10_000, services: 10_000, sweep: 300 };
        GoingDown { end, shutdown: Shutdown::new(deadlines) }
    }

    /// `poweroff`, `reboot` or `halt`.
    pub fn word(&self) -> &'static str {
        word(self.end)
    }

    /// When to look again.
    pub fn next_look(&self, now: Millis) -> Option<Millis> {
        self.shutdown.next_deadline().map(|deadline| deadline.min(now + LOOK_EVERY))
    }

    /// Goes on as far as possible. Returns the reason when the machine could not be ended.
    pub fn advance(&mut self, now: Millis, machine: &mut Machine) -> Option<SysError> {
        let up = |name: &str| machine.supervisor.state(name).is_some_and(|state| state.pid().is_some());
        let seen = Observed {
            node: up(NODE),
            containers: cgroups::pods_populated(),
            services: [CONTROL, NETD, MACHINE].into_iter().any(up),
        };
        for step in self.shutdown.advance(now, seen) {
            match step {
                Step::StopNode => machine.handle(now, Event::Stop { name: NODE }),
                Step::StopServices => {
                    for name in [NODE, CONTROL, MACHINE, NETD] {
                        machine.handle(now, Event::Stop { name });
                    }
                }
                Step::TerminateContainers => terminate_containers(&mut machine.journal),
                Step::KillContainers => {
                    machine.journal.say("containers did not stop in time and are killed");
                    cgroups::kill_pods(&mut machine.journal);
                }
                Step::TerminateAll => {
                    machine.journal.check("stopping processes", rk_sys::kill_everything(Signal::Terminate))
                }
                Step::KillAll => machine.journal.check("killing processes", rk_sys::kill_everything(Signal::Kill)),
                Step::Finish => return Some(self.finish(machine)),
            }
        }
        None
    }

    fn finish(&self, machine: &mut Machine) -> SysError {
        let _fed = machine.watchdog.feed_meanwhile(&mut machine.journal);
        // Killed processes hold files until they are reaped; bounded by the number of rounds.
        for _ in 0..200 {
            while let Ok(Some(_)) = rk_sys::reap_one() {}
            if !others_alive() {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        machine.logs.clear();
        machine.journal.say("all processes ended, unmounting");
        machine.journal.close();
        let served = served(&fs::read_to_string("/proc/self/mounts").unwrap_or_default());
        if !served.is_empty() {
            bounded(&mut machine.journal, "unmounting what other machines serve", LONGEST_WAIT, move || {
                detach(&served)
            });
        }
        bounded(&mut machine.journal, "writing back", LONGEST_WAIT, rk_sys::sync_disks);
        swap::off(&mut machine.journal);
        unmount_all(&mut machine.journal);
        bounded(&mut machine.journal, "writing back", LONGEST_WAIT, rk_sys::sync_disks);
        machine.journal.say(format_args!("{} after {} ms up", word(self.end), rk_sys::boot_millis()));
        let Err(err): Result<Infallible, _> = rk_sys::end_machine(self.end);
        err
    }
}

fn word(end: End) -> &'static str {
    match end {
        End::PowerOff => "poweroff",
        End::Reboot => "reboot",
        End::Halt => "halt",
    }
}

fn terminate_containers(journal: &mut Journal) {
    let pids = cgroups::pod_processes(MOST_POD_PROCESSES);
    journal.say(format_args!("stopping {} left-over container processes", pids.len()));
    for pid in pids {
        // One that ended meanwhile is no failure; others are killed later.
        let _ = rk_sys::kill(pid, Signal::Terminate);
    }
}

/// Whether any process with memory of its own is left; kernel threads have none.
fn others_alive() -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid > 1)
        .any(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()))
}

/// Does what may never end on a thread of its own, and goes on without it after so long: a machine must not depend on others to end.
fn bounded(journal: &mut Journal, what: &str, longest: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let started = thread::Builder::new().spawn(move || {
        work();
        let _ = done.send(());
    });
    if let Err(err) = started {
        journal.failed(what, &err);
    } else if ended.recv_timeout(longest).is_err() {
        journal.say(format_args!("{what} does not end: the machine goes on without it"));
    }
}

/// Takes mounts out of the tree, the last one first: what their file systems have left to do then keeps nobody from the disks below.
fn detach(targets: &[PathBuf]) {
    for target in targets.iter().rev() {
        // One that is left is tried again with all others.
        let _ = rk_sys::unmount_detached(target);
    }
}

/// Targets of what other machines serve, in the order in which they were mounted.
fn served(table: &str) -> Vec<PathBuf> {
    let is_served = |line: &&str| line.split(' ').nth(2).is_some_and(|fstype| SERVED.contains(&fstype));
    let lines: Vec<&str> = table.lines().filter(is_served).collect();
    parse_mounts(&lines.join("\n"))
}

fn unmount_all(journal: &mut Journal) {
    for _ in 0..UNMOUNT_ROUNDS {
        let mut left = mounted_deepest_first();
        left.retain(|target| rk_sys::unmount(target).is_err());
        if left.is_empty() {
            return;
        }
    }
    for target in mounted_deepest_first() {
        journal.say(format_args!("{} is still busy", target.display()));
        journal.check("unmounting", rk_sys::unmount_detached(&target));
    }
}

fn mounted_deepest_first() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut targets = parse_mounts(&table);
    targets.reverse();
    targets
}

/// Targets in the order in which they were mounted, without those that are kept.
fn parse_mounts(table: &str) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(rk_sys::unescape_path)
        .filter(|target| !KEEP.contains(&target.as_str()))
        .filter(|target| !["/sys/", "/proc/", "/dev/"].iter().any(|prefix| target.starts_with(prefix)))
        .map(|target| Path::new(&target).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unmounted_is_read_from_the_kernels_table() {
        let table = "/dev/root / erofs ro 0 0\nrootfs /sbin/rk-init rootfs ro 0 0\nproc /proc proc rw 0 0\n/dev/vda /var ext4 rw 0 0\n\
                     cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\ntmpfs /var/a\\040b tmpfs rw 0 0\nnsfs /run/netns/x nsfs rw 0 0\n\
                     devpts /dev/pts devpts rw 0 0\ntmpfs /run tmpfs rw 0 0\n";
        assert_eq!(parse_mounts(table), ["/var", "/var/a b", "/run/netns/x"].map(PathBuf::from));
    }

    #[test]
    fn what_other_machines_serve_is_told_by_its_kind() {
        let table = "/dev/vda /var ext4 rw 0 0\n10.0.0.1:/a /var/lib/kubelet/v nfs4 rw,addr=10.0.0.1 0 0\n\
                     tmpfs /var/nfs tmpfs rw 0 0\n//s/b /var/c\\040d cifs rw 0 0\n";
        assert_eq!(served(table), ["/var/lib/kubelet/v", "/var/c d"].map(PathBuf::from));
    }

    #[test]
    fn what_never_ends_is_not_waited_for() {
        let mut journal = Journal::default();
        let (hold, held) = mpsc::channel::<()>();
        // It comes back though nobody lets go.
        bounded(&mut journal, "a test", Duration::from_millis(20), move || {
            let _ = held.recv();
        });
        drop(hold);
        let (tell, told) = mpsc::channel();
        bounded(&mut journal, "a test", Duration::from_secs(300), move || {
            let _ = tell.send(7);
        });
        assert_eq!(told.try_recv(), Ok(7));
    }
}
