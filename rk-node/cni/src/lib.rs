//! Pod networks by the Container Network Interface, version 1.1.
//!
//! Two sides of one protocol, which is JSON on stdin and stdout and `CNI_*` in the environment:
//!
//! - [`Runtime`] reads `/etc/cni/net.d`, runs the plugins that it names as executables, chains their results and keeps what is
//!   needed to undo them. Any others can take the place of our own plugins; only where an executable is this very program is it called
//!   on a thread instead.
//! - [`plugin`] is what the multi-call binary `rk-cni` runs: `bridge`, `host-local`, `portmap`, `loopback`. Any runtime can call
//!   them; `cnitool` does.
//!
//! [`routes`] keeps the node's routes to other nodes' pods; [`default_conflist`] writes the configuration of a node that has none;
//! [`leave_hint`] tells other networks which iptables to use.

mod conflist;
mod error;
mod hint;
mod netns;
pub mod plugin;
pub mod routes;
mod runtime;
mod types;

pub use conflist::{NetworkList, default_conflist, write_default_conflist};
pub use error::{Error, Result};
pub use hint::leave_hint;
pub use netns::in_netns;
pub use runtime::{Attachment, IF_NAME, PortMapping, Runtime};
pub use types::{CniError, CniResult, Dns, Interface, IpConfig, Route};
