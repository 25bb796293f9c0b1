//! Archives of images: pieces from an operator go on to the node agent, which checks and keeps them; its verdicts go back.

use crate::disks::{ProgressStream, STEPS, Teller};
use crate::log;
use futures::FutureExt as _;
use rk_machine_proto::v1::ImportRequest;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// An operator who sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// Most bytes of the agent's answer to one archive: a line of a few hundred for each image.
const MOST_ANSWERS: u64 = 16 << 20;

/// Begins to take an archive in; the stream names each image that was taken, and ends with the error of one that was not.
///
/// # Errors
/// The first message promises nothing or too much, or the node agent does not listen.
pub async fn import(mut requests: Streaming<ImportRequest>, socket: &Path) -> Result<ProgressStream, Status> {
    let first = requests.message().await?.ok_or_else(|| Status::invalid_argument("nothing was sent"))?;
    let total = promised(&first)?;
    let stream = UnixStream::connect(socket).await.map_err(|err| {
        Status::unavailable(format!(
            "the node agent takes no images in ({err}); see rkctl services and rkctl logs node"
        ))
    })?;
    let (answers, agent) = stream.into_split();
    let (sender, receiver) = mpsc::channel(STEPS);
    let teller = Teller::new(sender);
    let task = async move {
        teller.say(Ok("receiving the archive")).await;
        let done = match forward(&mut requests, agent, total).await {
            Ok(()) => tell(answers, &teller).await,
            Err(status) => Err(status),
        };
        if let Err(status) = done {
            log::warn(format_args!("images were not taken in: {}", status.message()));
            teller.say(Err(status)).await;
        }
    };
    tokio::spawn(task.boxed());
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

fn promised(first: &ImportRequest) -> Result<u64, Status> {
    let total = first.total_bytes;
    if total == 0 || !first.data.is_empty() {
        return Err(Status::invalid_argument("the first message must tell the size of an archive"));
    }
    if total > rk_config::MAX_IMAGES_BYTES {
        let most = rk_config::MAX_IMAGES_BYTES;
        return Err(Status::out_of_range(format!("the archive has {total} bytes, and at most {most} are taken in")));
    }
    Ok(total)
}

/// Hands the archive on. An agent that hangs up has answered why, which is read next.
async fn forward(requests: &mut Streaming<ImportRequest>, mut agent: OwnedWriteHalf, total: u64) -> Result<(), Status> {
    if agent.write_all(&total.to_be_bytes()).await.is_err() {
        return Ok(());
    }
    let mut left = total;
    while left > 0 {
        let message = tokio::time::timeout(SILENCE, requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded(format!("nothing came for {} s", SILENCE.as_secs())))??;
        let Some(message) = message else {
            return Err(Status::invalid_argument(format!("the archive ended {left} bytes early")));
        };
        let size = message.data.len() as u64;
        left = left
            .checked_sub(size)
            .ok_or_else(|| Status::invalid_argument("the archive is longer than its first message says"))?;
        if agent.write_all(&message.data).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Passes on what the agent answers about each image.
async fn tell(answers: OwnedReadHalf, teller: &Teller) -> Result<(), Status> {
    let lost = |err: std::io::Error| Status::unavailable(format!("the node agent was lost: {err}"));
    let mut lines = BufReader::new(answers.take(MOST_ANSWERS)).lines();
    let (mut taken, mut wrong) = (0, Vec::new());
    loop {
        let line = match lines.next_line().await {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(err) if wrong.is_empty() => return Err(lost(err)),
            // It hung up on what we sent, and has said why.
            Err(_) => break,
        };
        match verdict(&line) {
            Ok(step) => {
                taken += 1;
                teller.say(Ok(&step)).await;
            }
            Err(reason) => wrong.push(reason),
        }
    }
    match wrong.is_empty() {
        true if taken == 0 => Err(Status::unavailable("the node agent ended before it had taken the images in")),
        true => Ok(()),
        false => Err(Status::invalid_argument(wrong.join("; "))),
    }
}

/// A line of the agent: what was taken, or why something was not.
fn verdict(line: &str) -> Result<String, String> {
    let said: Value = serde_json::from_str(line).map_err(|_| "the node agent speaks in another way".to_owned())?;
    let text = |key: &str| said.get(key).and_then(Value::as_str);
    match (text("name"), text("id"), text("error")) {
        (Some(name), Some(id), None) => Ok(format!("took {name}, {id}")),
        (Some(name), None, Some(error)) => Err(format!("{name:?}: {error}")),
        (None, None, Some(error)) => Err(error.to_owned()),
        _ => Err("the node agent speaks in another way".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_promised_by_its_size_alone() {
        let first = |total_bytes, data: &[u8]| ImportRequest { total_bytes, data: data.to_vec() };
        assert_eq!(promised(&first(5, b"")).unwrap(), 5);
        for (wrong, code) in [
            (first(0, b""), tonic::Code::InvalidArgument),
            (first(5, b"x"), tonic::Code::InvalidArgument),
            (first(u64::MAX, b""), tonic::Code::OutOfRange),
        ] {
            assert_eq!(promised(&wrong).unwrap_err().code(), code);
        }
    }

    #[test]
    fn the_agents_lines_are_told_or_are_reasons() {
        assert_eq!(verdict(r#"{"name":"a/b:1","id":"sha256:0"}"#), Ok("took a/b:1, sha256:0".to_owned()));
        assert_eq!(verdict(r#"{"name":"a/b:1","error":"torn"}"#), Err("\"a/b:1\": torn".to_owned()));
        assert_eq!(verdict(r#"{"error":"full"}"#), Err("full".to_owned()));
        assert!(verdict("noise").is_err() && verdict("{}").is_err());
    }
}
