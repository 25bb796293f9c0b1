//! OpenAPI documents: the built-in ones, beside them those of kinds added at run time.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, EXPIRES, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use rk_api::status::Status;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use super::merged::{Known, merged};
use crate::http::{Body, Query, accepts_gzip, bytes_response, clauses, gzipped, json_response};

const JSON: &str = "application/json";
/// How long what cannot change may be kept: a year.
const KEPT: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 60 * 60);
/// How clients ask for OpenAPI v2 in protobuf, and how it is answered: the answer's type has no `@`.
const PROTOBUF_ASKED: &[&str] = &[
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The same of OpenAPI v3.
const V3_ASKED: &[&str] = &[
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
];
const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

/// The documents of kinds that were added at run time, and of those that other servers have.
#[derive(Default)]
pub struct OpenApi {
    added: RwLock<Arc<Added>>,
    /// What other servers say of their APIs, by priority. Held while what is added changes.
    remotes: Mutex<Vec<Arc<Value>>>,
}

/// One state of the added documents.
#[derive(Default)]
struct Added {
    /// OpenAPI v3 documents by path below `/openapi/v3/`: hash and compressed text.
    v3: Arc<Vec<(String, String, Bytes)>>,
    /// Definitions and paths of OpenAPI v2; `None` when nothing is added.
    v2: Option<Arc<AddedV2>>,
    /// Those of other servers.
    remote: Option<Arc<AddedV2>>,
}

impl Added {
    /// What is added to the built-in document of OpenAPI v2.
    fn parts(&self) -> impl Iterator<Item = &AddedV2> {
        self.v2.iter().chain(&self.remote).map(|part| &**part)
    }
}

struct AddedV2 {
    hash: String,
    definitions: String,
    paths: String,
    protobuf: Bytes,
}

impl AddedV2 {
    fn new(definitions: Map<String, Value>, paths: Map<String, Value>) -> Option<Arc<Self>> {
        (!definitions.is_empty() || !paths.is_empty()).then(|| {
            let (definitions, paths) = (Value::Object(definitions), Value::Object(paths));
            let document = json!({"definitions": definitions, "paths": paths});
            let (definitions, paths) = (definitions.to_string(), paths.to_string());
            let protobuf = gzipped(&rk_openapi::encode_v2_protobuf(&document));
            Arc::new(Self { hash: hash(format!("{definitions}{paths}").as_bytes()), definitions, paths, protobuf })
        })
    }

    /// Whether it has one of these definitions or paths.
    fn collides(&self, definitions: &Map<String, Value>, paths: &Map<String, Value>) -> bool {
        definitions.keys().any(|name| member(&self.definitions, name).is_some())
            || paths.keys().any(|path| member(&self.paths, path).is_some())
    }
}

/// The built-in document of OpenAPI v2 and what custom kinds add to it.
struct OwnV2<'a> {
    builtin: String,
    custom: Option<&'a AddedV2>,
}

impl Known for OwnV2<'_> {
    fn definition(&self, name: &str) -> Option<Value> {
        let texts = [Some(self.builtin.as_str()), self.custom.map(|custom| custom.definitions.as_str())];
        texts.into_iter().flatten().find_map(|text| parsed(member(text, name)?))
    }

    fn has_path(&self, path: &str) -> bool {
        let texts = [Some(self.builtin.as_str()), self.custom.map(|custom| custom.paths.as_str())];
        texts.into_iter().flatten().any(|text| member(text, path).is_some())
    }
}

/// The text after the name of a member, which is that of a definition or a path: no other member is named so. Parsing the whole would take
/// twenty times its size in memory.
fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mark = format!("{}:", Value::from(name));
    text.split_once(&mark).map(|(_, after)| after)
}

/// The value that a text begins with.
fn parsed(text: &str) -> Option<Value> {
    serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok()
}

/// What other servers add to the document of OpenAPI v2.
fn of_remotes(parts: &[Arc<Value>], custom: Option<&AddedV2>) -> Option<Arc<AddedV2>> {
    if parts.is_empty() {
        return None;
    }
    let builtin = rk_openapi::v2().text().inspect_err(|error| tracing::error!(%error, "no document to add to")).ok()?;
    let (definitions, paths) = merged(parts, &OwnV2 { builtin, custom });
    AddedV2::new(definitions, paths)
}

impl OpenApi {
    /// Replaces the added documents: OpenAPI v3 by path, and `definitions` and `paths` of OpenAPI v2.
    pub fn publish(&self, v3: Vec<(String, Value)>, definitions: Map<String, Value>, paths: Map<String, Value>) {
        let v3 = v3
            .into_iter()
            .map(|(path, document)| {
                let text = document.to_string();
                (path, hash(text.as_bytes()), gzipped(text.as_bytes()))
            })
            .collect();
        let remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.added().remote.clone();
        let collides = before.as_ref().is_some_and(|remote| remote.collides(&definitions, &paths));
        let v2 = AddedV2::new(definitions, paths);
        let remote = if collides { of_remotes(&remotes, v2.as_deref()) } else { before };
        self.replace(Added { v3: Arc::new(v3), v2, remote });
    }

    /// Replaces what other servers say of their APIs, by priority.
    pub fn publish_remotes(&self, parts: Vec<Arc<Value>>) {
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        if *remotes == parts {
            return;
        }
        let added = self.added();
        let remote = of_remotes(&parts, added.v2.as_deref());
        self.replace(Added { v3: Arc::clone(&added.v3), v2: added.v2.clone(), remote });
        *remotes = parts;
    }

    fn replace(&self, added: Added) {
        *self.added.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(added);
    }

    fn added(&self) -> Arc<Added> {
        Arc::clone(&self.added.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where the documents of version 3 are.
    pub(super) fn index(&self) -> Value {
        let added = self.added();
        let builtin = rk_openapi::v3().iter().map(|document| (document.path, document.hash));
        let added = added.v3.iter().map(|(path, hash, _)| (path.as_str(), hash.as_str()));
        let paths: Map<String, Value> = builtin
            .chain(added)
            .map(|(path, hash)| (path.to_owned(), json!({"serverRelativeURL": address(path, hash)})))
            .collect();
        json!({"paths": paths})
    }

    /// Serves the documents below `/openapi/`.
    pub(super) fn serve(&self, parts: &[&str], headers: &HeaderMap, query: &Query) -> Result<Response<Body>, Status> {
        let added = self.added();
        match parts {
            ["v2"] => match accepted(headers, PROTOBUF_ASKED, PROTOBUF) {
                Some(PROTOBUF) => v2_protobuf(&added, headers),
                Some(_) => v2_json(&added, headers),
                None => Err(Status::not_acceptable(&[JSON, PROTOBUF])),
            },
            ["v3", path @ ..] => {
                let wanted = path.join("/");
                let Some(media_type) = accepted(headers, V3_ASKED, V3_PROTOBUF) else {
                    return Err(Status::not_acceptable(&[JSON, V3_PROTOBUF]));
                };
                let (hash, gzip) = match added.v3.iter().find(|(path, ..)| *path == wanted) {
                    Some((_, hash, gzip)) => (hash.clone(), gzip.clone()),
                    None => {
                        let found = rk_openapi::v3_at(&wanted).ok_or_else(Status::unknown_path)?;
                        let gzip = if knows(headers, found.hash) { Bytes::new() } else { packed(found)? };
                        (found.hash.to_owned(), gzip)
                    }
                };
                // A hash in the query names exactly these bytes, so they may be kept for ever; who asks for former ones is led on.
                let asked = query.text("hash");
                if !asked.is_empty() && asked != hash {
                    return Ok(moved(&address(&wanted, &hash)));
                }
                let immutable = !asked.is_empty();
                // Nothing is made for a client that has it already.
                let gzip = if media_type == JSON || knows(headers, &hash) { gzip } else { v3_protobuf(&gzip)? };
                Ok(respond(media_type, &hash, gzip, headers, immutable))
            }
            _ => Err(Status::unknown_path()),
        }
    }
}

fn hash(text: &[u8]) -> String {
    hex::encode_upper(Sha512::digest(text))
}

fn is_json(media_type: &str) -> bool {
    matches!(media_type, JSON | "application/*" | "*/*")
}

/// The first type of the header that a document is served in: JSON, or `protobuf` for any of the names in `asked`.
fn accepted(headers: &HeaderMap, asked: &[&str], protobuf: &'static str) -> Option<&'static str> {
    let accepted = clauses(headers);
    if accepted.is_empty() {
        return Some(JSON);
    }
    accepted.iter().find_map(|clause| match clause.media_type {
        name if asked.contains(&name) => Some(protobuf),
        name if is_json(name) => Some(JSON),
        _ => None,
    })
}

fn v2_hash(added: &Added) -> String {
    let builtin = rk_openapi::v2().hash;
    let added: String = added.parts().map(|part| part.hash.as_str()).collect();
    if added.is_empty() { builtin.to_owned() } else { hash(format!("{builtin}{added}").as_bytes()) }
}

/// Documents in protobuf are made when they are asked for, which is seldom: most clients read JSON, and 60 more documents would make
/// every image larger. One at a time, since parsing takes a multiple of what is parsed in memory.
static TURN: Mutex<()> = Mutex::new(());

/// Both gzip and protobuf read parts in a row as one: what was added follows what is built in.
fn v2_protobuf(added: &Added, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let hash = v2_hash(added);
    // Nothing is made for a client that has it already.
    if knows(headers, &hash) {
        return Ok(respond(PROTOBUF, &hash, Bytes::new(), headers, false));
    }
    let mut gzip = builtin_v2_protobuf()?;
    if added.parts().next().is_some() {
        let all: Vec<&[u8]> = std::iter::once(&*gzip).chain(added.parts().map(|part| &*part.protobuf)).collect();
        gzip = all.concat().into();
    }
    Ok(respond(PROTOBUF, &hash, gzip, headers, false))
}

/// The built-in document of OpenAPI v2 in protobuf. Made for the first who asks, then kept: some clients, Helm among them, ask for it at
/// each of their runs, and making it holds up a thread that serves requests.
fn builtin_v2_protobuf() -> Result<Bytes, Status> {
    static MADE: Mutex<Option<Bytes>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ready) = &*made {
        return Ok(ready.clone());
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let broken = |error: &dyn std::fmt::Display| Status::internal(error);
    let text = rk_openapi::v2().text().map_err(|error| broken(&error))?;
    let protobuf = rk_openapi::encode_v2_text_protobuf(&text).map_err(|error| broken(&error))?;
    let ready = gzipped(&protobuf);
    *made = Some(ready.clone());
    Ok(ready)
}

/// A document of OpenAPI v3 in protobuf.
fn v3_protobuf(gzip: &[u8]) -> Result<Bytes, Status> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let broken = |error: &dyn std::fmt::Display| Status::internal(error);
    let document: Value =
        serde_json::from_reader(std::io::BufReader::new(MultiGzDecoder::new(gzip))).map_err(|error| broken(&error))?;
    Ok(gzipped(&rk_openapi::encode_v3_protobuf(&document)))
}

/// A built-in document as clients take it that take gzip.
fn packed(document: &'static rk_openapi::Document) -> Result<Bytes, Status> {
    let gzip = document.gzip().map_err(|error| Status::internal(&error))?;
    Ok(Bytes::from_static(gzip))
}

fn v2_json(added: &Added, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let hash = v2_hash(added);
    let gzip = match added.parts().next() {
        // Nothing is made or unpacked for a client that has it already.
        _ if knows(headers, &hash) => Bytes::new(),
        Some(_) => match spliced(added) {
            Ok(text) if accepts_gzip(headers) => gzipped(text.as_bytes()),
            Ok(text) => return Ok(tagged(JSON, &hash, text.into(), headers, false)),
            Err(error) => return Err(Status::internal(&error)),
        },
        None => packed(rk_openapi::v2())?,
    };
    Ok(respond(JSON, &hash, gzip, headers, false))
}

/// The built-in text with members added to its two maps; parsing it would take twenty times its size in memory.
fn spliced(added: &Added) -> Result<String, std::io::Error> {
    let mut text = rk_openapi::v2().text()?;
    text.reserve(added.parts().map(|part| part.definitions.len() + part.paths.len()).sum());
    let maps = added.parts().flat_map(|part| {
        // No definition has a field whose name begins with a slash: this can only be the map of paths.
        [(",\"paths\":{", &part.paths), ("{\"definitions\":{", &part.definitions)]
    });
    for (before, members) in maps {
        let mark = if before.starts_with(',') { format!("{before}\"/") } else { before.to_owned() };
        let members = members.get(1..members.len() - 1).unwrap_or_default();
        if let Some(at) = text.find(&mark).filter(|_| !members.is_empty()) {
            text.insert_str(at + before.len(), &format!("{members},"));
        }
    }
    Ok(text)
}

/// Where the document of a path with this hash is.
fn address(path: &str, hash: &str) -> String {
    format!("/openapi/v3/{path}?hash={hash}")
}

fn moved(address: &str) -> Response<Body> {
    let mut response = bytes_response(StatusCode::MOVED_PERMANENTLY, "text/plain; charset=utf-8", Bytes::new());
    if let Ok(value) = HeaderValue::from_str(address) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

fn broken(error: &std::io::Error) -> Response<Body> {
    json_response(StatusCode::INTERNAL_SERVER_ERROR, &Status::internal(error).to_value(), false)
}

/// Compressed bytes, unpacked for who does not take them so.
fn respond(media_type: &'static str, hash: &str, gzip: Bytes, headers: &HeaderMap, immutable: bool) -> Response<Body> {
    if accepts_gzip(headers) || knows(headers, hash) {
        let mut response = tagged(media_type, hash, gzip, headers, immutable);
        if response.status() == StatusCode::OK {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        return response;
    }
    let mut plain = Vec::new();
    match MultiGzDecoder::new(&*gzip).read_to_end(&mut plain) {
        Ok(_) => tagged(media_type, hash, plain.into(), headers, immutable),
        Err(error) => broken(&error),
    }
}

/// Whether the client says that it has the document with this hash.
fn knows(headers: &HeaderMap, hash: &str) -> bool {
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    known.and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"')) == Some(hash)
}

/// Bytes under their hash; nothing when the client has them.
fn tagged(media_type: &'static str, hash: &str, body: Bytes, headers: &HeaderMap, immutable: bool) -> Response<Body> {
    let (code, body) =
        if knows(headers, hash) { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, body) };
    let mut response = bytes_response(code, media_type, body);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        headers.insert(ETAG, value);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    if immutable {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let expires = (jiff::Timestamp::now() + KEPT).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(value) = HeaderValue::from_str(&expires) {
            headers.insert(EXPIRES, value);
        }
    }
    response
}
