//! How long a request may take.

use std::time::Duration;

use rk_api::status::{Reason, Status};

use crate::http::{Query, RequestInfo, ResourcePath};

/// Subresources whose answers are streams.
pub const STREAMS: &[&str] = &["attach", "exec", "log", "portforward", "proxy"];
/// What every request has that does not last; upstream's default of `--request-timeout`.
pub const MOST: Duration = Duration::from_secs(60);
/// What a client hears whose request is not done by then; upstream's words.
const LATE: &str = "request did not complete within the allotted timeout";

/// Whether a request takes as long as its client likes.
#[must_use]
pub fn lasts(verb: &str, resource: Option<&ResourcePath>) -> bool {
    verb == "watch" || resource.is_some_and(|path| STREAMS.contains(&&*path.subresource))
}

/// The time that a request has: what its client allows, [`MOST`] where that is more, nothing or no length of time at all. `None` for
/// one that lasts.
#[must_use]
pub fn allotted(info: &RequestInfo, query: &Query) -> Option<Duration> {
    let own = query.timeout().ok().flatten().filter(|own| *own < MOST);
    (!lasts(&info.verb, info.resource.as_ref())).then(|| own.unwrap_or(MOST))
}

/// What comes of a request, if that comes in time. What is not done by then is given up, as when its client leaves.
///
/// # Errors
/// 504 when the time is over, and what the request fails with.
pub async fn within<T>(
    allotted: Option<Duration>,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match allotted {
        Some(allotted) => {
            tokio::time::timeout(allotted, answer).await.unwrap_or_else(|_| Err(Status::timeout(LATE, 0)))
        }
        None => answer.await,
    }
}

/// Whether a failure is that of a request that was not done in time.
#[must_use]
pub fn is_late(status: &Status) -> bool {
    status.reason == Reason::Timeout && status.message.ends_with(LATE)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn of(target: &str) -> Option<Duration> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = Query::parse(query);
        allotted(&RequestInfo::parse(&Method::GET, path, &query), &query)
    }

    #[test]
    fn a_client_may_allow_less_than_every_request_has_and_not_more() {
        for (query, seconds) in [
            ("", 60),
            ("timeout=", 60),
            ("timeout=0s", 60),
            ("timeout=-5s", 60),
            ("timeout=5", 60),
            ("timeout=2h", 60),
            ("timeout=30s", 30),
        ] {
            for path in ["/version", "/api/v1/pods", "/apis/metrics.k8s.io/v1beta1/nodes"] {
                assert_eq!(of(&format!("{path}?{query}")), Some(Duration::from_secs(seconds)), "{path}?{query}");
            }
        }
        assert_eq!(of("/version?timeout=5ns"), Some(Duration::from_nanos(5)));
        for path in ["/api/v1/pods?watch=1&", "/api/v1/namespaces/a/pods/p/log?", "/api/v1/nodes/n/proxy/x?"] {
            assert_eq!(of(&format!("{path}timeout=5s")), None, "{path}");
        }
    }

    async fn done_after(seconds: u64) -> Result<u64, Status> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_done_in_time_is_told_so() {
        let five = Some(Duration::from_secs(5));
        assert_eq!(within(five, done_after(4)).await.unwrap(), 4);
        assert_eq!(within(None, done_after(4000)).await.unwrap(), 4000);
        let late = within(five, done_after(6)).await.unwrap_err();
        assert_eq!(
            (late.code, late.message.as_str()),
            (504, "Timeout: request did not complete within the allotted timeout")
        );
        assert!(is_late(&late) && !is_late(&Status::timeout("something else", 0)));
    }
}
