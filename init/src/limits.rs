//! Resource limits that every process of a node inherits, containers too. The kernel's own defaults are a desktop's.

use crate::console::Journal;

/// Open files of a process unless it asks for more, and what it may ask for. Servers in containers run into 1024, programs
/// that walk over all possible descriptors into millions.
const OPEN_FILES: (u64, u64) = (65_536, 1_048_576);

/// Raises the limits of PID 1, and so of all. What bounds a pod's processes is its cgroup, not its user's count.
pub fn raise(journal: &mut Journal) {
    let (soft, hard) = OPEN_FILES;
    journal.check("raising the limit of open files", rk_sys::limit_open_files(soft, hard));
    journal.check("lifting the limit of processes per user", rk_sys::lift_process_limit());
}
