//! Telemetry that needs no operator: metrics for Prometheus, logs for a collector.

mod figures;
mod record;
mod serve;
mod ship;
mod source;

pub use serve::serve;
pub use ship::ship;

/// A port that nobody else gets, and that nobody listens at until its holder does.
#[cfg(test)]
pub(crate) fn hold(address: std::net::SocketAddr) -> tokio::net::TcpSocket {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
