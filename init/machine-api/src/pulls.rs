//! How far pulls of container images are, as the node agent tells it.

use futures::FutureExt as _;
use rk_machine_proto::v1::{LayerPull, PullTotals, PullsReply};
use serde_json::Value;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Between two questions to the agent while someone follows.
const LOOK: Duration = Duration::from_secs(1);
/// The agent looks into its memory and answers.
const PATIENCE: Duration = Duration::from_secs(5);
/// The agent tells of 64 pulls, each of at most 127 layers of some 200 bytes.
const MOST: u64 = 4 << 20;

/// Answers as pulls go on.
pub type Pulls = Pin<Box<dyn Stream<Item = Result<PullsReply, Status>> + Send>>;

/// One answer, or one whenever something has changed.
pub fn stream(socket: &Path, follow: bool) -> Pulls {
    let socket = socket.to_owned();
    let (sender, receiver) = mpsc::channel(1);
    let task = async move {
        let mut told = None;
        loop {
            let now = match look(&socket).await {
                Ok(now) => now,
                Err(status) => return drop(sender.send(Err(status)).await),
            };
            if told.as_ref() != Some(&now) && sender.send(Ok(now.clone())).await.is_err() {
                return;
            }
            told = Some(now);
            if !follow {
                return;
            }
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    };
    tokio::spawn(task.boxed());
    Box::pin(ReceiverStream::new(receiver))
}

/// Asks the agent.
///
/// # Errors
/// It does not listen, or speaks in another way.
pub async fn look(socket: &Path) -> Result<PullsReply, Status> {
    let lost = |err: io::Error| {
        Status::unavailable(format!(
            "the node agent does not tell of pulls ({err}); see rkctl services and rkctl logs node"
        ))
    };
    let text = match tokio::time::timeout(PATIENCE, read(socket)).await {
        Ok(text) => text.map_err(lost)?,
        Err(_) => return Err(lost(io::ErrorKind::TimedOut.into())),
    };
    parse(&text).ok_or_else(|| Status::unavailable("the node agent speaks in another way"))
}

async fn read(socket: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    UnixStream::connect(socket).await?.take(MOST).read_to_end(&mut text).await?;
    Ok(text)
}

fn text(value: &Value, key: &str) -> Option<String> {
    Some(value.get(key)?.as_str()?.to_owned())
}

fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key)?.as_u64()
}

/// The agent's document as an answer: a row for each layer, or one for a pull whose layers are not known yet.
fn parse(document: &[u8]) -> Option<PullsReply> {
    let document: Value = serde_json::from_slice(document).ok()?;
    let mut layers = Vec::new();
    for pull in document.get("ongoing")?.as_array()? {
        let of = LayerPull { image: text(pull, "image")?, seconds: number(pull, "seconds")?, ..LayerPull::default() };
        let known = pull.get("layers")?.as_array()?;
        if known.is_empty() {
            layers.push(LayerPull { state: "resolving".to_owned(), ..of });
            continue;
        }
        for layer in known {
            layers.push(LayerPull {
                layer: text(layer, "digest")?,
                state: text(layer, "state")?,
                done_bytes: number(layer, "done")?,
                total_bytes: number(layer, "total")?,
                resumed_bytes: number(layer, "resumed")?,
                ..of.clone()
            });
        }
    }
    let totals = document.get("totals")?;
    let totals = PullTotals {
        succeeded: number(totals, "succeeded")?,
        failed: number(totals, "failed")?,
        bytes: number(totals, "bytes")?,
        resumed_bytes: number(totals, "resumed_bytes")?,
    };
    Some(PullsReply { layers, totals: Some(totals) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixListener;
    use tokio_stream::StreamExt;

    fn document(done: u64) -> String {
        format!(
            r#"{{"ongoing": [{{"image": "r.io/a:1", "seconds": 7, "layers": [
                {{"digest": "sha256:0", "state": "downloading", "done": {done}, "resumed": 1, "total": 9}},
                {{"digest": "sha256:1", "state": "waiting", "done": 0, "resumed": 0, "total": 5}}]}},
                {{"image": "r.io/b:1", "seconds": 0, "layers": []}}],
              "totals": {{"succeeded": 2, "failed": 1, "bytes": 30, "resumed_bytes": 4}}}}"#
        )
    }

    #[test]
    fn a_row_is_a_layer_or_a_pull_whose_layers_are_not_known_yet() {
        let reply = parse(document(3).as_bytes()).unwrap();
        let rows: Vec<_> = reply
            .layers
            .iter()
            .map(|row| (row.image.as_str(), row.seconds, row.layer.as_str(), row.state.as_str(), row.done_bytes))
            .collect();
        let wanted = [
            ("r.io/a:1", 7, "sha256:0", "downloading", 3),
            ("r.io/a:1", 7, "sha256:1", "waiting", 0),
            ("r.io/b:1", 0, "", "resolving", 0),
        ];
        assert_eq!(rows, wanted);
        let totals = PullTotals { succeeded: 2, failed: 1, bytes: 30, resumed_bytes: 4 };
        assert_eq!((reply.layers[0].total_bytes, reply.layers[0].resumed_bytes, reply.totals), (9, 1, Some(totals)));
        for noise in ["", "{}", r#"{"ongoing": [{}], "totals": {}}"#, r#"{"ongoing": []}"#] {
            assert!(parse(noise.as_bytes()).is_none(), "{noise}");
        }
    }

    #[test]
    fn who_follows_hears_of_changes_and_of_an_agent_that_is_gone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("pulls.sock");
            let gone = stream(&socket, false).next().await.unwrap().unwrap_err();
            assert_eq!(gone.code(), tonic::Code::Unavailable);
            let listener = UnixListener::bind(&socket).unwrap();
            tokio::spawn(async move {
                // The second look finds what the first one found.
                for done in [3, 3, 4] {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    stream.write_all(document(done).as_bytes()).await.unwrap();
                }
            });
            let answers: Vec<_> = stream(&socket, true).collect().await;
            let done: Vec<_> =
                answers.iter().map(|answer| answer.as_ref().ok().map(|now| now.layers[0].done_bytes)).collect();
            assert_eq!(done, [Some(3), Some(4), None]);
        });
    }
}
