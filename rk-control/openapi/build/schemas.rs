//! Types as OpenAPI schemas, for both versions of the specification.

use std::collections::BTreeMap;

use rk_api::resources::{GroupVersionKind, Registry, Resource};
use rk_api::schema::{Lists, Schema, Shape};
use serde_json::{Map, Value, json};

use crate::descriptions::Descriptions;
use crate::names::{FIELDS_V1, INT_OR_STRING, LIST_META, MICRO_TIME, QUANTITY, RAW_EXTENSION, TIME, openapi_name};
use crate::spec::{Kinds, Spec, gvk_value};
use crate::values::{self, Values};

/// Collects schemas and everything that they refer to.
pub struct Schemas<'a> {
    spec: Spec,
    descriptions: &'a Descriptions,
    kinds: &'a BTreeMap<String, Vec<GroupVersionKind>>,
    values: Values,
    /// Schemas by OpenAPI name.
    pub done: BTreeMap<String, Value>,
}

/// Which group, version and kind each type of the registry is.
pub fn kinds(registry: &Registry) -> BTreeMap<String, Vec<GroupVersionKind>> {
    let mut kinds: BTreeMap<String, Vec<GroupVersionKind>> = BTreeMap::new();
    let subresources = registry.iter().flat_map(|resource| resource.subresources.iter().map(|sub| sub.gvk.clone()));
    for gvk in registry.iter().map(|resource| resource.gvk.clone()).chain(subresources) {
        let Some(schema) = Schema::of_kind(&gvk) else { continue };
        let known = kinds.entry(openapi_name(schema.type_name())).or_default();
        if !known.contains(&gvk) {
            known.push(gvk);
        }
    }
    kinds
}

impl<'a> Schemas<'a> {
    /// No schemas yet, for documents of version `spec`.
    pub fn new(spec: Spec, descriptions: &'a Descriptions, kinds: &'a BTreeMap<String, Vec<GroupVersionKind>>) -> Self {
        Self { spec, descriptions, kinds, values: Values::read(), done: BTreeMap::new() }
    }

    /// Adds a type of rk-api's tables and all that it reaches.
    pub fn add(&mut self, name: &str) {
        if let Some(schema) = Schema::named(name) {
            self.named(&schema);
        }
    }

    fn named(&mut self, schema: &Schema) -> String {
        let name = openapi_name(schema.type_name());
        if self.done.contains_key(&name) {
            return name;
        }
        // Types may contain themselves (JSON schemas do): the place is taken before the fields are looked at.
        self.done.insert(name.clone(), Value::Null);
        let mut object = Map::new();
        if let Some(text) = self.descriptions.of_type(&name) {
            object.insert("description".into(), text.clone());
        }
        object.insert("type".into(), json!("object"));
        let mut properties = if schema.is_kind() { type_meta(self.descriptions, &name) } else { Map::new() };
        let mut required = Vec::new();
        for (field, place) in schema.fields() {
            let mut value = self.place(&place);
            if let Some(text) = self.descriptions.of_field(&name, field) {
                value["description"] = text.clone();
            }
            self.tell(schema.type_name(), field, &place, &mut value);
            properties.insert(field.to_owned(), self.spec.alone(value));
            if place.is_required() {
                required.push(field);
            }
        }
        if !properties.is_empty() {
            object.insert("properties".into(), properties.into());
        }
        if !required.is_empty() {
            let order = schema.names_by_number();
            required.sort_by_key(|field| order.iter().position(|own| own == field).unwrap_or(usize::MAX));
            object.insert("required".into(), json!(required));
        }
        // A field may be owned part by part although its type is owned as a whole: the type says what is its own.
        if Schema::named(schema.type_name()).is_some_and(|own| own.is_atomic()) {
            object.insert("x-kubernetes-map-type".into(), json!("atomic"));
        }
        if let Some(unions) = self.values.unions(schema.type_name()) {
            object.insert("x-kubernetes-unions".into(), unions.clone());
        }
        if let Some(gvks) = self.kinds.get(&name) {
            object.insert("x-kubernetes-group-version-kind".into(), gvks.iter().map(gvk_value).collect());
        }
        self.done.insert(name.clone(), object.into());
        name
    }

    /// What the table tells of a field beside its type.
    fn tell(&self, owner: &str, field: &str, place: &Schema, value: &mut Value) {
        if let Some(words) = self.values.words(owner, field) {
            let words = words.clone();
            match place.shape() {
                Shape::List => value["items"]["enum"] = words,
                Shape::Map => value["additionalProperties"]["enum"] = words,
                _ => value["enum"] = words,
            }
        }
        if self.spec == Spec::V3
            && let Some(default) = self.values.default_of(owner, field, place)
        {
            value["default"] = default;
        }
    }

    /// A field, without its description.
    fn place(&mut self, schema: &Schema) -> Value {
        let mut value = match schema.shape() {
            Shape::Object => {
                let name = self.named(schema);
                self.spec.reference(&name)
            }
            Shape::List => {
                let items = self.inner(&schema.item());
                json!({"type": "array", "items": items})
            }
            Shape::Map => {
                let mut values = self.inner(&schema.item());
                // Only fields say how lists merge.
                if let Some(list) = values.as_object_mut() {
                    list.remove("x-kubernetes-list-type");
                }
                json!({"type": "object", "additionalProperties": values})
            }
            Shape::String => json!({"type": "string"}),
            Shape::Bytes => json!({"type": "string", "format": "byte"}),
            Shape::Bool => json!({"type": "boolean"}),
            Shape::Int32 => json!({"type": "integer", "format": "int32"}),
            Shape::Int64 => json!({"type": "integer", "format": "int64"}),
            Shape::Double => json!({"type": "number", "format": "double"}),
            Shape::Quantity => self.scalar(QUANTITY, either(self.spec, ["string", "number"])),
            Shape::Time => self.scalar(TIME, json!({"type": "string", "format": "date-time"})),
            Shape::MicroTime => self.scalar(MICRO_TIME, json!({"type": "string", "format": "date-time"})),
            Shape::IntOrString => {
                let mut form = either(self.spec, ["integer", "string"]);
                form["format"] = json!("int-or-string");
                self.scalar(INT_OR_STRING, form)
            }
            Shape::Any => self.any(schema),
        };
        self.semantics(schema, &mut value);
        value
    }

    /// What stands in a list or map.
    fn inner(&mut self, schema: &Schema) -> Value {
        let value = match schema.shape() {
            Shape::Object => {
                let name = self.named(schema);
                self.spec.reference(&name)
            }
            _ => self.place(schema),
        };
        self.present(value, schema.shape())
    }

    /// What cannot be absent: version 3 tells its zero value.
    fn present(&self, mut value: Value, shape: Shape) -> Value {
        if self.spec == Spec::V3
            && let Some(zero) = values::zero(shape)
        {
            value["default"] = zero;
        }
        self.spec.alone(value)
    }

    fn scalar(&mut self, name: &str, mut schema: Value) -> Value {
        if let Some(text) = self.descriptions.of_type(name) {
            schema["description"] = text.clone();
        }
        self.done.insert(name.to_owned(), schema);
        self.spec.reference(name)
    }

    /// A type that holds any JSON: some say that it is an object, those of JSON schemas say nothing.
    fn any(&mut self, schema: &Schema) -> Value {
        match schema.any_name() {
            "" => json!({"type": "object"}),
            "RawExtension" => self.scalar(RAW_EXTENSION, json!({"type": "object"})),
            "FieldsV1" => self.scalar(FIELDS_V1, json!({"type": "object"})),
            name => self.scalar(&openapi_name(&format!("apiextensions/v1.{name}")), json!({})),
        }
    }

    /// The extensions that say how lists, maps and objects merge.
    fn semantics(&self, schema: &Schema, value: &mut Value) {
        match schema.shape() {
            Shape::List => {
                let kind = match schema.lists() {
                    Lists::Atomic => "atomic",
                    Lists::Set => "set",
                    Lists::Map => "map",
                };
                value["x-kubernetes-list-type"] = json!(kind);
                let keys: Vec<&str> = schema.list_keys().collect();
                if !keys.is_empty() {
                    value["x-kubernetes-list-map-keys"] = json!(keys);
                }
                if !schema.merge_key().is_empty() {
                    value["x-kubernetes-patch-merge-key"] = json!(schema.merge_key());
                }
            }
            Shape::Map if schema.is_atomic() => value["x-kubernetes-map-type"] = json!("atomic"),
            Shape::Map | Shape::Object if schema.is_granular() => value["x-kubernetes-map-type"] = json!("granular"),
            _ => {}
        }
        let strategies = [
            ("merge", schema.patch_merges()),
            ("replace", schema.patch_replaces()),
            ("retainKeys", schema.patch_retains_keys()),
        ];
        let strategies: Vec<&str> = strategies.iter().filter(|(_, holds)| *holds).map(|(name, _)| *name).collect();
        if !strategies.is_empty() {
            value["x-kubernetes-patch-strategy"] = json!(strategies.join(","));
        }
    }
}

/// What is written in either of two forms; version 2 can name but one.
fn either(spec: Spec, types: [&str; 2]) -> Value {
    match spec {
        Spec::V2 => json!({"type": "string"}),
        Spec::V3 => json!({"oneOf": types.map(|own| json!({"type": own}))}),
    }
}

fn type_meta(descriptions: &Descriptions, name: &str) -> Map<String, Value> {
    let field = |field| {
        let mut value = json!({"type": "string"});
        if let Some(text) = descriptions.of_field(name, field) {
            value["description"] = text.clone();
        }
        (field.to_owned(), value)
    };
    [field("apiVersion"), field("kind")].into_iter().collect()
}

impl Kinds for Schemas<'_> {
    fn kind(&mut self, gvk: &GroupVersionKind) -> Option<String> {
        let schema = Schema::of_kind(gvk)?;
        Some(self.named(&schema))
    }

    fn list(&mut self, resource: &Resource) -> Option<String> {
        let gvk = &resource.gvk;
        let item = self.kind(gvk)?;
        let meta = self.named(&Schema::named("meta/v1.ListMeta")?);
        assert_eq!(meta, LIST_META);
        let name = format!("{item}List");
        let items = json!({"description": format!("List of {}.", resource.plural), "type": "array",
            "items": self.present(self.spec.reference(&item), Shape::Object)});
        let mut metadata = self.spec.reference(LIST_META);
        metadata["description"] = json!("Standard list metadata.");
        let metadata = self.present(metadata, Shape::Object);
        let mut properties = type_meta(self.descriptions, &item);
        properties.insert("items".into(), items);
        properties.insert("metadata".into(), metadata);
        let list = GroupVersionKind::new(gvk.group.clone(), gvk.version.clone(), format!("{}List", gvk.kind));
        let schema = json!({
            "description": format!("{}List is a list of {} objects.", gvk.kind, gvk.kind),
            "type": "object", "required": ["items"], "properties": properties,
            "x-kubernetes-group-version-kind": [gvk_value(&list)],
        });
        self.done.insert(name.clone(), schema);
        Some(name)
    }
}
