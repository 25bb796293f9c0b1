//! Locks the running kernel: nobody changes it from then on, root and privileged pods included.

use crate::console::Journal;
use std::fs;
use std::io::ErrorKind;

const FILE: &str = "/sys/kernel/security/lockdown";
/// `confidentiality` would also forbid reading the kernel's memory by programs that people trace with.
const LEVEL: &str = "integrity";

/// For the rest of this boot. A kernel without lockdown is passed over.
pub fn lock(journal: &mut Journal) {
    match fs::write(FILE, LEVEL) {
        Ok(()) => {}
        Err(err) if err.kind() == ErrorKind::NotFound => {}
        // It is locked already, by the command line.
        Err(_) if fs::read_to_string(FILE).is_ok_and(|text| !text.contains("[none]")) => {}
        Err(err) => journal.failed("locking the kernel", &err),
    }
}
