//! The static CPU policy: containers of Guaranteed pods that ask for whole CPUs get theirs alone, all others share the rest.
//!
//! [`topology`] reads what the machine is, [`set`] is a set of CPUs as the kernel writes it, [`assign`] and [`draft`] choose (values only),
//! [`manager`] remembers what was given, across restarts too. Workers hold their containers to it at every look.

mod assign;
mod draft;
mod manager;
mod options;
mod set;
mod topology;

pub use manager::{CpuPolicy, Cpus, Pool, Reserved};
pub use options::{CpuOptions, Maturity};
pub use set::CpuSet;
#[cfg(test)]
pub use topology::Cpu;
pub use topology::{CPU_DIR, Topology};
