//! Confinement of our own processes that speak with networks: system calls that they never make are refused.

use crate::error::{Result, SysError};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::io;

/// What no process of a node but PID 1, rk-node and the shims does: the machine itself is changed by these.
const MACHINE: [i64; 36] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_setns,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];
/// Starting programs.
const PROGRAMS: [i64; 2] = [libc::SYS_execve, libc::SYS_execveat];

/// What the node agent and the network plugins that it starts do not do: change the kernel, the clock, swap or names of the machine, look
/// into other processes, and the large interfaces of the kernel that none of them uses. They do mount and enter namespaces.
const AGENT: [i64; 30] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// What is refused to a program from its start on, children included.
#[derive(Clone)]
pub struct Confinement {
    program: BpfProgram,
    /// Bits of the capabilities that are left.
    capabilities: u64,
}

impl std::fmt::Debug for Confinement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Confinement({:#x}, {} instructions)", self.capabilities, self.program.len())
    }
}

impl Confinement {
    /// The calls that [`confine`] refuses, but for starting programs; and all capabilities but these, by number.
    ///
    /// # Errors
    /// The filter cannot be made.
    pub fn new(capabilities: &[u32]) -> Result<Confinement> {
        let bits = capabilities.iter().filter_map(|number| 1u64.checked_shl(*number)).fold(0, |bits, bit| bits | bit);
        Ok(Confinement { program: filter(&MACHINE)?, capabilities: bits })
    }

    /// Confines the calling process, which is about to become the program. Makes system calls only.
    pub(crate) fn enter(&self) -> io::Result<()> {
        for capability in 0..64 {
            if self.capabilities >> capability & 1 == 1 {
                continue;
            }
            // SAFETY: an integer argument; the kernel refuses numbers that it does not know, which ends the list.
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) } < 0 {
                break;
            }
        }
        seccompiler::apply_filter(&self.program).map_err(|_| io::Error::last_os_error())
    }
}

/// Refuses those calls to this process from now on, with EPERM; `programs` leaves it the right to start programs. For the first
/// thread, before there are others.
///
/// # Errors
/// The kernel has no seccomp.
pub fn confine(programs: bool) -> Result<()> {
    let denied = if programs { MACHINE.to_vec() } else { [MACHINE.as_slice(), PROGRAMS.as_slice()].concat() };
    seccompiler::apply_filter(&filter(&denied)?).map_err(failed)
}

/// Refuses to this thread, and to those that it starts from now on, what the node agent does not do. A thread that was there before, and
/// what that starts, stays as it was: containers are to get what their own profiles leave them.
///
/// # Errors
/// The kernel has no seccomp.
pub fn confine_agent() -> Result<()> {
    seccompiler::apply_filter(&filter(&AGENT)?).map_err(failed)
}

fn failed(err: seccompiler::Error) -> SysError {
    SysError::new("seccomp", "this process", io::Error::other(err.to_string()))
}

fn filter(denied: &[i64]) -> Result<BpfProgram> {
    let rules = denied.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, TargetArch::x86_64)
        .map_err(|err| failed(err.into()))?;
    filter.try_into().map_err(|err: seccompiler::BackendError| failed(err.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_confined_and_a_thread_from_before_is_not() {
        // Threads of their own: the filter stays on them for life.
        std::thread::spawn(|| {
            let filtered = || {
                let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                status.lines().any(|line| line == "Seccomp:\t2")
            };
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let before = std::thread::spawn(move || {
                wait.recv().unwrap();
                filtered()
            });
            let outside = filtered();
            confine_agent().unwrap();
            go.send(()).unwrap();
            assert_eq!(before.join().unwrap(), outside);
            assert!(filtered() && std::thread::spawn(filtered).join().unwrap());
            assert_eq!(nix::unistd::sethostname("x"), Err(nix::errno::Errno::EPERM));
            assert!(std::process::Command::new("/bin/true").status().is_ok_and(|status| status.success()));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_confined_thread_changes_no_machine_and_starts_no_program() {
        // A thread of its own: the filter stays on it for life.
        std::thread::spawn(|| {
            confine(false).unwrap();
            let unshared = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS);
            assert_eq!(unshared, Err(nix::errno::Errno::EPERM));
            let started = std::process::Command::new("/bin/true").status();
            assert!(started.is_err(), "{started:?}");
            assert!(std::fs::read("/proc/self/status").is_ok());
        })
        .join()
        .unwrap();
    }
}
