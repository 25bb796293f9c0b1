//! A body that tells how long it was.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

use super::body::{Body, BoxError};

/// Passes a body on and reports its size in bytes when it ends, or when the client goes away.
struct Counted<F: FnOnce(u64) + Send + Unpin + 'static> {
    inner: Body,
    bytes: u64,
    tell: Option<F>,
}

impl<F: FnOnce(u64) + Send + Unpin + 'static> http_body::Body for Counted<F> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
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

impl<F: FnOnce(u64) + Send + Unpin + 'static> Drop for Counted<F> {
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            tell(self.bytes);
        }
    }
}

/// Calls `tell` with the bytes of a body: at once when they are known, else when it has been sent.
pub fn counted(body: Body, tell: impl FnOnce(u64) + Send + Unpin + 'static) -> Body {
    if let Some(bytes) = body.size_hint().exact() {
        tell(bytes);
        return body;
    }
    Counted { inner: body, bytes: 0, tell: Some(tell) }.boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http_body_util::{Full, StreamBody};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[tokio::test]
    async fn bodies_of_known_and_of_unknown_length_are_counted() {
        let total = Arc::new(AtomicU64::new(0));
        let tell = |total: &Arc<AtomicU64>| {
            let total = Arc::clone(total);
            move |bytes| {
                total.fetch_add(bytes, Ordering::Relaxed);
            }
        };
        let known = Full::new(Bytes::from_static(b"four")).map_err(|never| match never {}).boxed_unsync();
        drop(counted(known, tell(&total)));
        assert_eq!(total.load(Ordering::Relaxed), 4);
        let pieces = ["ab", "c"].map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from_static(piece.as_bytes()))));
        let unknown = StreamBody::new(stream::iter(pieces)).boxed_unsync();
        let sent = counted(unknown, tell(&total)).collect().await.unwrap().to_bytes();
        assert_eq!((&sent[..], total.load(Ordering::Relaxed)), (&b"abc"[..], 7));
    }
}
