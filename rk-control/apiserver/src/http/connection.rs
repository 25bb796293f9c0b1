//! What is known of the connection that a request came on.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::authn::User;

/// Who is at the other end.
#[derive(Debug, Clone)]
pub enum Peer {
    /// A TLS client without a client certificate.
    Stranger,
    /// A TLS client whose certificate the cluster's authority signed.
    Certified {
        /// The certificate's subject.
        user: Arc<User>,
        /// The second since 1970 with which it ends.
        until: i64,
    },
    /// A TLS client whose certificate is not valid here; requests that rely on nothing else get 401.
    Refused(Arc<str>),
    /// A component in this process; its identity needs no proof.
    InProcess(Arc<User>),
}

/// One connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The other end.
    pub peer: Peer,
    /// Its address; `None` in process.
    pub address: Option<SocketAddr>,
}
