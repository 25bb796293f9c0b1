//! The simplest of web servers: it hands out the files of a folder, for guests that boot from the network.

use crate::{Error, Result};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};

/// Longest line of a request that is read.
const MAX_LINE: u64 = 8192;

/// Serves the files of `folder` on loopback until this process ends, and answers the port.
pub fn serve_folder(folder: &Path) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::file("serve", folder))?;
    let port = listener.local_addr().map_err(Error::file("serve", folder))?.port();
    let folder = folder.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            // A guest that hangs up has what it wanted.
            std::thread::spawn(move || answer(&folder, stream));
        }
    });
    Ok(port)
}

fn answer(folder: &Path, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(std::io::Read::take(stream.try_clone()?, 16 * MAX_LINE));
    let mut asked = String::new();
    reader.read_line(&mut asked)?;
    let mut rest = String::new();
    while reader.read_line(&mut rest)? > 2 {
        rest.clear();
    }
    let name: PathBuf = asked.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').into();
    let within = name.components().all(|part| matches!(part, Component::Normal(_)));
    let Some(bytes) = within.then(|| std::fs::read(folder.join(&name)).ok()).flatten() else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let body: &[u8] = if asked.starts_with("HEAD") { &[] } else { &bytes };
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len())?;
    stream.write_all(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;
    use std::net::SocketAddr;

    #[test]
    fn files_within_the_folder_are_handed_out_and_no_others() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::create_dir(dir.path().join("in")).expect("folder");
        std::fs::write(dir.path().join("secret"), "no").expect("file");
        std::fs::write(dir.path().join("in/file"), "yes").expect("file");
        let port = serve_folder(&dir.path().join("in")).expect("server");
        let client = Client::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        assert_eq!(client.get("/file").expect("answer").text(), "yes");
        for other in ["/none", "/../secret", "/"] {
            assert_eq!(client.get(other).expect("answer").status, 404, "{other}");
        }
    }
}
