//! What may be asked of a log.

use rk_api::status::{FieldErrors, Path, Status};

use crate::http::Query;

const STREAMS: [&str; 3] = ["All", "Stderr", "Stdout"];

/// Refuses what no log can be cut to.
///
/// # Errors
/// 400 for what is no number, 422 in upstream's words.
pub(super) fn check(query: &Query, pod: &str) -> Result<(), Status> {
    let number = |name: &str| query.number(name).map_err(Status::bad_request);
    let mut errors = FieldErrors::new();
    let mut least = |name: &str, value: Option<i64>, least: i64, why: &str| {
        if let Some(value) = value.filter(|value| *value < least) {
            errors.invalid(&Path::new(name), value, why);
        }
    };
    let since = number("sinceSeconds")?;
    let tail = number("tailLines")?;
    least("tailLines", tail, 0, "must be greater than or equal to 0");
    least("limitBytes", number("limitBytes")?, 1, "must be greater than 0");
    if since.is_some() && !query.text("sinceTime").is_empty() {
        errors.forbidden(&Path::new(""), "at most one of `sinceTime` or `sinceSeconds` may be specified");
    } else {
        least("sinceSeconds", since, 1, "must be greater than 0");
    }
    let stream = query.text("stream");
    if !stream.is_empty() && !STREAMS.contains(&stream) {
        errors.unsupported(&Path::new("stream"), stream, &STREAMS);
    } else if tail.is_some() && !matches!(stream, "" | "All") {
        errors.forbidden(&Path::new(""), "`tailLines` and specific `stream` are mutually exclusive for now");
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "PodLogOptions", pod, &errors.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_refused_in_known_words() {
        for fine in ["", "tailLines=0", "limitBytes=1&sinceSeconds=1", "tailLines=3&stream=All", "stream=Stderr"] {
            assert!(check(&Query::parse(fine), "p").is_ok(), "{fine}");
        }
        for (query, code, message) in [
            ("tailLines=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", 422, "sinceSeconds: Invalid value: 0: must be greater than 0"),
            (
                "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
                422,
                "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            ),
            (
                "stream=both",
                422,
                "stream: Unsupported value: \"both\": supported values: \"All\", \"Stderr\", \"Stdout\"",
            ),
            ("stream=Stdout&tailLines=1", 422, "`tailLines` and specific `stream` are mutually exclusive for now"),
        ] {
            let status = check(&Query::parse(query), "p").unwrap_err();
            assert!(status.code == code && status.message.contains(message), "{query}: {}", status.message);
        }
    }
}
