//! What a version of a custom kind has that built-in kinds do not.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use regex_lite::Regex;
use serde_json::Value;

use super::columns::Columns;
use super::{default, embedded, rules, scaled};
use crate::decode::{Form, fit};
use crate::meta::at;
use crate::pattern;
use crate::schema::Schema;
use crate::status::{ErrorKind, FieldError, FieldErrors, Path};

/// Where the scale subresource finds its numbers, as paths of field names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// Wanted replicas.
    pub spec: Vec<String>,
    /// Present replicas.
    pub status: Vec<String>,
    /// The selector as text; empty for none.
    pub selector: Vec<String>,
}

/// The webhook that converts between the versions of a kind.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversionWebhook {
    /// Its `clientConfig`.
    pub client: Value,
    /// The version of the questions that it understands.
    pub version: String,
}

impl ConversionWebhook {
    fn of(conversion: &Value) -> Option<Self> {
        let versions = at(conversion, &["webhook", "conversionReviewVersions"]).as_array().into_iter().flatten();
        let known = versions.filter_map(Value::as_str).find(|version| matches!(*version, "v1" | "v1beta1"));
        let client = at(conversion, &["webhook", "clientConfig"]).clone();
        (at(conversion, &["strategy"]) == "Webhook").then(|| Self { client, version: known.unwrap_or("v1").to_owned() })
    }
}

/// One version of a custom kind.
#[derive(Debug)]
pub struct CustomKind {
    /// `openAPIV3Schema`, as it was written.
    pub schema: Value,
    /// Whether the status is a subresource.
    pub has_status: bool,
    /// The scale subresource, if there is one.
    pub scale: Option<ScalePaths>,
    /// Fields that field selectors may name: `spec.color`.
    pub selectable: Vec<String>,
    /// Printer columns.
    pub columns: Columns,
    /// What using the version is warned of.
    pub deprecation: Option<String>,
    /// The kind of lists.
    pub list_kind: String,
    /// The webhook that makes other versions, if one does.
    pub conversion: Option<ConversionWebhook>,
    patterns: HashMap<String, Regex>,
    /// Whether objects of the kind hold whole objects.
    embeds: bool,
    /// Whether a status that is not there has a default.
    has_default_status: bool,
    /// What others made of the schema.
    made: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl CustomKind {
    /// From a definition and one of its versions.
    pub(super) fn new(definition: &Value, version: &Value) -> Self {
        let schema = at(version, &["schema", "openAPIV3Schema"]).clone();
        let mut patterns = HashMap::new();
        collect_patterns(&schema, &mut patterns);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = at(definition, &["spec", "names", "kind"]);
        let list_kind = text(at(definition, &["spec", "names", "listKind"]));
        let scale = at(version, &["subresources", "scale"]);
        Self {
            has_status: at(version, &["subresources", "status"]).is_object(),
            scale: scale.is_object().then(|| ScalePaths {
                spec: steps(at(scale, &["specReplicasPath"])),
                status: steps(at(scale, &["statusReplicasPath"])),
                selector: steps(at(scale, &["labelSelectorPath"])),
            }),
            selectable: at(version, &["selectableFields"])
                .as_array()
                .into_iter()
                .flatten()
                .map(|field| steps(at(field, &["jsonPath"])).join("."))
                .collect(),
            columns: Columns::of(at(version, &["additionalPrinterColumns"])),
            deprecation: (at(version, &["deprecated"]) == &Value::Bool(true)).then(|| deprecation(definition, version)),
            list_kind: if list_kind.is_empty() { format!("{}List", text(kind)) } else { list_kind },
            conversion: ConversionWebhook::of(at(definition, &["spec", "conversion"])),
            patterns,
            embeds: embedded::is_named(&schema),
            has_default_status: schema.pointer("/properties/status/default").is_some(),
            made: OnceLock::new(),
            schema,
        }
    }

    /// Brings a stored object into the form of its version: unknown fields go, defaults come.
    pub fn complete(&self, object: &mut Value, schema: &Schema) {
        self.prune(object, schema);
        self.default(object);
    }

    /// Takes out what this version does not know.
    pub fn prune(&self, object: &mut Value, schema: &Schema) {
        // Objects that were valid once stay readable whatever became of the schema.
        let _ = fit(object, schema, Form::Canonical);
    }

    /// Whether an object from which the status was taken gets another by [`Self::default`].
    pub fn has_default_status(&self) -> bool {
        self.has_default_status
    }

    /// Fills in defaults.
    pub fn default(&self, object: &mut Value) {
        default::apply(object, &self.schema);
    }

    /// What `make` makes of the schema, made once: compiled rules live as long as the kind.
    pub fn made_of_schema(
        &self,
        make: impl FnOnce(&Value) -> Arc<dyn Any + Send + Sync>,
    ) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(self.made.get_or_init(|| make(&self.schema)))
    }

    /// Holds an object against the rules of its schema.
    pub fn validate(&self, object: &Value, errors: &mut FieldErrors) {
        rules::Judge { patterns: &self.patterns, strict_either: true }.root(object, &self.schema, errors);
        self.judge_embedded(object, errors);
    }

    /// Holds what the scale subresource shows of an object against its rules; what is wanted only where a request can change it.
    pub fn validate_scale(&self, object: &Value, wanted: bool, errors: &mut FieldErrors) {
        if let Some(paths) = &self.scale {
            scaled::check(paths, object, wanted, errors);
        }
    }

    /// Holds a changed object against the rules. What is as it was is let pass (KEP-4008), and so are equal elements where there were some.
    pub fn validate_update(&self, new: &Value, old: &Value, errors: &mut FieldErrors) {
        let mut found = FieldErrors::new();
        rules::Judge { patterns: &self.patterns, strict_either: true }.changed(new, old, &self.schema, &mut found);
        let is_double = |error: &FieldError| error.kind == ErrorKind::Duplicate;
        if found.0.iter().any(is_double) {
            let mut before = FieldErrors::new();
            self.validate(old, &mut before);
            let known = before.0.iter().any(is_double);
            found.0.retain(|error| !(known && is_double(error)));
        }
        errors.extend(found);
        // Judged anew whatever it was before.
        self.judge_embedded(new, errors);
    }

    /// Judges the objects within an object; most kinds have none.
    fn judge_embedded(&self, object: &Value, errors: &mut FieldErrors) {
        if self.embeds {
            embedded::walk(object, &self.schema, &Path::ROOT, errors);
        }
    }
}

impl PartialEq for CustomKind {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema && self.columns == other.columns && self.scale == other.scale
    }
}

fn deprecation(definition: &Value, version: &Value) -> String {
    let own = at(version, &["deprecationWarning"]).as_str().unwrap_or_default();
    if !own.is_empty() {
        return own.to_owned();
    }
    let text = |path: &[&str]| at(definition, path).as_str().unwrap_or_default().to_owned();
    let name = at(version, &["name"]).as_str().unwrap_or_default();
    format!("{}/{name} {} is deprecated", text(&["spec", "group"]), text(&["spec", "names", "kind"]))
}

/// The field names of a simple path: `.spec.replicas`.
fn steps(path: &Value) -> Vec<String> {
    let text = path.as_str().unwrap_or_default().trim_start_matches('.');
    text.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect()
}

/// The keywords under which a schema holds other schemas: one, a list, or a map of them.
pub(super) fn children<'a>(schema: &'a Value, found: &mut dyn FnMut(&'a Value)) {
    for key in ["items", "additionalProperties", "not"] {
        if let Some(child @ Value::Object(_)) = schema.get(key) {
            found(child);
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        schema.get(key).and_then(Value::as_array).into_iter().flatten().for_each(&mut *found);
    }
    schema.get("properties").and_then(Value::as_object).into_iter().flatten().for_each(|(_, child)| found(child));
}

pub(super) fn collect_patterns(schema: &Value, patterns: &mut HashMap<String, Regex>) {
    if let Some(text) = schema.get("pattern").and_then(Value::as_str)
        && !patterns.contains_key(text)
        && let Ok(pattern) = pattern::compile(text, pattern::MAX_SIZE)
    {
        patterns.insert(text.to_owned(), pattern);
    }
    children(schema, &mut |child| collect_patterns(child, patterns));
}
