//! Namespaces of a pod that has its own users: all of them belong to its user namespace, so that the pod's root, an unprivileged
//! user of the host, may do in them what root does (user_namespaces(7), KEP-127).
//!
//! A process cannot leave a user namespace, so a forked helper makes them, and stays until the shim has pinned each.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Gid, Pid, Uid, fork, setgroups, setresgid, setresuid};
use rk_shim_protocol::{IdRange, SandboxConfig, UserMapping, namespace_file};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::namespaces::{Pin, fill, pin};

/// The helper's words: it is in its user namespace; all namespaces are made; something failed.
const NEW_USER: &str = "user";
const MADE: &str = "made ";
const FAILED: &str = "failed ";

/// Makes and pins the user namespace, those of `pins` and the shared PID namespace, whose pause process comes back.
pub fn make(dir: &Path, config: &SandboxConfig, mapping: &UserMapping, pins: &[Pin]) -> Result<Option<Pid>> {
    // The pause process has no right to make it.
    fs::create_dir_all(dir.join("empty"))?;
    let (from_helper, to_shim) = pipe_with(PipeFlags::CLOEXEC)?;
    let (from_shim, to_helper) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: this process has one thread, so the child may run any code; it never returns from this block.
    let helper = match unsafe { fork() }.context("fork a helper")? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            drop((from_helper, to_helper));
            let mut say = File::from(to_shim);
            if let Err(error) = inhabit(dir, config, pins, &mut say, &mut File::from(from_shim)) {
                let _ = writeln!(say, "{FAILED}{}", format!("{error:#}").replace('\n', " "));
            }
            // SAFETY: leaves without the shim's destructors and exit handlers, which belong to the parent.
            unsafe { libc::_exit(0) }
        }
    };
    drop((to_shim, from_shim));
    let made = settle(dir, helper, mapping, pins, BufReader::new(File::from(from_helper)), File::from(to_helper));
    // Its end of the pipe is closed by now, so the helper goes.
    let _ = waitpid(helper, None);
    made
}

/// The shim's part: ids, then pins.
fn settle(
    dir: &Path,
    helper: Pid,
    mapping: &UserMapping,
    pins: &[Pin],
    mut heard: impl BufRead,
    mut say: File,
) -> Result<Option<Pid>> {
    next(&mut heard, NEW_USER)?;
    for (file, range) in [("uid_map", mapping.uids), ("gid_map", mapping.gids)] {
        let path = format!("/proc/{helper}/{file}");
        fs::write(&path, map_line(range)).with_context(|| format!("write {path}"))?;
    }
    say.write_all(b"+")?;
    let pause: i32 = next(&mut heard, MADE)?.parse().context("pid of the pause process")?;
    let pause = Some(Pid::from_raw(pause)).filter(|pid| pid.as_raw() > 0);
    let made = helper.to_string();
    let pinned = pin(&made, "user", &namespace_file(dir, "user"))
        .and_then(|()| pins.iter().try_for_each(|(_, kind, path)| pin(&made, kind, path)))
        .and_then(|()| pause.map_or(Ok(()), |pid| pin(&pid.to_string(), "pid", &namespace_file(dir, "pid"))));
    if let (Err(_), Some(pid)) = (&pinned, pause) {
        let _ = kill(pid, Signal::SIGKILL);
    }
    pinned.map(|()| pause)
}

/// A line of `uid_map`: first id inside, first id outside, how many.
fn map_line(range: IdRange) -> String {
    format!("0 {} {}\n", range.host, range.length)
}

/// The rest of the helper's next line, which must begin with `word`.
fn next(heard: &mut impl BufRead, word: &str) -> Result<String> {
    let mut line = String::new();
    heard.read_line(&mut line).context("hear from the namespaces' helper")?;
    let line = line.trim_end();
    match (line.strip_prefix(word), line.strip_prefix(FAILED)) {
        (Some(rest), _) => Ok(rest.to_owned()),
        (_, Some(problem)) => bail!("{problem}"),
        _ => bail!("the helper that makes the pod's namespaces died"),
    }
}

/// The helper's part.
fn inhabit(dir: &Path, config: &SandboxConfig, pins: &[Pin], say: &mut File, hear: &mut File) -> Result<()> {
    // From here the pause process finds its empty root, whoever may pass the directories above.
    std::env::set_current_dir(dir).with_context(|| format!("enter {}", dir.display()))?;
    unshare(CloneFlags::CLONE_NEWUSER).context("make the pod's user namespace")?;
    writeln!(say, "{NEW_USER}")?;
    let mut word = [0];
    hear.read_exact(&mut word).context("wait for the user namespace's ids")?;
    let (root, wheel) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[]).context("drop groups")?;
    setresgid(wheel, wheel, wheel).context("become the pod's root group")?;
    setresuid(root, root, root).context("become the pod's root")?;
    unshare(pins.iter().fold(CloneFlags::empty(), |all, (flag, ..)| all | *flag))
        .context("make the pod's namespaces")?;
    fill(config)?;
    let pause = if config.shared_pid { start_pause()?.as_raw() } else { 0 };
    writeln!(say, "{MADE}{pause}")?;
    let _ = hear.read(&mut word);
    Ok(())
}

/// PID 1 of a new PID namespace, as a child of the shim.
fn start_pause() -> Result<Pid> {
    unshare(CloneFlags::CLONE_NEWPID).context("make the pod's PID namespace")?;
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without a stack of its own the child goes on as after fork(2), and this process has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) };
    if pid == 0 {
        let _ = nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0));
        let _ = nix::unistd::execv(c"/proc/self/exe", &[c"/pause", c"pause", c"."]);
        // SAFETY: leaves without the shim's destructors and exit handlers.
        unsafe { libc::_exit(127) }
    }
    match i32::try_from(pid) {
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => Err(Errno::last()).context("start the pause process"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helpers_words_are_understood_and_its_silence_is_an_error() {
        let hear = |text: &str, word: &str| next(&mut text.as_bytes(), word).map_err(|e| e.to_string());
        assert_eq!(hear("made 17\n", MADE), Ok("17".into()));
        assert_eq!(hear("user\nmade 0\n", NEW_USER), Ok(String::new()));
        assert_eq!(hear("failed set sysctl x=1: no\n", MADE), Err("set sysctl x=1: no".into()));
        assert!(hear("", MADE).is_err_and(|e| e.contains("died")));
        assert_eq!(map_line(IdRange { host: 131_072, length: 65_536 }), "0 131072 65536\n");
    }
}
