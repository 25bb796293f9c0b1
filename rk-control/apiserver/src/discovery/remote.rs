//! What other servers add to the document of OpenAPI v2, beside what is there already.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use serde_json::Value;

use super::added::{Added, Part};
use super::merged::{Known, merged};

/// What all other servers add.
pub(super) struct Remote {
    /// `None` when all of it is there already.
    pub part: Option<Part>,
    /// The definitions and paths that they tell of, by their names there and here: what else comes or goes by one of these may change it.
    names: BTreeSet<String>,
}

impl Remote {
    /// What documents add, by priority, to the built-in one and those of added kinds. `None` when there are none.
    pub(super) fn new(documents: &[Arc<Value>], custom: &Added) -> Option<Arc<Self>> {
        if documents.is_empty() {
            return None;
        }
        let known = Texts::read(custom).inspect_err(|error| tracing::error!(%error, "no document to add to")).ok()?;
        let (definitions, paths) = merged(documents, &known);
        let told = documents.iter().flat_map(|document| [document.get("definitions"), document.get("paths")]);
        let told = told.flatten().filter_map(Value::as_object).flat_map(|members| members.keys());
        let names: BTreeSet<String> = told.chain(definitions.keys()).chain(paths.keys()).cloned().collect();
        let is_nothing = definitions.is_empty() && paths.is_empty();
        Some(Arc::new(Self { part: (!is_nothing).then(|| Part::new(definitions, paths)), names }))
    }

    /// Whether it depends on what another part tells of: on a definition or a path that both name.
    pub(super) fn depends_on(&self, other: &Part) -> bool {
        let mut text = String::new();
        let is_read = other.definitions(&mut text).and_then(|_| other.paths(&mut text));
        is_read.is_err() || self.names.iter().any(|name| member(&text, name).is_some())
    }
}

/// The built-in document of OpenAPI v2, and the members that added kinds bring.
struct Texts([String; 2]);

impl Texts {
    fn read(custom: &Added) -> io::Result<Self> {
        let mut added = String::new();
        for group in custom {
            group.v2.definitions(&mut added)?;
            group.v2.paths(&mut added)?;
        }
        Ok(Self([rk_openapi::v2().text()?, added]))
    }
}

impl Known for Texts {
    fn definition(&self, name: &str) -> Option<Value> {
        self.0.iter().find_map(|text| parsed(member(text, name)?))
    }

    fn has_path(&self, path: &str) -> bool {
        self.0.iter().any(|text| member(text, path).is_some())
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
