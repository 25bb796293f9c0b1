//! Pages that cost much to make: made once for all who ask at about the same time, so that a flood of requests costs no more than one.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use rk_figures::{Ask, Figures};

use super::body::{Body, full, text};

/// How old a page may be: what is asked for more often tells nothing new.
const AGE: Duration = Duration::from_secs(1);
/// How long who asks for a page waits for it; the runtime's calls end before that.
const PATIENCE: Duration = Duration::from_secs(300);

/// A page as it is handed out.
#[derive(Clone)]
struct Page {
    status: StatusCode,
    kind: Option<HeaderValue>,
    content: Bytes,
}

impl Page {
    async fn of(response: Response<Body>) -> Self {
        let (mut head, body) = response.into_parts();
        let content = body.collect().await.unwrap_or_else(|never: Infallible| match never {}).to_bytes();
        Self { status: head.status, kind: head.headers.remove(CONTENT_TYPE), content }
    }

    fn response(self) -> Response<Body> {
        let mut response = Response::new(full(self.content));
        *response.status_mut() = self.status;
        if let Some(kind) = self.kind {
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        response
    }
}

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// `/metrics`.
    Kubelet,
    /// `/metrics/resource`.
    Resource,
    /// `/metrics/cadvisor`.
    Cadvisor,
    /// `/stats/summary`.
    Summary,
    /// The same with `only_cpu_and_memory`.
    CpuAndMemory,
}

/// The pages, by name.
pub struct Pages {
    made: Figures<Name, Page>,
    age: Duration,
}

impl Default for Pages {
    fn default() -> Self {
        Self { made: Figures::new(PATIENCE), age: AGE }
    }
}

impl Pages {
    /// The page of this name, made by `make` unless there is one that is new enough.
    pub async fn get<F>(&self, name: Name, make: impl FnOnce() -> F) -> Response<Body>
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let look = || {
            let page = make();
            async move { Some(Page::of(page.await).await) }
        };
        match self.made.get(&name, Ask::new(self.age, PATIENCE), look).await {
            Some(page) => page.response(),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "the page could not be made in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_is_made_once_and_handed_out_as_it_was_made() {
        let pages = Pages { age: PATIENCE, ..Pages::default() };
        for (name, content, want) in
            [(Name::Summary, "a", "a"), (Name::Summary, "b", "a"), (Name::CpuAndMemory, "c", "c")]
        {
            let response = pages.get(name, || async move { text(StatusCode::IM_A_TEAPOT, content) }).await;
            assert_eq!((response.status(), response.headers().len()), (StatusCode::IM_A_TEAPOT, 1));
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), want);
        }
    }
}
