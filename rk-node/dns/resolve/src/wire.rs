//! One packet to a server, and its answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// The largest answer over UDP that is taken whole.
const PAYLOAD: usize = 4096;

/// Asks over UDP. The answer may be anyone's: the caller compares it with the question.
///
/// # Errors
/// The server cannot be reached, or did not answer within `patience`.
pub async fn ask_udp(server: SocketAddr, packet: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A socket of its own for each query has a random port, which makes forged answers hard.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut answer = vec![0; PAYLOAD];
    let size = timeout(patience, socket.recv(&mut answer)).await??;
    answer.truncate(size);
    Ok(answer)
}

/// Asks over TCP, where answers have up to 64 KiB.
///
/// # Errors
/// The server cannot be reached, or did not answer within `patience`.
pub async fn ask_tcp(server: SocketAddr, packet: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    timeout(patience, async {
        let mut stream = TcpStream::connect(server).await?;
        let size = u16::try_from(packet.len()).map_err(io::Error::other)?;
        stream.write_all(&size.to_be_bytes()).await?;
        stream.write_all(packet).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    })
    .await?
}
