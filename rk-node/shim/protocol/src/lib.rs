//! What the CRI server and one `rk-shim` say to each other over the sandbox's unix socket.
//!
//! A frame is a big-endian `u32` length and that many bytes of JSON, at most [`MAX_FRAME`]. A connection carries one [`Request`]
//! at a time; the shim answers with one [`Reply`], and only these go on speaking afterwards:
//!
//! * [`Request::Subscribe`]: a [`Reply::State`] first, then a [`Reply::Exited`] for each container that ends;
//! * [`Request::Exec`]: a [`Reply::Started`], then one [`Reply::ExecExited`].
//!
//! File descriptors travel as `SCM_RIGHTS` beside the first byte of a frame, in the order that the message's docs give. Stdio of
//! exec'd processes never passes through the shim: the caller hands over pipe ends, or gets the terminal's master back.

mod frame;
mod message;
mod paths;

pub use frame::{Decoder, FrameError, HEADER, MAX_FRAME, encode};
pub use message::{
    ContainerState, Exit, Failure, FailureKind, IdRange, Process, Reply, Request, SandboxConfig, StartContainer,
    UserMapping, WindowSize,
};
pub use paths::{
    CONFIG_FILE, SOCKET_FILE, container_dir, exit_file, namespace_file, pid_file, ready_file, socket, stage_dir,
};
