//! What the rules of a schema may cost, one by one and together, told when they are written (upstream's `CELSchemaContext`).

use std::sync::Arc;

use rk_api::meta::{at, text};
use rk_api::status::{FieldErrors, Path};
use rk_cel::{Program, Shape};
use serde_json::Value;

/// What one expression may cost, for all values that one request can hold.
const EXPRESSION: u64 = 10_000_000;
/// What all rules of a schema may cost.
const SCHEMA: u64 = 100_000_000;
/// How many rules are named when all cost too much.
const NAMED: usize = 4;

/// How often a place of a schema may occur in an object, and what stands there.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    /// `None` when no list or map above says how long it may be.
    count: Option<u64>,
    shape: Arc<Shape>,
}

impl Extent {
    /// The whole object.
    pub(super) fn root(schema: &Value) -> Self {
        Self { count: Some(1), shape: Arc::new(Shape::of(schema)) }
    }

    /// A field.
    pub(super) fn field(&self, name: &str, schema: &Value) -> Self {
        Self { count: self.below(schema), shape: self.shape.field(name) }
    }

    /// The elements of a list or the values of a map.
    pub(super) fn inner(&self, schema: &Value) -> Self {
        Self { count: self.below(schema), shape: self.shape.inner() }
    }

    fn below(&self, schema: &Value) -> Option<u64> {
        let limit = match text(schema, &["type"]) {
            "array" => at(schema, &["maxItems"]),
            "object" if !at(schema, &["additionalProperties"]).is_null() => at(schema, &["maxProperties"]),
            _ => return self.count,
        };
        // What is below nothing is nothing.
        let limit = limit.as_i64().map(|limit| u64::try_from(limit).unwrap_or(0))?;
        Some(self.count?.saturating_mul(limit))
    }

    fn cost(&self, program: &Program) -> u64 {
        program.estimate(&[("self", &*self.shape), ("oldSelf", &*self.shape)])
    }
}

/// The costs of the rules of one schema.
#[derive(Debug, Default)]
pub(super) struct Costs {
    total: u64,
    /// The rules that cost most, and where they are.
    most: Vec<(u64, String)>,
}

impl Costs {
    /// Counts a rule at a place and the expression of its message.
    pub(super) fn rule(
        &mut self,
        rule: &Program,
        message: Option<&Program>,
        extent: &Extent,
        path: &Path<'_>,
        errors: &mut FieldErrors,
    ) {
        let times = extent.count.unwrap_or_else(|| extent.shape.most());
        let cost = extent.cost(rule).saturating_mul(times);
        self.count("estimated rule cost", cost, &path.child("rule"), errors);
        if let Some(message) = message {
            let cost = extent.cost(message);
            self.count("estimated messageExpression cost", cost, &path.child("messageExpression"), errors);
        }
    }

    fn count(&mut self, what: &str, cost: u64, path: &Path<'_>, errors: &mut FieldErrors) {
        if cost > EXPRESSION {
            errors.forbidden(path, too_much(what, cost, EXPRESSION));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA / 100 {
            self.most.push((cost, path.to_string()));
            self.most.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.most.truncate(NAMED);
        }
    }

    /// Told when all rules together cost too much.
    pub(super) fn judge(&self, path: &Path<'_>, errors: &mut FieldErrors) {
        if self.total <= SCHEMA {
            return;
        }
        let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        for (_, place) in &self.most {
            errors.forbidden(&Path::new(place), why);
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(path, too_much(what, self.total, SCHEMA));
    }
}

fn too_much(what: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = match times {
        times if times > 100.0 => "more than 100x".to_owned(),
        // Never "1.0x".
        times if times < 1.5 => format!("{times:.6}x"),
        times => format!("{times:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where \
         arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests {
    use rk_cel::{Env, Type, of_openapi};
    use serde_json::json;

    use super::*;

    /// What a message says about a rule for the elements of a list.
    fn told(list: &Value, rule: &str, times: usize) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"list": list}});
        let extent = Extent::root(&schema).field("list", &schema).inner(list);
        let env = Env::new().with("self", of_openapi(&list["items"], "item"));
        let program = env.compile_as(rule, &Type::Bool).unwrap();
        let (mut costs, mut errors) = (Costs::default(), FieldErrors::new());
        for _ in 0..times {
            costs.rule(&program, None, &extent, &Path::new("r"), &mut errors);
        }
        costs.judge(&Path::new("s"), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rule_costs_as_often_as_its_place_may_occur() {
        let text = json!({"type": "string"});
        let bounded = json!({"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10}});
        assert_eq!(told(&bounded, "self.contains('a')", 1), [""; 0]);
        let some = json!({"type": "array", "maxItems": 50, "items": text});
        let why = "r.rule: Forbidden: estimated rule cost exceeds budget by factor of 1.6x (try simplifying the rule, or adding maxItems, \
                   maxProperties, and maxLength where arrays, maps, and strings are declared)";
        assert_eq!(told(&some, "self.contains('a')", 1), [why]);
        let open = json!({"type": "array", "items": text});
        let all = told(&open, "self.contains('a')", 1);
        assert!(all[0].contains("estimated rule cost exceeds budget by factor of more than 100x"), "{all:?}");
        assert!(all[1].starts_with("r.rule: Forbidden: contributed to estimated rule cost total"), "{all:?}");
        let total = "s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of";
        assert!(all[2].starts_with(total), "{all:?}");
    }

    #[test]
    fn rules_that_are_cheap_alone_may_cost_too_much_together() {
        let list = json!({"type": "array", "maxItems": 30, "items": {"type": "string"}});
        let all = told(&list, "self.contains('a')", 11);
        assert_eq!(all.len(), NAMED + 1, "{all:?}");
        assert!(all[NAMED].contains("exceeds budget by factor of 1.038"), "{all:?}");
    }
}
