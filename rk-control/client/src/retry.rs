//! What an API error means to a control loop, and the retry of optimistic writes.

use kube::Error;
use std::future::Future;
use std::time::Duration;

/// Attempts of [`on_conflict`]; a sixth writer in a row means that someone else owns the field.
const ATTEMPTS: u32 = 5;

/// The `reason` of an API status, or "" when the error is not an answer of the API.
pub fn reason(error: &Error) -> &str {
    match error {
        Error::Api(status) => &status.reason,
        _ => "",
    }
}

/// The API's message without the client's wrapping, or the error itself when the API did not answer.
pub fn message(error: &Error) -> String {
    match error {
        Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// The write was refused because the namespace is being deleted.
pub fn is_namespace_terminating(error: &Error) -> bool {
    let Error::Api(status) = error else { return false };
    status.details.iter().flat_map(|d| &d.causes).any(|cause| cause.reason == "NamespaceTerminating")
        || (status.code == 403 && status.message.contains("because it is being terminated"))
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Api(status) => status.code,
        _ => 0,
    }
}

/// The object is not there (404).
pub fn is_not_found(error: &Error) -> bool {
    code(error) == 404
}

/// Someone wrote the object in between, or a precondition failed (409 Conflict).
pub fn is_conflict(error: &Error) -> bool {
    code(error) == 409 && reason(error) != "AlreadyExists"
}

/// The name is taken (409 AlreadyExists).
pub fn is_already_exists(error: &Error) -> bool {
    code(error) == 409 && reason(error) == "AlreadyExists"
}

/// Runs `attempt`, which must read the object each time, until it does not end in a conflict.
pub async fn on_conflict<T, F, Fut>(mut attempt: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let mut tries = 0;
    loop {
        match attempt().await {
            Err(error) if is_conflict(&error) && tries < ATTEMPTS => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(10 << tries)).await;
            }
            other => return other,
        }
    }
}
