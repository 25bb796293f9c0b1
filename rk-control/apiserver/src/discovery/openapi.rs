//! OpenAPI documents: the built-in ones, beside them those of kinds added at run time.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use rk_api::resources::Registry;
use rk_api::status::Status;
use serde_json::{Map, Value, json};

use super::added::{self, Added, Part, hash};
use super::remote::Remote;
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

/// The documents of kinds that were added at run time, and of other servers.
#[derive(Default)]
pub struct OpenApi {
    beside: RwLock<Arc<Beside>>,
    /// What other servers say of their APIs, by priority. Held while what is beside the built-in documents changes.
    remotes: Mutex<Vec<Arc<Value>>>,
}

/// One state of what is beside the built-in documents.
#[derive(Default)]
struct Beside {
    custom: Added,
    remote: Option<Arc<Remote>>,
}

impl Beside {
    /// What is added to the document of OpenAPI v2.
    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.custom.iter().map(|group| &group.v2).chain(self.remote.iter().filter_map(|remote| remote.part.as_ref()))
    }
}

impl OpenApi {
    /// Publishes the documents of the kinds in a table that were added at run time.
    pub fn publish(&self, registry: &Registry) {
        let remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.beside();
        let custom = added::documents(&before.custom, registry);
        let is_in = |groups: &Added, group: &Arc<added::Group>| groups.iter().any(|own| Arc::ptr_eq(own, group));
        let come = custom.iter().filter(|group| !is_in(&before.custom, group));
        let gone = before.custom.iter().filter(|group| !is_in(&custom, group));
        let mut changed = come.chain(gone);
        let depends = |remote: &Arc<Remote>| changed.any(|group| remote.depends_on(&group.v2));
        let is_other = before.remote.as_ref().is_some_and(depends);
        let remote = if is_other { Remote::new(&remotes, &custom) } else { before.remote.clone() };
        self.replace(Beside { custom, remote });
    }

    /// Publishes what other servers say of their APIs, by priority.
    pub fn publish_remotes(&self, parts: Vec<Arc<Value>>) {
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        if *remotes == parts {
            return;
        }
        let custom = self.beside().custom.clone();
        let remote = Remote::new(&parts, &custom);
        self.replace(Beside { custom, remote });
        *remotes = parts;
    }

    fn replace(&self, beside: Beside) {
        *self.beside.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(beside);
    }

    fn beside(&self) -> Arc<Beside> {
        Arc::clone(&self.beside.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where the documents of version 3 are.
    pub(super) fn index(&self) -> Value {
        let beside = self.beside();
        let builtin = rk_openapi::v3().iter().map(|document| (document.path, document.hash));
        let added = beside.custom.iter().map(|group| (group.path.as_str(), group.hash.as_str()));
        let paths: Map<String, Value> = builtin
            .chain(added)
            .map(|(path, hash)| (path.to_owned(), json!({"serverRelativeURL": address(path, hash)})))
            .collect();
        json!({"paths": paths})
    }

    /// Serves the documents below `/openapi/`.
    pub(super) fn serve(&self, parts: &[&str], headers: &HeaderMap, query: &Query) -> Result<Response<Body>, Status> {
        let beside = self.beside();
        match parts {
            ["v2"] => match accepted(headers, PROTOBUF_ASKED, PROTOBUF) {
                Some(PROTOBUF) => v2_protobuf(&beside, headers),
                Some(_) => v2_json(&beside, headers),
                None => Ok(silent(StatusCode::NOT_ACCEPTABLE)),
            },
            ["v3", path @ ..] => {
                let wanted = path.join("/");
                let Some(media_type) = accepted(headers, V3_ASKED, V3_PROTOBUF) else {
                    return Ok(silent(StatusCode::NOT_ACCEPTABLE));
                };
                let (hash, gzip) = match beside.custom.iter().find(|group| group.path == wanted) {
                    Some(group) => (group.hash.clone(), group.gzip.clone()),
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

fn v2_hash(beside: &Beside) -> String {
    let builtin = rk_openapi::v2().hash;
    let parts: String = beside.parts().map(|part| part.hash.as_str()).collect();
    if parts.is_empty() { builtin.to_owned() } else { hash(format!("{builtin}{parts}").as_bytes()) }
}

/// Documents in protobuf are made when they are asked for, which is seldom: most clients read JSON, and 60 more documents would make
/// every image larger. One at a time, since parsing takes a multiple of what is parsed in memory.
static TURN: Mutex<()> = Mutex::new(());

/// Both gzip and protobuf read parts in a row as one: what was added follows what is built in.
fn v2_protobuf(beside: &Beside, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let hash = v2_hash(beside);
    // Nothing is made for a client that has it already.
    if knows(headers, &hash) {
        return Ok(respond(PROTOBUF, &hash, Bytes::new(), headers, false));
    }
    let builtin = builtin_v2_protobuf()?;
    let gzip = beside.parts().fold(BytesMut::from(&*builtin), |mut all, part| {
        all.extend_from_slice(&part.protobuf);
        all
    });
    Ok(respond(PROTOBUF, &hash, gzip.freeze(), headers, false))
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

fn v2_json(beside: &Beside, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let hash = v2_hash(beside);
    // Nothing is made, nor unpacked, for a client that has it already.
    if knows(headers, &hash) {
        return Ok(respond(JSON, &hash, Bytes::new(), headers, false));
    }
    if beside.parts().next().is_none() {
        return Ok(respond(JSON, &hash, packed(rk_openapi::v2())?, headers, false));
    }
    let text = spliced(beside).map_err(|error| Status::internal(&error))?;
    if !accepts_gzip(headers) {
        return Ok(tagged(JSON, &hash, text.into(), headers, false));
    }
    Ok(respond(JSON, &hash, gzipped(text.as_bytes()), headers, false))
}

/// The built-in text with members added to its two maps; parsing it would take twenty times its size in memory.
fn spliced(beside: &Beside) -> Result<String, std::io::Error> {
    let mut text = rk_openapi::v2().text()?;
    let (mut definitions, mut paths) = (String::new(), String::new());
    for part in beside.parts() {
        part.definitions(&mut definitions)?;
        part.paths(&mut paths)?;
    }
    text.reserve(definitions.len() + paths.len());
    // No definition has a field whose name begins with a slash: this can only be the map of paths.
    for (before, members) in [(",\"paths\":{", paths), ("{\"definitions\":{", definitions)] {
        let mark = if before.starts_with(',') { format!("{before}\"/") } else { before.to_owned() };
        if let Some(at) = text.find(&mark) {
            text.insert_str(at + before.len(), &members);
        }
    }
    Ok(text)
}

/// Where the document of a path with this hash is.
fn address(path: &str, hash: &str) -> String {
    format!("/openapi/v3/{path}?hash={hash}")
}

fn moved(address: &str) -> Response<Body> {
    let mut response = bytes_response(StatusCode::MOVED_PERMANENTLY, JSON, Bytes::new());
    if let Ok(value) = HeaderValue::from_str(address) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

/// An answer of which the code says all.
fn silent(code: StatusCode) -> Response<Body> {
    let mut response = bytes_response(code, JSON, Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
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

/// Whether the client says that it has the document with this hash, or whatever there is.
fn knows(headers: &HeaderMap, hash: &str) -> bool {
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_it = |tag: &str| tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(hash);
    known.split(',').map(str::trim).any(|tag| tag == "*" || is_it(tag.strip_prefix("W/").unwrap_or(tag)))
}

/// Bytes under their hash; nothing when the client has them.
fn tagged(media_type: &'static str, hash: &str, body: Bytes, headers: &HeaderMap, immutable: bool) -> Response<Body> {
    let (code, body) =
        if knows(headers, hash) { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, body) };
    let mut response = bytes_response(code, media_type, body);
    let headers = response.headers_mut();
    if code == StatusCode::NOT_MODIFIED {
        headers.remove(CONTENT_TYPE);
    }
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

#[cfg(test)]
mod tests {
    use super::super::added::tests::{rows, table};
    use super::*;

    const PATH: &str = "/apis/b.example/v1/ones";
    const NAME: &str = "example.a.v1.One";

    /// The definition that the path of the other server leads to, and all definitions.
    fn told(own: &OpenApi) -> (String, Value) {
        let mut document: Value = serde_json::from_str(&spliced(&own.beside()).unwrap()).unwrap();
        let schema = &document["paths"][PATH]["get"]["responses"]["200"]["schema"];
        let name = schema["$ref"].as_str().and_then(|text| text.strip_prefix("#/definitions/")).unwrap_or_default();
        (name.to_owned(), document["definitions"].take())
    }

    #[test]
    fn who_has_a_document_says_so_in_many_ways() {
        for (sent, wanted) in [
            ("\"A\"", true),
            ("W/\"A\"", true),
            ("\"B\", \"A\"", true),
            ("*", true),
            ("A", false),
            ("\"B\"", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(sent))]);
            assert_eq!(knows(&headers, "A"), wanted, "{sent}");
            let code = tagged(JSON, "A", Bytes::new(), &headers, false).status();
            assert_eq!(code == StatusCode::NOT_MODIFIED, wanted);
        }
    }

    #[test]
    fn what_another_server_defines_gives_way_to_a_custom_kind_that_comes_later() {
        let (one, two) = (rows("a.example", "One"), rows("a.example", "Two"));
        let own = OpenApi::default();
        let schema = json!({"$ref": format!("#/definitions/{NAME}")});
        let item = json!({"get": {"responses": {"200": {"description": "OK", "schema": schema}}}});
        own.publish_remotes(vec![Arc::new(json!({"definitions": {NAME: {"title": "theirs"}}, "paths": {PATH: item}}))]);
        let made = own.beside();

        own.publish(&table(&two));
        let (name, definitions) = told(&own);
        assert_eq!((name.as_str(), &definitions[NAME]["title"]), (NAME, &json!("theirs")));
        let is_left = |now: &Beside| Arc::ptr_eq(made.remote.as_ref().unwrap(), now.remote.as_ref().unwrap());
        assert!(is_left(&own.beside()), "what has other names is no work for it");

        own.publish(&table(&[one, two.clone()].concat()));
        let (name, definitions) = told(&own);
        assert_eq!((name.as_str(), &definitions[&name]["title"]), ("example.a.v1.One_v2", &json!("theirs")));
        assert!(definitions[NAME]["properties"]["spec"].is_object(), "the kind has its own name");

        own.publish(&table(&two));
        assert_eq!(told(&own).0, NAME, "the name is free again");
    }
}
