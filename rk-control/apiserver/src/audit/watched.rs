//! The body of an answer whose end, or whose bytes, the audit log wants to know.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use super::object::MOST_SHOWN;
use super::recording::Recording;
use crate::http::{Body, BoxError};

/// What is wanted of a body; the record stays open until it is dropped.
pub(super) struct Watched {
    recording: Arc<Recording>,
    kept: Option<Kept>,
}

struct Kept {
    content_type: String,
    bytes: Vec<u8>,
    /// Whether there were more.
    cut: bool,
}

impl Watched {
    /// A body of which only the end is recorded.
    pub(super) fn until_its_end(recording: Arc<Recording>) -> Self {
        Self { recording, kept: None }
    }

    /// A body whose bytes are recorded as well, as far as an event may hold them.
    pub(super) fn with_its_bytes(recording: Arc<Recording>, content_type: String) -> Self {
        Self { recording, kept: Some(Kept { content_type, bytes: Vec::new(), cut: false }) }
    }

    fn see(&mut self, data: &[u8]) {
        let Some(kept) = &mut self.kept else { return };
        kept.cut |= kept.bytes.len() + data.len() > MOST_SHOWN;
        if kept.cut {
            // It is not shown any more, and there may be much to come.
            kept.bytes = Vec::new();
        } else {
            kept.bytes.extend_from_slice(data);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.recording.responded(&kept.content_type, (!kept.cut).then_some(kept.bytes.as_slice()));
        }
    }
}

struct WatchedBody {
    inner: Body,
    watched: Watched,
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.watched.see(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Passes a body on under watch.
pub(super) fn watched(inner: Body, watched: Watched) -> Body {
    WatchedBody { inner, watched }.boxed_unsync()
}
