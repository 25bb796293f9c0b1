//! Calls of plugins.

use std::time::Duration;

use tonic::{Code, Response, Status};

/// A call with a deadline.
///
/// # Errors
/// What the plugin answered, or that it did not.
pub async fn bounded<T>(
    what: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
    limit: Duration,
) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded(format!("{what} took longer than {limit:?}"));
    tokio::time::timeout(limit, call).await.map_err(late)?.map(Response::into_inner)
}

/// A code as upstream's library writes it.
pub fn code(code: Code) -> String {
    match code {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A failed call in gRPC's words.
pub fn words(status: &Status) -> String {
    format!("rpc error: code = {} desc = {}", code(status.code()), status.message())
}

/// A call with a deadline; the error is a text in gRPC's words.
pub async fn timed<T>(
    what: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
    limit: Duration,
) -> Result<T, String> {
    bounded(what, call, limit).await.map_err(|status| words(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_fails_or_takes_too_long_is_told_in_grpc_s_words() {
        let limit = Duration::from_secs(30);
        assert_eq!(timed("Allocate", async { Ok(Response::new(7)) }, limit).await, Ok(7));
        let failed = timed::<()>("Allocate", async { Err(Status::unknown("no power")) }, limit).await;
        assert_eq!(failed, Err("rpc error: code = Unknown desc = no power".to_owned()));
        assert_eq!(words(&Status::cancelled("enough")), "rpc error: code = Canceled desc = enough");
        assert_eq!(code(Code::Ok), "OK");
        let late = timed::<()>("Allocate", std::future::pending(), Duration::ZERO).await;
        assert_eq!(late, Err("rpc error: code = DeadlineExceeded desc = Allocate took longer than 0ns".to_owned()));
    }
}
