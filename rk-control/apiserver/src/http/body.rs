//! Request and response bodies.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use rk_api::status::Status;

/// What a body may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The one body type inside the server, for requests and responses alike.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Largest accepted request body in bytes, upstream's limit.
pub const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// How long the rest of a body that is too long is read and dropped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Clients that are still sending when the answer comes miss it: so a body that is too long is read on for a while and dropped.
async fn too_large(mut body: Body) -> Status {
    let mut dropped = 0;
    let drain = async {
        while let Some(Ok(frame)) = body.frame().await {
            dropped += frame.data_ref().map_or(0, Bytes::len);
            if dropped > 2 * BODY_LIMIT {
                break;
            }
        }
    };
    // Whether it ended in time or not makes no difference to the answer.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain).await;
    Status::request_entity_too_large(&format!("limit is {BODY_LIMIT}"))
}

/// Reads a whole body; for how long is up to the caller, who holds it meanwhile.
///
/// # Errors
/// 413 over [`BODY_LIMIT`], 400 when the sender breaks off.
pub async fn read_body(mut body: Body) -> Result<Bytes, Status> {
    if body_size(&body) > BODY_LIMIT as u64 {
        return Err(too_large(body).await);
    }
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("the request body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + first.as_ref().map_or(0, Bytes::len) + data.len() > BODY_LIMIT {
            return Err(too_large(body).await);
        }
        // Most bodies come in one frame: that frame is the body, without a copy.
        if whole.is_empty() && first.is_none() {
            first = Some(data);
            continue;
        }
        if let Some(start) = first.take() {
            whole.extend_from_slice(&start);
        }
        whole.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

fn body_size(body: &Body) -> u64 {
    http_body::Body::size_hint(body).lower()
}
