//! The whole documents.

use std::collections::BTreeMap;

use rk_api::resources::{GroupVersionKind, Registry};
use rk_api::schema::Schema;
use serde_json::{Map, Value, json};

use crate::descriptions::Descriptions;
use crate::names::PATCH;
use crate::paths::Paths;
use crate::schemas::{Schemas, kinds};
use crate::spec::Spec;

/// The version that the documents name.
const VERSION: &str = "v1.36.0";

/// All documents.
pub struct Documents {
    /// By path below `/openapi/v3/`, such as `apis/apps/v1`.
    pub v3: BTreeMap<String, Value>,
    pub v2: Value,
    /// The schemas that every document of version 3 refers to, by name.
    pub common: Value,
}

/// Builds them.
pub fn all() -> Documents {
    let registry = Registry::builtin();
    let descriptions = Descriptions::collect();
    let kinds = kinds(&registry);
    let mut v3 = BTreeMap::new();
    for group in registry.group_versions() {
        let path = match &*group.group {
            "" => format!("api/{}", group.version),
            named => format!("apis/{named}/{}", group.version),
        };
        let of_group = |gvk: &GroupVersionKind| gvk.group == group.group && gvk.version == group.version;
        let (schemas, paths) = build(&registry, &descriptions, &kinds, Spec::V3, of_group);
        let document = json!({
            "openapi": "3.0.0", "info": info(), "paths": paths,
            "components": {"schemas": schemas, "securitySchemes": security()},
        });
        v3.insert(path, document);
    }
    let (definitions, paths) = build(&registry, &descriptions, &kinds, Spec::V2, |_| true);
    let v2 = json!({
        "swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions,
        "securityDefinitions": security(), "security": [{"BearerToken": []}],
    });
    Documents { v3, v2, common: common(&descriptions, &kinds) }
}

fn build(
    registry: &Registry,
    descriptions: &Descriptions,
    kinds: &BTreeMap<String, Vec<GroupVersionKind>>,
    spec: Spec,
    wanted: impl Fn(&GroupVersionKind) -> bool,
) -> (BTreeMap<String, Value>, Map<String, Value>) {
    let mut schemas = Schemas::new(spec, descriptions, kinds);
    for common in ["DeleteOptions", "Status"] {
        assert!(Schema::named(&format!("meta/v1.{common}")).is_some(), "{common} is a type of the API");
        schemas.add(&format!("meta/v1.{common}"));
    }
    let mut paths = Paths::new(spec, &mut schemas);
    for resource in registry.iter().filter(|resource| wanted(&resource.gvk)) {
        paths.resource(resource);
    }
    let paths = paths.finish();
    schemas.done.insert(PATCH.to_owned(), patch());
    (schemas.done, paths)
}

fn patch() -> Value {
    json!({"description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.",
        "type": "object"})
}

/// What documents of kinds added at run time refer to.
fn common(descriptions: &Descriptions, kinds: &BTreeMap<String, Vec<GroupVersionKind>>) -> Value {
    let mut schemas = Schemas::new(Spec::V3, descriptions, kinds);
    for name in
        ["meta/v1.DeleteOptions", "meta/v1.ListMeta", "meta/v1.ObjectMeta", "meta/v1.Status", "autoscaling/v1.Scale"]
    {
        schemas.add(name);
    }
    schemas.done.insert(PATCH.to_owned(), patch());
    json!(schemas.done)
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": VERSION})
}

fn security() -> Value {
    json!({"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"}})
}
