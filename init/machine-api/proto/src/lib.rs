//! The machine API: what a node answers to its operator, over gRPC with mutual TLS on port [`PORT`].
//!
//! The messages and stubs are generated from `proto/`. Beside them stands what both sides must agree on: the port, the name in
//! every node's certificate, the roles and which method demands which ([`Role`], [`access_of`]), and the bounds of messages.

mod access;

/// Everything generated from `proto/`, package `rk.machine.v1`.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("rk.machine.v1");
}

/// Metadata of a refusal: bytes of a sector of the disk that was meant.
pub const SECTOR_KEY: &str = "rk-sector-bytes";

pub use access::{Access, METHODS, Role, SERVICE, access_of};
pub use v1::machine_client::MachineClient;
pub use v1::machine_server::{Machine, MachineServer};

/// TCP port of the machine API.
pub const PORT: u16 = 50_000;
/// The DNS name that every node's machine certificate carries; clients ask for it, since nodes change their addresses.
pub const SERVER_NAME: &str = "machine.rk.internal";
/// Largest request: a machine config is at most 256 KiB.
pub const MAX_REQUEST: usize = 1 << 20;
/// Largest single answer, read by clients; streams consist of many.
pub const MAX_REPLY: usize = 8 << 20;
/// Bytes in one message of a stream of bytes.
pub const CHUNK: usize = 64 << 10;

/// Configs and passphrases are secrets: they stay out of logs.
macro_rules! silent {
    ($($message:ident),*) => {$(
        impl std::fmt::Debug for v1::$message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($message), " { <secret> }"))
            }
        }
    )*};
}
silent!(ConfigReply, ApplyRequest, PatchRequest, KubeconfigReply, InstallRequest, UnlockRequest);
