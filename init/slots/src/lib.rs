//! The two root slots of a disk as values: no IO, no clock.
//!
//! A disk has two partitions for roots ([`Slot`]). Which of them a machine boots is the boot loader's choice, and it counts: on UEFI
//! machines systemd-boot counts in the names of EFI programs ([`Entry`]), on BIOS machines GRUB counts in a block of variables
//! ([`Env`]). An EFI program carries what its slot must hold on its command line ([`Root`], [`program`]), and [`verity`] tells
//! whether it does. [`version`] orders releases. [`Layout`] is what PID 1 tells the machine API about it all.

mod entry;
mod env;
mod layout;
mod left;
pub mod program;
mod remedy;
mod root;
mod slot;
mod statement;
pub mod verity;
pub mod version;

pub use entry::{Entry, Tries, next_generation};
pub use env::{ENV_BYTES, Env, boot_commands, grub_words, sums};
pub use layout::Layout;
pub use left::Left;
pub use remedy::{Blocked, Remedy};
pub use root::{Root, slot_bytes};
pub use slot::Slot;
pub use statement::{PieceSum, install_statement, statement};
pub use version::Version;

/// How often a slot on trial is booted before the other one is taken again.
pub const TRIES: u32 = 3;
/// Folder of EFI programs on the EFI partition (Boot Loader Specification, type 2).
pub const PROGRAMS: &str = "EFI/Linux";
/// GRUB's block of variables on the EFI partition.
pub const ENV_PATH: &str = "grub/grubenv";
/// Note on the EFI partition of why the machine left a slot by itself.
pub const LEFT_PATH: &str = "rk/left.txt";
/// Name of the EFI partition in the partition table.
pub const ESP: &str = "rk-esp";
/// Name of the partition that keeps a machine's config.
pub const STATE: &str = "rk-state";
