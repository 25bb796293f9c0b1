//! Container logs: the CRI log format, reading and following them, and keeping their size in bounds.

mod format;
mod reader;
mod rotate;

pub use reader::{LogOptions, StreamChoice, stream, tail};
pub use rotate::rotate_loop;
