//! GET of a collection.

use std::cell::Cell;
use std::num::IntErrorKind;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use rk_api::decode::base64_error;
use rk_api::status::{FieldErrors, Path, Reason, Status, quote};
use rk_store::Revision;
use serde_json::{Value, json};

use super::call::Call;
use super::list_body;
use super::options::judged;
use super::selection::Selection;
use crate::codec;
use crate::http::{Body, Subject, bytes_response};
use crate::storage::{Cached, object_key};

/// How many objects are read at a time when a selector sorts them out.
const SELECTED_CHUNK: usize = 500;

/// What a list answers with.
pub(super) struct Found {
    pub objects: Vec<Arc<Cached>>,
    pub revision: Revision,
    /// Where the next page begins.
    pub next: Option<String>,
    pub remaining: Option<u64>,
}

impl Found {
    /// `metadata` of the list.
    pub(super) fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if let Some(next) = &self.next {
            metadata["continue"] = json!(next);
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        metadata
    }
}

/// Serves GET of a collection.
pub(super) async fn list(call: &mut Call) -> Result<Response<Body>, Status> {
    match find(call).await {
        Ok(found) => list_body::respond(call, found).await,
        Err(status) if status.reason == Reason::Expired && !call.query.text("continue").is_empty() => {
            Ok(expired_page(call, &status))
        }
        Err(status) => Err(status),
    }
}

/// 410 for a page whose snapshot is gone, with a token that goes on in the present, for clients that can live with that.
fn expired_page(call: &Call, status: &Status) -> Response<Body> {
    let mut answer = status.to_value();
    if let Ok((_, start)) = decode_continue(call.query.text("continue")) {
        answer["metadata"]["continue"] = json!(token(-1, &start));
    }
    let accept = call.accept(Subject::List).unwrap_or_default();
    let (media_type, body) = codec::encode(&answer, accept.format, accept.pretty);
    bytes_response(StatusCode::GONE, media_type, body)
}

/// Finds the objects of a list by its parameters.
pub(super) async fn find(call: &Call) -> Result<Found, Status> {
    let selection = Selection::parse(call)?;
    let limit = call.query.number("limit").map_err(Status::bad_request)?.unwrap_or(0);
    // A list takes the time that it takes, but no word for a number.
    call.query.number("timeoutSeconds").map_err(Status::bad_request)?;
    // A negative limit is none, as upstream reads it.
    let limit = usize::try_from(limit.max(0)).unwrap_or(usize::MAX);
    let version = call.query.text("resourceVersion");
    let matching = call.query.text("resourceVersionMatch");
    check_versions(call, version, matching)?;
    let token = call.query.text("continue");
    if !token.is_empty() {
        let (revision, start) = decode_continue(token)?;
        if !matches!(version, "" | "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let after = format!("{}{start}", collection_prefix(call));
        return from_store(call, &selection, limit, revision, Some(after)).await;
    }
    // A page of a revision that is named without a rule for it is of that revision (API concepts, "Semantics for get and list").
    let legacy = matching.is_empty() && limit > 0 && !matches!(version, "" | "0");
    if matching == "Exact" || legacy {
        return from_store(call, &selection, limit, Some(listed_version(version)?), None).await;
    }
    let floor = match version {
        "" => call.core.storage.fresh().await?,
        "0" => call.core.storage.progress(),
        text => call.core.storage.wait_for(listed_version(text)?).await?,
    };
    let cache = call.core.storage.cache(&call.hub).await?;
    let fetched = Cell::new(0);
    let mut snapshot = cache.snapshot(&call.path.namespace, floor, |object| {
        fetched.set(fetched.get() + 1);
        selection.may_match(object)
    });
    snapshot.objects = selection.sift(&call.core, snapshot.objects).await?;
    let mut found = Found { objects: Vec::new(), revision: snapshot.revision, next: None, remaining: None };
    // `resourceVersion=0` lists are served whole from memory, whatever the limit, as upstream does.
    if limit > 0 && snapshot.objects.len() > limit && version != "0" {
        let rest = snapshot.objects.len() - limit;
        snapshot.objects.truncate(limit);
        found.next = snapshot.objects.last().map(|last| encode_continue(call, snapshot.revision, last));
        found.remaining = selection.is_everything().then_some(rest as u64);
    }
    found.objects = snapshot.objects;
    cache.figures().listed(fetched.get(), found.objects.len());
    Ok(found)
}

/// The rules of `ListOptions` for lists.
fn check_versions(call: &Call, version: &str, matching: &str) -> Result<(), Status> {
    let (mut errors, path) = (FieldErrors::new(), Path::new("resourceVersionMatch"));
    if !matching.is_empty() && version.is_empty() {
        errors.forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
    }
    if !matching.is_empty() && !call.query.text("continue").is_empty() {
        errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
    }
    if !matches!(matching, "" | "Exact" | "NotOlderThan") {
        errors.unsupported_as_listed(&path, matching, &["Exact", "NotOlderThan", ""]);
    }
    if matching == "Exact" && version == "0" {
        errors.forbidden(&path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
    }
    if call.query.get("sendInitialEvents").is_some() {
        errors.forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
    }
    judged("ListOptions", &errors)
}

/// A page out of the store's history. Filtered pages read on until they are full, so that a client never sees an empty page
/// before the end more often than it must.
async fn from_store(
    call: &Call,
    selection: &Selection,
    limit: usize,
    revision: Option<Revision>,
    mut after: Option<String>,
) -> Result<Found, Status> {
    let mut objects: Vec<Arc<Cached>> = Vec::new();
    let mut at = revision;
    let was_continued = after.is_some();
    loop {
        // A selector may keep one in a thousand: such pages are read in larger pieces than they will have.
        let want = match limit {
            0 => 0,
            _ if selection.is_everything() => limit - objects.len(),
            _ => limit.max(SELECTED_CHUNK),
        };
        let page = call.core.storage.page(&call.hub, &call.path.namespace, after.clone(), want, at).await;
        let (page, page_revision, mut remaining) = page.map_err(|status| expired(status, was_continued))?;
        at = Some(page_revision);
        let seen: Vec<&Cached> = page.iter().map(AsRef::as_ref).collect();
        let verdicts = selection.judge(&call.core, &seen).await?;
        let mut page = page.into_iter().zip(verdicts);
        for (object, selected) in page.by_ref() {
            after = Some(object_key(&call.hub, &object.namespace, &object.name));
            if selected {
                objects.push(object);
                if objects.len() == limit {
                    break;
                }
            }
        }
        remaining += page.len() as u64;
        if remaining == 0 || limit == 0 || objects.len() >= limit {
            let next =
                (remaining > 0).then(|| after.as_deref().map(|key| continue_at(call, page_revision, key))).flatten();
            let remaining = (next.is_some() && selection.is_everything()).then_some(remaining);
            return Ok(Found { objects, revision: page_revision, next, remaining });
        }
    }
}

/// A page from history that is gone: upstream's words, which clients look for.
fn expired(status: Status, continued: bool) -> Status {
    if status.reason != Reason::Expired {
        return status;
    }
    if !continued {
        return Status::expired("The resourceVersion for the provided list is too old.");
    }
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the \
         continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with \
         the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the \
         first chunk was returned and now may show up in the list.",
    )
}

fn encode_continue(call: &Call, revision: Revision, last: &Cached) -> String {
    continue_at(call, revision, &object_key(&call.hub, &last.namespace, &last.name))
}

/// Prefix of the keys of the collection that the path names.
fn collection_prefix(call: &Call) -> String {
    let mut prefix = crate::storage::prefix(&call.hub);
    if !call.path.namespace.is_empty() {
        prefix.push_str(&call.path.namespace);
        prefix.push('/');
    }
    prefix
}

fn continue_at(call: &Call, revision: Revision, key: &str) -> String {
    let prefix = collection_prefix(call);
    token(i64::try_from(revision).unwrap_or(-1), key.strip_prefix(prefix.as_str()).unwrap_or(key))
}

/// A continue token, in upstream's form; a negative revision means the present.
fn token(revision: i64, start: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": format!("{start}\0")}).to_string())
}

/// Reads a continue token: a revision (none: as of now) and the key after which to go on, relative to the collection.
fn decode_continue(token: &str) -> Result<(Option<Revision>, String), Status> {
    let bad = |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let bytes =
        URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|error| bad(&base64_error(token, &error)))?;
    let token: Value = serde_json::from_slice(&bytes).map_err(|_| bad("incorrectly formatted token"))?;
    let version = token.get("v").and_then(Value::as_str).unwrap_or_default();
    if version != "meta.k8s.io/v1" {
        return Err(bad(&format!("server does not recognize this encoded version {version}")));
    }
    let revision = token.get("rv").and_then(Value::as_i64).unwrap_or(0);
    if revision == 0 {
        return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    let key = token.get("start").and_then(Value::as_str).unwrap_or_default();
    let start = key.strip_suffix('\0').unwrap_or(key);
    if start.is_empty() {
        return Err(bad("encoded start key empty (version meta.k8s.io/v1)"));
    }
    if start.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(bad(key));
    }
    Ok((u64::try_from(revision).ok().filter(|revision| *revision > 0), start.to_owned()))
}

/// Reads a number without a sign, or says in Go's words why it is none.
pub(super) fn parse_unsigned(text: &str) -> Result<u64, String> {
    let told = |why: &str| format!("strconv.ParseUint: parsing {}: {why}", quote(text));
    if text.starts_with('+') {
        return Err(told("invalid syntax"));
    }
    text.parse::<u64>().map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow => told("value out of range"),
        _ => told("invalid syntax"),
    })
}

/// Reads a resource version. Upstream takes what is none for a fault of its own, but in a list.
pub(super) fn parse_version(text: &str) -> Result<Revision, Status> {
    parse_unsigned(text)
        .map_err(|why| Status::new(Reason::Unknown, format!("resourceVersion: Invalid value: {}: {why}", quote(text))))
}

/// Reads the resource version of a list.
fn listed_version(text: &str) -> Result<Revision, Status> {
    parse_version(text).map_err(|status| Status::bad_request(format!("invalid resource version: {}", status.message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_none_are_refused_in_known_words() {
        let encoded = |token: Value| URL_SAFE_NO_PAD.encode(token.to_string());
        let own = "meta.k8s.io/v1";
        for (token, why) in [
            ("x".to_owned(), "illegal base64 data at input byte 0"),
            ("ab!d".to_owned(), "illegal base64 data at input byte 2"),
            (encoded(json!({"v": "x"})), "server does not recognize this encoded version x"),
            (encoded(json!({"v": own})), "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
            (encoded(json!({"v": own, "rv": 1})), "encoded start key empty (version meta.k8s.io/v1)"),
            (encoded(json!({"v": own, "rv": 1, "start": "../a"})), "../a"),
        ] {
            let told = decode_continue(&token).unwrap_err();
            let want = format!("invalid continue token: continue key is not valid: {why}");
            assert_eq!((told.code, told.message), (400, want));
        }
        assert_eq!(decode_continue(&token(7, "a/b")).unwrap(), (Some(7), "a/b".to_owned()));
        assert_eq!(decode_continue(&token(-1, "a/b")).unwrap(), (None, "a/b".to_owned()));
    }

    #[test]
    fn a_page_that_is_gone_is_told_as_a_list_s() {
        let gone = || Status::too_old_resource_version(1, 338);
        assert_eq!(expired(gone(), false).message, "The resourceVersion for the provided list is too old.");
        assert!(expired(gone(), true).message.starts_with("The provided continue parameter is too old"));
        assert_eq!(expired(Status::bad_request("other"), false).message, "other");
    }

    #[test]
    fn a_version_that_is_none_is_the_fault_of_who_lists() {
        let why = "resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax";
        let told = parse_version("x").unwrap_err();
        assert_eq!((told.code, told.message.as_str()), (500, why));
        let told = listed_version("x").unwrap_err();
        assert_eq!((told.code, told.message), (400, format!("invalid resource version: {why}")));
        assert_eq!(listed_version("7").unwrap(), 7);
        for (text, why) in
            [("+7", "invalid syntax"), ("-1", "invalid syntax"), ("99999999999999999999", "value out of range")]
        {
            assert_eq!(parse_unsigned(text), Err(format!("strconv.ParseUint: parsing \"{text}\": {why}")));
        }
    }
}
