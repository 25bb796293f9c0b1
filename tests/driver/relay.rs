//! A way for a client of the host to what listens inside of a node, from a container with the node's network and `/run/rk`. It is given
//! two ports: connections to the first reach the CRI socket, those to the second say in a line where they want to go.

use std::io;
use tokio::io::{AsyncBufReadExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};

const SOCKET: &str = "/run/rk/cri.sock";

async fn to_socket(mut client: TcpStream) -> io::Result<()> {
    let mut node = UnixStream::connect(SOCKET).await?;
    copy_bidirectional(&mut client, &mut node).await.map(drop)
}

async fn to_place(client: TcpStream) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let mut place = String::new();
    client.read_line(&mut place).await?;
    let mut node = TcpStream::connect(place.trim()).await?;
    copy_bidirectional(&mut client, &mut node).await.map(drop)
}

async fn serve<F>(port: u16, way: fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        let connection = way(client);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("port {port}: {error}");
            }
        });
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let ports: Vec<u16> = std::env::args().skip(1).map(|port| port.parse()).collect::<Result<_, _>>()?;
    let [socket, place] = ports.as_slice() else { anyhow::bail!("usage: relay PORT PORT") };
    tokio::try_join!(serve(*socket, to_socket), serve(*place, to_place))?;
    Ok(())
}
