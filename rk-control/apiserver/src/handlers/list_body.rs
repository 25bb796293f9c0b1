//! Writing a list: streamed from the serialized objects when they are what was asked for.

use std::io::Write;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use http::header::{CONTENT_ENCODING, VARY};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rk_api::proto::{item_head, list_head};
use rk_api::status::Status;
use serde_json::{Value, json};

use super::call::Call;
use super::list::Found;
use super::render::include_object;
use crate::codec;
use crate::conversion;
use crate::http::{Body, BoxError, Format, Shape, Subject, accepts_gzip, bytes_response, maybe_gzip};
use crate::storage::Cached;

/// Size of one piece of a streamed list; all that exists of it beside the objects themselves.
const CHUNK: usize = 32 * 1024;
/// Lists of at most so many objects are one piece.
const FEW: usize = 8;
/// Lists with more objects than this are compressed when the client takes gzip; roughly upstream's 128 KiB.
const GZIP_OBJECTS: usize = 64;

/// Answers with a list.
pub(super) async fn respond(call: &Call, found: Found) -> Result<Response<Body>, Status> {
    let accept = call.accept(Subject::List)?;
    let gzip = accepts_gzip(&call.headers);
    let ready = call.resource.is_hub() && !found.objects.iter().any(|object| object.is_foreign());
    let plain = accept.shape == Shape::Object && ready;
    let head = match accept.format {
        Format::Json if plain && !accept.pretty => Some(json_head(call, &found)),
        Format::Protobuf if plain => protobuf_head(call, &found),
        _ => None,
    };
    if let Some(head) = head {
        let protobuf = accept.format == Format::Protobuf;
        let pieces =
            Pieces { head: Some(head), objects: found.objects.into_iter(), protobuf, first: true, done: false };
        return Ok(streamed(accept.format.media_type(), pieces, gzip));
    }
    let value = accept.versioned(shaped(call, &found, accept.shape).await?);
    let (media_type, bytes) = codec::encode(&value, accept.format, accept.pretty);
    Ok(maybe_gzip(StatusCode::OK, media_type, bytes, gzip))
}

/// A list as one value, for the shapes that need one.
async fn shaped(call: &Call, found: &Found, shape: Shape) -> Result<Value, Status> {
    let values = found.objects.iter().map(|object| object.value()).collect();
    let values = conversion::all_to(&call.core, values, &call.resource).await?;
    in_shape(call, values, &found.metadata(), shape)
}

fn in_shape(call: &Call, values: Vec<Value>, metadata: &Value, shape: Shape) -> Result<Value, Status> {
    Ok(match shape {
        Shape::Table => {
            let include = include_object(&call.query)?;
            rk_api::table::table(&call.resource, values.iter(), metadata, include, jiff::Timestamp::now())
        }
        Shape::Metadata => {
            let items: Vec<Value> = values.iter().map(rk_api::table::partial_metadata).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
        }
        Shape::Object => {
            let items: Vec<Value> = match call.resource.custom {
                // Lists of custom kinds are read without types: each item says what it is.
                Some(_) => values,
                None => values.into_iter().map(without_kind).collect(),
            };
            let metadata = told(call, metadata.clone());
            json!({"kind": call.resource.list_kind(), "apiVersion": call.resource.api_version(), "metadata": metadata, "items": items})
        }
    })
}

/// The metadata of a list as it is told: lists of custom kinds are written without types, and have a token if it is none.
fn told(call: &Call, mut metadata: Value) -> Value {
    if let Some(members) = metadata.as_object_mut().filter(|_| call.resource.custom.is_some()) {
        members.entry("continue").or_insert_with(|| json!(""));
    }
    metadata
}

/// Items of a typed list do not repeat the list's kind.
fn without_kind(mut item: Value) -> Value {
    if let Some(members) = item.as_object_mut() {
        members.remove("kind");
        members.remove("apiVersion");
    }
    item
}

/// The text of a list before its items.
fn json_head(call: &Call, found: &Found) -> Bytes {
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{},\"items\":[",
        json!(call.resource.list_kind()),
        json!(call.resource.api_version()),
        told(call, found.metadata())
    );
    head.into()
}

/// The body of a list before its items, which tells how long all of it is; `None` when an item has no message. Messages are kept
/// with their objects, so that they are encoded once, however often they are listed.
fn protobuf_head(call: &Call, found: &Found) -> Option<Bytes> {
    let size = |object: &Arc<Cached>| object.message().map(|message| item_head(message.len()).len() + message.len());
    let items = found.objects.iter().map(size).sum::<Option<usize>>()?;
    Some(list_head(&call.resource.api_version(), &call.resource.list_kind(), &found.metadata(), items))
}

/// A list that is written piece by piece while the client reads.
fn streamed(media_type: &'static str, pieces: Pieces, gzip: bool) -> Response<Body> {
    if pieces.objects.len() <= FEW {
        return maybe_gzip(StatusCode::OK, media_type, pieces.flatten().collect::<Vec<u8>>().into(), gzip);
    }
    let compress = gzip && pieces.objects.len() > GZIP_OBJECTS;
    let body = if compress { body_of(Zipped::new(pieces)) } else { body_of(pieces) };
    let mut response = bytes_response(StatusCode::OK, media_type, Bytes::new());
    *response.body_mut() = body;
    if compress {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

fn body_of(pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(stream::iter(pieces.map(|piece| Ok::<_, BoxError>(Frame::data(piece))))).boxed_unsync()
}

/// A list in pieces.
struct Pieces {
    head: Option<Bytes>,
    objects: std::vec::IntoIter<Arc<Cached>>,
    /// Whether items are messages; else they are text.
    protobuf: bool,
    first: bool,
    done: bool,
}

impl Pieces {
    fn put(&mut self, piece: &mut BytesMut, object: &Cached) {
        if self.protobuf {
            let message = object.message().map_or(&[][..], |message| &message[..]);
            piece.put_slice(&item_head(message.len()));
            piece.put_slice(message);
            return;
        }
        if !std::mem::take(&mut self.first) {
            piece.put_u8(b',');
        }
        piece.put_u8(b'{');
        piece.put_slice(object.item_json());
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut piece = BytesMut::with_capacity(CHUNK);
        if let Some(head) = self.head.take() {
            piece.put_slice(&head);
        }
        while piece.len() < CHUNK {
            let Some(object) = self.objects.next() else {
                if !self.protobuf {
                    piece.put_slice(b"]}\n");
                }
                self.done = true;
                break;
            };
            self.put(&mut piece, &object);
        }
        (!piece.is_empty()).then(|| piece.freeze())
    }
}

/// Pieces, compressed as they come.
struct Zipped {
    pieces: Pieces,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Zipped {
    fn new(pieces: Pieces) -> Self {
        Self { pieces, encoder: Some(GzEncoder::new(Vec::with_capacity(CHUNK), Compression::fast())) }
    }
}

impl Iterator for Zipped {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            let encoder = self.encoder.as_mut()?;
            let Some(piece) = self.pieces.next() else {
                // Writing to a vector does not fail.
                return self.encoder.take()?.finish().ok().map(Bytes::from);
            };
            encoder.write_all(&piece).ok()?;
            if encoder.get_ref().len() >= CHUNK / 2 {
                return Some(Bytes::from(std::mem::take(encoder.get_mut())));
            }
        }
    }
}
