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
        Ok(Confinement { program: filter(true)?, capabilities: bits })
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
    seccompiler::apply_filter(&filter(programs)?).map_err(failed)
}

fn failed(err: seccompiler::Error) -> SysError {
    SysError::new("seccomp", "this process", io::Error::other(err.to_string()))
}

fn filter(programs: bool) -> Result<BpfProgram> {
    let denied = MACHINE.iter().chain(PROGRAMS.iter().filter(|_| !programs));
    let rules = denied.map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, TargetArch::x86_64)
        .map_err(|err| failed(err.into()))?;
    filter.try_into().map_err(|err: seccompiler::BackendError| failed(err.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
