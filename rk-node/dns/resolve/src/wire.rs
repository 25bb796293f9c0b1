//! One packet to a server, and its answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// The largest answer over UDP that is taken whole.
const PAYLOAD: usize = 4096;

/// Asks over UDP. The answer has the packet's ID and may be anyone's all the same: the caller compares it with the question.
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
    let size = timeout(patience, async {
        loop {
            let size = socket.recv(&mut answer).await?;
            // Another ID is a guess at ours: the right answer may still come.
            if size >= 2 && answer.get(..2) == packet.get(..2) {
                return Ok::<usize, io::Error>(size);
            }
        }
    })
    .await??;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_answers_another_question_is_passed_over() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = server.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut packet = [0; 16];
            let (_, from) = server.recv_from(&mut packet).await.unwrap();
            for said in [&b"x"[..], &b"\0\x08forged"[..], &b"\0\x07true"[..]] {
                server.send_to(said, from).await.unwrap();
            }
        });
        let answer = ask_udp(address, b"\0\x07?", Duration::from_secs(60)).await.unwrap();
        assert_eq!(answer, b"\0\x07true");
        serving.await.unwrap();
    }
}
