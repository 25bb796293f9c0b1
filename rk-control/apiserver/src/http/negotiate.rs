//! Content negotiation: which format and shape an answer has, and which format a body is in.

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use rk_api::status::Status;
use rk_api::table::to_v1beta1;
use serde_json::Value;

use super::query::Query;

/// How objects are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Format {
    /// The media type of single objects and lists.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The media type of watch streams.
    #[must_use]
    pub const fn stream_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }

    fn parse(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json" | "*/*" | "application/*" => Some(Format::Json),
            "application/yaml" => Some(Format::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Format::Protobuf),
            _ => None,
        }
    }
}

/// What objects are turned into before they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// As they are.
    #[default]
    Object,
    /// `meta.k8s.io` Table.
    Table,
    /// `meta.k8s.io` PartialObjectMetadata and its list.
    Metadata,
}

/// What is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// One object.
    Object,
    /// Many of them, in a list.
    List,
    /// What becomes of them, event by event.
    Events,
}

/// The version of `meta.k8s.io` in which tables and metadata are written; the older one has the same members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetaVersion {
    /// `v1`.
    #[default]
    V1,
    /// `v1beta1`.
    V1Beta1,
}

/// A negotiated answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accept {
    /// The format.
    pub format: Format,
    /// The shape.
    pub shape: Shape,
    /// The version of a shape other than the object itself.
    pub version: MetaVersion,
    /// Indented JSON.
    pub pretty: bool,
}

const OFFERED: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// One clause of an `Accept` header.
pub struct Clause<'a> {
    /// The media type, lower case as sent.
    pub media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Clause<'_> {
    /// A parameter's value, or the empty string.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }
}

/// The clauses of the first `Accept` header, best first: by quality, and of the same quality those that leave less open.
#[must_use]
pub fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let mut out: Vec<Clause<'_>> = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .into_iter()
        .flat_map(|value| value.split(','))
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media_type = parts.next().filter(|text| !text.is_empty())?;
            let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let quality =
                parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0);
            Some(Clause { media_type, parameters, quality })
        })
        .collect();
    let open = |clause: &Clause<'_>| clause.media_type.matches('*').count();
    out.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(open(a).cmp(&open(b))));
    out
}

impl Accept {
    /// As [`Accept::negotiate`], for objects without a protobuf form; their metadata has one.
    ///
    /// # Errors
    /// 406 when nothing that the client accepts can be had.
    pub fn negotiate_text(headers: &HeaderMap, query: &Query, subject: Subject) -> Result<Self, Status> {
        Self::choose(headers, query, subject, |format, shape| format != Format::Protobuf || shape != Shape::Object)
    }

    /// As [`Accept::negotiate`], for what has no shape but its own: documents and failures.
    ///
    /// # Errors
    /// 406 when nothing that the client accepts can be had.
    pub fn negotiate_plain(headers: &HeaderMap, query: &Query) -> Result<Self, Status> {
        Self::choose(headers, query, Subject::Object, |_, shape| shape == Shape::Object)
    }

    /// Reads the headers.
    ///
    /// # Errors
    /// 406 when nothing that the client accepts can be had.
    pub fn negotiate(headers: &HeaderMap, query: &Query, subject: Subject) -> Result<Self, Status> {
        Self::choose(headers, query, subject, |_, _| true)
    }

    /// How a request that accepts this is told of its failure. Read only then: handlers read the header for themselves.
    #[must_use]
    pub fn of_failure(accepted: Vec<HeaderValue>) -> Self {
        let headers: HeaderMap = accepted.into_iter().map(|value| (ACCEPT, value)).collect();
        Self::negotiate_plain(&headers, &Query::default()).unwrap_or_default()
    }

    fn choose(
        headers: &HeaderMap,
        query: &Query,
        subject: Subject,
        served: impl Fn(Format, Shape) -> bool,
    ) -> Result<Self, Status> {
        let pretty = wants_pretty(headers, query);
        if headers.get(ACCEPT).is_none_or(HeaderValue::is_empty) {
            return Ok(Self { pretty, ..Self::default() });
        }
        clauses(headers)
            .iter()
            .find_map(|clause| {
                let format = Format::parse(clause.media_type)?;
                let (shape, version) = shape_of(clause, subject)?;
                let known = streams(clause, format) && (format != Format::Protobuf || has_message(shape, version));
                let pretty = pretty || clause.parameter("pretty") == "1";
                (known && served(format, shape)).then_some(Self { format, shape, version, pretty })
            })
            .ok_or_else(|| Status::not_acceptable(OFFERED))
    }

    /// What was shaped, in the version that the client named.
    #[must_use]
    pub fn versioned(self, mut shaped: Value) -> Value {
        if self.version == MetaVersion::V1Beta1 {
            to_v1beta1(&mut shaped);
        }
        shaped
    }
}

fn shape_of(clause: &Clause<'_>, subject: Subject) -> Option<(Shape, MetaVersion)> {
    let shape = match clause.parameter("as") {
        "" if clause.parameter("g").is_empty() && clause.parameter("v").is_empty() => {
            return Some((Shape::Object, MetaVersion::V1));
        }
        "Table" => Shape::Table,
        // Watches of metadata name the single form.
        "PartialObjectMetadata" if subject != Subject::List => Shape::Metadata,
        "PartialObjectMetadataList" if subject != Subject::Object => Shape::Metadata,
        _ => return None,
    };
    match (clause.parameter("g"), clause.parameter("v")) {
        ("meta.k8s.io", "v1") => Some((shape, MetaVersion::V1)),
        ("meta.k8s.io", "v1beta1") => Some((shape, MetaVersion::V1Beta1)),
        _ => None,
    }
}

/// Whether what a clause says of streams can be had: there is one kind of them, and none in YAML.
fn streams(clause: &Clause<'_>, format: Format) -> bool {
    match clause.parameter("stream") {
        "" => true,
        stream => stream == "watch" && format != Format::Yaml,
    }
}

/// Whether a shape has a protobuf form: tables have none, metadata has one in the newer version.
fn has_message(shape: Shape, version: MetaVersion) -> bool {
    match shape {
        Shape::Object => true,
        Shape::Table => false,
        Shape::Metadata => version == MetaVersion::V1,
    }
}

/// Whether JSON is to be indented: asked for, or the client is one that people read.
#[must_use]
pub fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    let asked = query.text("pretty");
    if !asked.is_empty() {
        return matches!(asked, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/5.0")
}

/// Whether the client takes gzip, and says no more of it than that.
#[must_use]
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let asked = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    asked.split(',').any(|coding| coding.trim() == "gzip")
}

/// The format of a request body; an absent header means JSON.
///
/// # Errors
/// 415 for any other type.
pub fn content_format(headers: &HeaderMap) -> Result<Format, Status> {
    let Some(value) = headers.get(CONTENT_TYPE).filter(|value| !value.is_empty()) else { return Ok(Format::Json) };
    let media_type = value.to_str().ok().and_then(media_type).filter(|name| !name.contains('*'));
    media_type.and_then(|name| Format::parse(&name)).ok_or_else(|| Status::unsupported_media_type(OFFERED))
}

/// The media type that a `Content-Type` header names, in lower case; `None` where something other than parameters follows it.
fn media_type(text: &str) -> Option<String> {
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let is_parameter =
        |part: &str| part.split_once('=').is_some_and(|(name, value)| !name.is_empty() && !value.is_empty());
    let mut parts = parameters.split(';').map(str::trim).peekable();
    while let Some(part) = parts.next() {
        // A semicolon at the end says nothing.
        let is_end = part.is_empty() && parts.peek().is_none();
        if !is_end && !is_parameter(part) {
            return None;
        }
    }
    Some(name.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(header: &str, subject: Subject) -> Option<Accept> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().unwrap());
        Accept::negotiate(&headers, &Query::default(), subject).ok()
    }

    #[test]
    fn metadata_of_one_object_and_of_a_list_have_forms_of_their_own() {
        let asked = |shape: &str, subject: Subject| {
            accept(&format!("application/json;as={shape};g=meta.k8s.io;v=v1"), subject).map(|found| found.shape)
        };
        for (subject, one, list) in [
            (Subject::Object, Some(Shape::Metadata), None),
            (Subject::List, None, Some(Shape::Metadata)),
            (Subject::Events, Some(Shape::Metadata), Some(Shape::Metadata)),
        ] {
            assert_eq!(asked("PartialObjectMetadata", subject), one, "{subject:?}");
            assert_eq!(asked("PartialObjectMetadataList", subject), list, "{subject:?}");
        }
    }

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accept(table, Subject::List).unwrap().shape, Shape::Table);
        assert_eq!(accept("application/json;as=Unknown,application/json", Subject::List).unwrap().shape, Shape::Object);
        assert_eq!(
            accept("application/cbor, application/vnd.kubernetes.protobuf", Subject::List).unwrap().format,
            Format::Protobuf
        );
        assert_eq!(
            accept("application/yaml;q=0.5,application/json;q=0.9", Subject::List).unwrap().format,
            Format::Json
        );
        assert_eq!(accept("*/*, application/yaml", Subject::List).unwrap().format, Format::Yaml);
        assert_eq!(accept("*/*, application/yaml;q=0.9", Subject::List).unwrap().format, Format::Json);
        assert_eq!(accept("text/html", Subject::List), None);
        assert_eq!(accept("application/json;g=meta.k8s.io", Subject::List), None);
        assert_eq!(accept("application/json;stream=other", Subject::List), None);
        assert_eq!(accept("application/yaml;stream=watch", Subject::Events), None);
        assert_eq!(accept(";;", Subject::List), None);
        assert_eq!(accept("", Subject::List), Some(Accept::default()));
    }

    #[test]
    fn failures_and_documents_have_no_shape_but_their_own() {
        let of = |header: &'static str| Accept::of_failure(vec![HeaderValue::from_static(header)]).format;
        assert_eq!(of("application/yaml"), Format::Yaml);
        assert_eq!(of("application/yaml;as=Table;g=meta.k8s.io;v=v1"), Format::Json);
        assert_eq!(of("application/json;as=Table;g=meta.k8s.io;v=v1,application/yaml"), Format::Yaml);
    }

    #[test]
    fn bodies_are_of_the_type_that_is_named_in_any_case_with_parameters_or_without() {
        let of = |header: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(header))]);
            content_format(&headers).ok()
        };
        for (header, format) in [
            ("", Some(Format::Json)),
            ("application/json", Some(Format::Json)),
            ("APPLICATION/JSON", Some(Format::Json)),
            ("application/yaml; charset=utf-8;", Some(Format::Yaml)),
            ("application/vnd.kubernetes.protobuf", Some(Format::Protobuf)),
            ("application/json;foo", None),
            ("application/json;;charset=utf-8", None),
            (";", None),
            ("application/*", None),
            ("text/plain", None),
        ] {
            assert_eq!(of(header), format, "{header}");
        }
        assert_eq!(content_format(&HeaderMap::new()).ok(), Some(Format::Json));
    }

    #[test]
    fn tables_and_metadata_come_in_either_version_of_their_group() {
        let of = |media: &str, shape: &str, version: &str| {
            let found = accept(&format!("application/{media};as={shape};g=meta.k8s.io;v={version}"), Subject::List);
            found.map(|found| (found.format, found.shape, found.version))
        };
        let proto = "vnd.kubernetes.protobuf";
        for (media, shape, version, want) in [
            ("json", "Table", "v1", Some((Format::Json, Shape::Table, MetaVersion::V1))),
            ("json", "Table", "v1beta1", Some((Format::Json, Shape::Table, MetaVersion::V1Beta1))),
            (
                "yaml",
                "PartialObjectMetadataList",
                "v1beta1",
                Some((Format::Yaml, Shape::Metadata, MetaVersion::V1Beta1)),
            ),
            ("json", "Table", "v1alpha1", None),
            (proto, "Table", "v1", None),
            (proto, "PartialObjectMetadataList", "v1", Some((Format::Protobuf, Shape::Metadata, MetaVersion::V1))),
            (proto, "PartialObjectMetadataList", "v1beta1", None),
        ] {
            assert_eq!(of(media, shape, version), want, "{media} {shape} {version}");
        }
        let fallback = format!("application/{proto};as=Table;g=meta.k8s.io;v=v1,application/json");
        assert_eq!(accept(&fallback, Subject::List), Some(Accept::default()));
    }
}
