//! The node's kernel: Linux 6.12, monolithic, built from `allnoconfig` and the fragments in `fragments/`.
//!
//! [`build`] finds the source ([`RK_KERNEL_SOURCE`](SOURCE_ENV), else Debian's `linux-source-6.12` fetched and verified by
//! apt without touching the system's own lists), configures it, checks every symbol of `required.symbols`, compiles, and
//! keeps the result under a name that is the hash of fragments and source. A second call with the same inputs only reads.
//!
//! The build is reproducible: time stamp, user, host and version number are constants; the compiler's version is not pinned.

pub mod apt;
mod artifact;
mod build;
mod check;
mod config;
mod run;
mod source;

pub use artifact::KernelArtifact;
pub use build::{Progress, build, cache_dir};
pub use check::missing_symbols;
pub use config::{fragments, merged};
pub use source::SOURCE_ENV;

/// Debian packages that a kernel build needs.
pub const PACKAGES: &[&str] =
    &["bc", "bison", "flex", "gcc", "libc6-dev", "libelf-dev", "libssl-dev", "make", "perl", "xz-utils", "zstd"];
