//! Connections over which HTTP is spoken, as one type: each type of its own would be one more copy of hyper in the program.

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A connection of any kind, as hyper takes it.
pub type Wire = TokioIo<Box<dyn Duplex>>;

/// A connection of some kind.
pub fn wire(stream: impl Duplex + 'static) -> Wire {
    let any: Box<dyn Duplex> = Box::new(stream);
    TokioIo::new(any)
}
