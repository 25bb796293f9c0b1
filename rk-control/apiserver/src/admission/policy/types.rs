//! The type check of validating policies: their expressions against the kinds that their rules name.

use std::sync::Arc;

use rk_api::meta;
use rk_api::resources::{Registry, Resource};
use rk_cel::{CompileError, Env, Record, Type};
use serde_json::{Value, json};

use super::super::expression::{of_policies, variables};
use super::super::matching::texts;

/// Most kinds that a policy is checked against; upstream's figure.
const MOST: usize = 10;

/// The `typeChecking` of a policy's status.
pub(super) fn check(policy: &Value, registry: &Registry) -> Value {
    let spec = meta::at(policy, &["spec"]);
    let rows = rows(spec, registry);
    let mut warnings = Vec::new();
    for (index, validation) in meta::at(spec, &["validations"]).as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let text = meta::text(validation, &[field]);
            let wrong: String = rows.iter().filter_map(|row| wrong(text, spec, row)).collect();
            if !text.is_empty() && !wrong.is_empty() {
                warnings.push(json!({"fieldRef": format!("spec.validations[{index}].{field}"), "warning": wrong}));
            }
        }
    }
    if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) }
}

/// The kinds that the rules name; those with wildcards name none.
fn rows<'a>(spec: &Value, registry: &'a Registry) -> Vec<&'a Resource> {
    let mut out: Vec<&Resource> = Vec::new();
    let rules = meta::at(spec, &["matchConstraints", "resourceRules"]).as_array().into_iter().flatten();
    for rule in rules {
        let (groups, versions, plurals) =
            (texts(rule, "apiGroups"), texts(rule, "apiVersions"), texts(rule, "resources"));
        for group in &groups {
            for version in &versions {
                for plural in &plurals {
                    if let Some(row) = registry.get(group, version, plural)
                        && !out.iter().any(|own| own.gvk == row.gvk)
                    {
                        out.push(row);
                    }
                }
            }
        }
    }
    out.truncate(MOST);
    out
}

/// A custom kind, whose schema says little of its metadata.
struct Custom {
    name: String,
    inner: Type,
}

impl Record for Custom {
    fn name(&self) -> &str {
        &self.name
    }

    fn field(&self, name: &str) -> Option<Type> {
        match &self.inner {
            Type::Record(inner) if name != "metadata" => inner.field(name),
            Type::Record(_) => Some(rk_cel::metadata()),
            _ => Some(Type::Dyn),
        }
    }
}

/// The type of the objects of a resource.
fn of(row: &Resource) -> Type {
    match &row.custom {
        Some(custom) => {
            let inner = rk_cel::of_openapi(&rk_cel::with_identity(&custom.schema), &row.gvk.kind);
            Type::Record(Arc::new(Custom { name: row.gvk.kind.to_string(), inner }))
        }
        None => rk_cel::of_kind(&row.gvk).unwrap_or(Type::Dyn),
    }
}

/// What is wrong with an expression on one kind, as a line.
fn wrong(text: &str, spec: &Value, row: &Resource) -> Option<String> {
    let object = of(row);
    let env = of_policies(meta::at(spec, &["paramKind"]).is_object());
    let mut env = env.with("object", object.clone()).with("oldObject", object).with("variables", variables(&[]));
    let mut known = Vec::new();
    for variable in meta::at(spec, &["variables"]).as_array().into_iter().flatten() {
        let own = env.compile(meta::text(variable, &["expression"]));
        let ty = own.map_or(Type::Dyn, |program| program.output().clone());
        known.push((meta::text(variable, &["name"]).to_owned(), ty));
        env = env.with("variables", variables(&known));
    }
    match Env::compile(&env, text) {
        Err(CompileError::Failed(why)) => Some(format!("{}, Kind={}: {why}\n", row.api_version(), row.gvk.kind)),
        _ => None,
    }
}
