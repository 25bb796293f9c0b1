//! Packets of a link as a pcap file.

mod filter;
mod pcap;

pub use filter::{Filter, Protocol};

use super::{Bytes, Sink};
use futures::FutureExt as _;
use rk_machine_proto::v1::CaptureRequest;
use rk_sys::CaptureSocket;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;
use tonic::Status;

/// Longest packet kept.
const MOST_SNAP: u32 = 262_144;
const SECONDS: u32 = 60;
const MOST_SECONDS: u32 = 3600;
/// Bytes gathered before they are sent, or sent anyway after the pause.
const GATHER: usize = 32 << 10;
const PAUSE: Duration = Duration::from_millis(250);

/// Starts a capture. The machine API's own packets (`own_port`) are left out, for each would make another.
///
/// # Errors
/// No such link, or a filter that is none.
pub fn stream(request: &CaptureRequest, own_port: u16) -> Result<Bytes, Status> {
    let filter = Filter {
        protocol: filter::Protocol::named(&request.protocol).ok_or_else(|| {
            Status::invalid_argument(format!("{:?} is not a protocol; there are tcp, udp, icmp, arp", request.protocol))
        })?,
        host: match request.host.as_str() {
            "" => None,
            text => Some(text.parse::<IpAddr>().map_err(|_| Status::invalid_argument("host must be an IP address"))?),
        },
        port: u16::try_from(request.port).map_err(|_| Status::invalid_argument("port must be at most 65535"))?,
        not_tcp_port: own_port,
    };
    let snap = if request.snap_length == 0 { MOST_SNAP } else { request.snap_length.clamp(64, MOST_SNAP) };
    let seconds = if request.seconds == 0 { SECONDS } else { request.seconds.min(MOST_SECONDS) };
    let socket = CaptureSocket::open(&request.interface, request.promiscuous)
        .map_err(|err| Status::invalid_argument(crate::log::chain(&err)))?;
    #[allow(deprecated, reason = "its heir is unsafe, for types that do not keep their descriptor; this socket does")]
    let socket = AsyncFd::with_interest(socket, Interest::READABLE).map_err(|err| Status::internal(err.to_string()))?;
    let end = Instant::now() + Duration::from_secs(u64::from(seconds));
    let most = if request.packets == 0 { u32::MAX } else { request.packets };
    let (sink, stream) = Sink::pair();
    let task = async move {
        tokio::select! {
            () = sink.closed() => {}
            () = pump(&sink, socket, &filter, snap, most, end) => {}
        }
    };
    tokio::spawn(task.boxed());
    Ok(stream)
}

async fn pump(sink: &Sink, mut socket: AsyncFd<CaptureSocket>, filter: &Filter, snap: u32, most: u32, end: Instant) {
    let mut buffer = vec![0; MOST_SNAP as usize];
    let mut gathered = pcap::header(snap);
    let mut left = most;
    while left > 0 && Instant::now() < end {
        let pause = end.min(Instant::now() + PAUSE);
        if let Ok(Ok(mut ready)) = tokio::time::timeout_at(pause, socket.readable_mut()).await {
            match ready.get_inner_mut().receive(&mut buffer) {
                Ok(Some((kept, length))) => {
                    let packet = buffer.get(..kept).unwrap_or_default();
                    if filter.passes(packet) {
                        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                        let kept = packet.get(..kept.min(snap as usize)).unwrap_or_default();
                        pcap::record(&mut gathered, now, kept, length);
                        left -= 1;
                    }
                }
                Ok(None) => ready.clear_ready(),
                Err(err) => return sink.fail(Status::internal(crate::log::chain(&err))).await,
            }
            if gathered.len() < GATHER {
                continue;
            }
        }
        if sink.send(&std::mem::take(&mut gathered)).await.is_err() {
            return;
        }
    }
    let _ = sink.send(&gathered).await;
}
