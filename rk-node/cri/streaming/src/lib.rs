//! Server side of Kubernetes' streaming protocols: exec, attach and port-forward over SPDY/3.1 and WebSocket.
//!
//! A handler receives plain byte streams and never learns which protocol carried them:
//!
//! - [`serve_exec`] answers an upgrade request for exec or attach, hands [`ExecStreams`] to the handler, and turns the handler's
//!   [`ExecOutcome`] into the status that the client expects in its protocol version;
//! - [`serve_port_forward`] answers an upgrade request for port-forward and asks the handler for one connection per port stream.
//!
//! Protocols: remotecommand `v1`–`v4` over SPDY and `v1`, `v4`, `v5` (binary and base64) over WebSocket; `portforward.k8s.io` over
//! SPDY, the same tunnelled through WebSocket (KEP-4006), and the older channel protocol with the port in the first message.
//!
//! Back-pressure is the transport's: a connection reads ahead of its handlers, so that pings are answered while they are slow, and stops
//! reading at a bound for all of its streams; output waits in a few chunks of each stream. Every wait for a client
//! has a deadline, every frame, header block and stream count has a limit.

mod exec;
mod inlet;
mod negotiate;
mod pipe;
mod portforward;
mod spdy;
mod status;
mod websocket;

pub use exec::{ExecOptions, ExecStreams, TerminalSize, serve_exec};
pub use inlet::ByteReader;
pub use negotiate::{Negotiated, Refusal, Transport};
pub use pipe::ByteWriter;
pub use portforward::{Connect, Duplex, serve_port_forward};
pub use status::ExecOutcome;

/// The body of the answers that this crate makes.
pub type Body = http_body_util::Full<bytes::Bytes>;
