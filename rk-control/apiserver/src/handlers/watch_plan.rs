//! What a client asks a watch for: where it begins, how long it lasts, and what it is told beside changes.

use std::time::Duration;

use rand::RngExt;
use rk_api::status::{FieldErrors, Path, Status};
use rk_store::Revision;

use super::call::Call;
use super::list::parse_version;
use super::options::judged;

/// Shortest life of a watch that named no timeout; the real one is up to twice as long, to spread reconnects.
const MINIMUM_LIFE: Duration = Duration::from_secs(1800);

/// Where a watch begins.
pub(super) enum Start {
    /// With the present state: as of now, or not older than a revision.
    State(Option<Revision>),
    /// After a revision, without state.
    After(Revision),
}

/// What a client asks a watch for.
pub(super) struct Plan {
    pub start: Start,
    /// It wants to be told how far it is.
    pub bookmarks: bool,
    /// It wants to be told when it has heard the present state.
    pub mark_end: bool,
    /// How long it lasts.
    pub life: Duration,
}

impl Plan {
    /// Reads the query.
    ///
    /// # Errors
    /// Options that upstream refuses, or that are no numbers.
    pub(super) fn parse(call: &Call) -> Result<Self, Status> {
        // A watch has no limit, but options are read all together.
        call.query.number("limit").map_err(Status::bad_request)?;
        let version = call.query.text("resourceVersion");
        let matching = call.query.text("resourceVersionMatch");
        let bookmarks = call.query.flag("allowWatchBookmarks");
        let initial = call.query.get("sendInitialEvents").map(|_| call.query.flag("sendInitialEvents"));
        let (mut errors, path) = (FieldErrors::new(), Path::new("resourceVersionMatch"));
        if initial.is_some() && matching != "NotOlderThan" {
            errors.forbidden(&path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if !matching.is_empty() && initial.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.forbidden(&path, why);
        }
        if !matches!(matching, "" | "NotOlderThan") {
            errors.unsupported_as_listed(&path, matching, &["NotOlderThan"]);
        }
        if !matching.is_empty() && !call.query.text("continue").is_empty() {
            errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
        }
        // Who names no version, or any, is served as one who asks for the state.
        let legacy = initial.is_none() && matching.is_empty() && matches!(version, "" | "0");
        if legacy && !call.query.text("continue").is_empty() {
            errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
        }
        judged("ListOptions", &errors)?;
        let start = match (initial, version) {
            (Some(true), "") | (None, "") => Start::State(None),
            (Some(true), text) => Start::State(Some(parse_version(text)?)),
            (None, "0") => Start::State(Some(0)),
            (Some(false), "" | "0") => Start::After(call.core.storage.progress()),
            (_, text) => Start::After(parse_version(text)?),
        };
        let seconds = call.query.number("timeoutSeconds").map_err(Status::bad_request)?.filter(|seconds| *seconds > 0);
        let life = match seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
            Some(seconds) => Duration::from_secs(seconds),
            None => MINIMUM_LIFE.mul_f64(1.0 + rand::rng().random::<f64>()),
        };
        Ok(Self { start, bookmarks, mark_end: (legacy || initial == Some(true)) && bookmarks, life })
    }
}
