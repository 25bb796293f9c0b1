//! OpenAPI documents of kinds that were added at run time, group by group: a change of one group is no work for the others, and what is
//! kept is compressed.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::GzDecoder;
use rk_api::custom::CustomKind;
use rk_api::resources::{Registry, Resource, Verbs};
use serde_json::{Map, Value};
use sha2::{Digest, Sha512};

use crate::http::gzipped;

/// The groups and versions that were added, by their paths.
pub(super) type Added = Vec<Arc<Group>>;

/// The documents of one group and version.
pub(super) struct Group {
    /// Where it is below `/openapi/v3/`.
    pub path: String,
    /// The hash of its OpenAPI v3 document.
    pub hash: String,
    /// That document, compressed.
    pub gzip: Bytes,
    /// What it adds to the document of OpenAPI v2.
    pub v2: Part,
    /// What all of it was made of.
    kinds: Vec<(Arc<CustomKind>, Verbs)>,
}

/// A part of the document of OpenAPI v2.
pub(super) struct Part {
    /// Of both of its texts.
    pub hash: String,
    /// Definitions as members of a JSON object, each with a comma behind it, compressed.
    definitions: Bytes,
    /// Paths in the same way.
    paths: Bytes,
    /// Both of them in protobuf, compressed.
    pub protobuf: Bytes,
}

/// SHA-512 in upper-case hex.
pub(super) fn hash(text: &[u8]) -> String {
    hex::encode_upper(Sha512::digest(text))
}

/// The documents of all added kinds in a table; those of groups that are as they were `before` stay.
pub(super) fn documents(before: &Added, registry: &Registry) -> Added {
    let mut groups: BTreeMap<String, Vec<&Resource>> = BTreeMap::new();
    for row in registry.iter().filter(|row| row.custom.is_some()) {
        groups.entry(format!("apis/{}/{}", row.gvk.group, row.gvk.version)).or_default().push(row);
    }
    let known = |path: &str, rows: &[&Resource]| before.iter().find(|own| own.path == path && own.is_of(rows)).cloned();
    let group = |(path, rows): (String, Vec<&Resource>)| {
        known(&path, &rows).unwrap_or_else(|| Arc::new(Group::new(path, &rows)))
    };
    groups.into_iter().map(group).collect()
}

impl Group {
    fn new(path: String, rows: &[&Resource]) -> Self {
        let text = rk_openapi::v3_document(rows).to_string();
        let (definitions, paths) = rk_openapi::v2_parts(rows);
        let kinds = rows.iter().filter_map(|row| Some((row.custom.clone()?, row.verbs))).collect();
        Self {
            path,
            hash: hash(text.as_bytes()),
            gzip: gzipped(text.as_bytes()),
            v2: Part::new(definitions, paths),
            kinds,
        }
    }

    /// Whether it was made of these rows. A kind that changes is another one.
    fn is_of(&self, rows: &[&Resource]) -> bool {
        let is = |((kind, verbs), row): (&(Arc<CustomKind>, Verbs), &&Resource)| {
            *verbs == row.verbs && row.custom.as_ref().is_some_and(|own| Arc::ptr_eq(own, kind))
        };
        self.kinds.len() == rows.len() && self.kinds.iter().zip(rows).all(is)
    }
}

impl Part {
    pub(super) fn new(definitions: Map<String, Value>, paths: Map<String, Value>) -> Self {
        let [definitions, paths] = [definitions, paths].map(Value::Object);
        let texts = [&definitions, &paths].map(members);
        let document = Map::from_iter([("definitions".to_owned(), definitions), ("paths".to_owned(), paths)]);
        let protobuf = gzipped(&rk_openapi::encode_v2_protobuf(&Value::Object(document)));
        let hash = hash(texts.concat().as_bytes());
        let [definitions, paths] = texts.map(|text| gzipped(text.as_bytes()));
        Self { hash, definitions, paths, protobuf }
    }

    /// Appends the definitions, each with a comma behind it.
    ///
    /// # Errors
    /// They cannot be unpacked, which nothing brings about.
    pub(super) fn definitions(&self, text: &mut String) -> io::Result<usize> {
        GzDecoder::new(&*self.definitions).read_to_string(text)
    }

    /// Appends the paths, each with a comma behind it.
    ///
    /// # Errors
    /// As [`Part::definitions`].
    pub(super) fn paths(&self, text: &mut String) -> io::Result<usize> {
        GzDecoder::new(&*self.paths).read_to_string(text)
    }
}

/// The members of an object, each with a comma behind it.
fn members(object: &Value) -> String {
    let text = object.to_string();
    let members = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
    if members.is_empty() { String::new() } else { format!("{members},") }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn rows(group: &str, kind: &str) -> Vec<Resource> {
        let plural = format!("{}s", kind.to_lowercase());
        rk_api::custom::rows(&json!({"spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "string"}}}}}]}}))
    }

    pub(in super::super) fn table(rows: &[Resource]) -> Registry {
        let mut registry = Registry::builtin();
        rows.iter().for_each(|row| registry.insert(row.clone()));
        registry
    }

    #[test]
    fn documents_of_a_group_are_made_when_it_changes_and_then_alone() {
        let (one, two) = (rows("a.example", "One"), rows("b.example", "Two"));
        let first = documents(&Added::new(), &table(&[one.clone(), two.clone()].concat()));
        let paths: Vec<&str> = first.iter().map(|group| group.path.as_str()).collect();
        assert_eq!(paths, ["apis/a.example/v1", "apis/b.example/v1"]);
        let changed = documents(&first, &table(&[one.clone(), rows("b.example", "Two")].concat()));
        assert!(Arc::ptr_eq(&first[0], &changed[0]) && !Arc::ptr_eq(&first[1], &changed[1]));
        let joined = documents(&changed, &table(&[one.clone(), rows("a.example", "Three"), two].concat()));
        assert!(!Arc::ptr_eq(&changed[0], &joined[0]), "its group has one more");
        let mut going = one;
        going.iter_mut().for_each(|row| row.verbs = Verbs::NONE.with(rk_api::resources::Verb::Get));
        let going = documents(&first, &table(&going));
        assert!(going.len() == 1 && going[0].hash != first[0].hash, "nothing new may be made");
    }

    #[test]
    fn parts_of_version_2_are_members_with_commas_behind_them() {
        let added = documents(&Added::new(), &table(&[rows("a.example", "One"), rows("b.example", "Two")].concat()));
        let (mut definitions, mut paths) = ("{".to_owned(), "{".to_owned());
        for group in &added {
            group.v2.definitions(&mut definitions).unwrap();
            group.v2.paths(&mut paths).unwrap();
        }
        let read = |text: String| serde_json::from_str::<Value>(&format!("{text}\"end\":0}}")).unwrap();
        let definitions = read(definitions);
        assert!(definitions["example.a.v1.One"].is_object() && definitions["example.b.v1.Two"].is_object());
        assert!(read(paths)["/apis/b.example/v1/namespaces/{namespace}/twos/{name}"]["get"].is_object());
        assert_eq!(members(&json!({})), "");
    }
}
