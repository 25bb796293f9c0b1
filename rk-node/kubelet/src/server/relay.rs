//! Bytes between two ends, both ways.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// Bytes that are held for each way.
const BUFFER: usize = 8 * 1024;

/// Passes bytes on until both ends are done. An error when nothing passed for `idle`; zero is no such bound.
pub async fn relay<A, B>(one: A, other: B, idle: Duration) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (from_one, to_one) = tokio::io::split(one);
    let (from_other, to_other) = tokio::io::split(other);
    let passed = Notify::new();
    let both = async { tokio::try_join!(pass(from_one, to_other, &passed), pass(from_other, to_one, &passed)) };
    tokio::select! {
        done = both => done.map(drop),
        () = silence(&passed, idle) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing passed for {} s", idle.as_secs())))
        }
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, passed: &Notify) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        passed.notify_one();
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
        to.flush().await?;
    }
}

/// Ends when nothing passed for so long.
async fn silence(passed: &Notify, idle: Duration) {
    if idle.is_zero() {
        return std::future::pending().await;
    }
    while tokio::time::timeout(idle, passed.notified()).await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    #[tokio::test]
    async fn bytes_pass_both_ways_and_one_end_may_end_before_the_other() {
        let ((mut client, near), (far, mut runtime)) = (duplex(4096), duplex(4096));
        let relaying = tokio::spawn(relay(near, far, Duration::ZERO));
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        runtime.read_to_string(&mut asked).await.unwrap();
        runtime.write_all(&[b'a'; 1000]).await.unwrap();
        drop(runtime);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!((asked.as_str(), answer.len()), ("question", 1000));
        relaying.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_silent_for_long_ends() {
        let ((mut client, near), (far, mut runtime)) = (duplex(4096), duplex(4096));
        let relaying = tokio::spawn(relay(near, far, Duration::from_secs(1)));
        let mut byte = [0];
        for _ in 0..5 {
            client.write_all(b"x").await.unwrap();
            runtime.read_exact(&mut byte).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert!(!relaying.is_finished(), "what speaks now and then goes on");
        assert_eq!(relaying.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(client.read(&mut byte).await.unwrap(), 0);
    }
}
