//! PID 1's events as a stream.

use super::control::Pid1;
use futures::FutureExt as _;
use rk_machine_proto::v1::Event;
use rk_supervise::control::Request;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Between two questions to PID 1 while someone listens.
const LOOK: Duration = Duration::from_millis(500);
/// PID 1 keeps as many.
const QUEUE: usize = 64;

/// A stream of events.
pub type Events = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

/// Streams what PID 1 remembers, and what comes when it is followed.
pub fn stream(pid1: Arc<Pid1>, follow: bool) -> Events {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = async move {
        let mut last = 0;
        loop {
            let text = match pid1.ask(&Request::Events(last)).await {
                Ok(text) => text,
                Err(err) => return drop(sender.send(Err(err.into())).await),
            };
            for event in parse(&text) {
                last = last.max(event.sequence);
                if sender.send(Ok(event)).await.is_err() {
                    return;
                }
            }
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

fn parse(text: &str) -> Vec<Event> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, '\t');
            Some(Event {
                sequence: fields.next()?.parse().ok()?,
                boot_millis: fields.next()?.parse().ok()?,
                message: fields.next()?.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn events_are_read_line_by_line() {
        let events = super::parse("1\t250\tnetd started pid=7\nnoise\n2\tx\ty\n3\t900\ta\tb\n");
        assert_eq!(
            events.iter().map(|event| event.message.as_str()).collect::<Vec<_>>(),
            ["netd started pid=7", "a\tb"]
        );
    }
}
