//! Answers of other servers that are no Status of their own.

use super::{Details, Reason, Status, quote};

impl Status {
    /// What a client is told of an answer of another server that is no Status: it was asked for a `resource` by `name`, each empty where
    /// there is none, and `said` so with this code.
    #[must_use]
    pub fn foreign(code: u16, (resource, name): (&str, &str), said: &str) -> Self {
        let (reason, text) = reading(code, said);
        // The place of the verb is empty: upstream does not tell it here.
        let message = match (resource, name) {
            ("", _) => text,
            (resource, "") => format!("{text} ( {resource})"),
            (resource, name) => format!("{text} ( {resource} {name})"),
        };
        let details = Details { name: name.into(), kind: resource.into(), ..Details::default() };
        Status { code, reason, message, details: Some(Box::new(details)) }
    }
}

fn reading(code: u16, said: &str) -> (Reason, String) {
    let (reason, text) = match code {
        400 => (Reason::BadRequest, "the server rejected our request for an unknown reason"),
        401 => (Reason::Unauthorized, "the server has asked for the client to provide credentials"),
        403 => (Reason::Forbidden, said),
        404 => (Reason::NotFound, "the server could not find the requested resource"),
        405 => (Reason::MethodNotAllowed, "the server does not allow this method on the requested resource"),
        406 if matches!(said, "" | "unknown") => {
            (Reason::NotAcceptable, "the server was unable to respond with a content type that the client supports")
        }
        406 => (Reason::NotAcceptable, said),
        409 => (Reason::Conflict, "the server reported a conflict"),
        415 => (Reason::UnsupportedMediaType, said),
        422 => (Reason::Invalid, "the server rejected our request due to an error in our request"),
        429 => {
            (Reason::TooManyRequests, "the server has received too many requests and has asked us to try again later")
        }
        503 => (Reason::ServiceUnavailable, "the server is currently unable to handle the request"),
        504 => (
            Reason::Timeout,
            "the server was unable to return a response in the time allotted, but may still be processing the request",
        ),
        500.. => {
            let text = format!("an error on the server ({}) has prevented the request from succeeding", quote(said));
            return (Reason::InternalError, text);
        }
        _ => {
            let text = format!("the server responded with the status code {code} but did not return more information");
            return (Reason::Unknown, text);
        }
    };
    (reason, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_other_servers_are_told_by_their_code() {
        let place = ("pods/log", "p");
        for (code, said, reason, message) in [
            (404, "gone", Reason::NotFound, "the server could not find the requested resource ( pods/log p)"),
            (403, "not you", Reason::Forbidden, "not you ( pods/log p)"),
            (
                502,
                "bad \"way\"",
                Reason::InternalError,
                "an error on the server (\"bad \\\"way\\\"\") has prevented the request from succeeding ( pods/log p)",
            ),
            (503, "", Reason::ServiceUnavailable, "the server is currently unable to handle the request ( pods/log p)"),
            (
                418,
                "tea",
                Reason::Unknown,
                "the server responded with the status code 418 but did not return more information ( pods/log p)",
            ),
        ] {
            let status = Status::foreign(code, place, said);
            assert_eq!((status.code, status.reason, status.message.as_str()), (code, reason, message));
        }
        let bare = Status::foreign(422, ("", ""), "why").to_value();
        assert_eq!(bare["message"], "the server rejected our request due to an error in our request");
        assert_eq!(bare["details"], serde_json::json!({}));
    }
}
