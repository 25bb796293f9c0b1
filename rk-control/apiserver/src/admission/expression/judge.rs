//! Holding custom objects against the rules of their kind.

use std::sync::Arc;

use rk_api::custom::Elements;
use rk_api::resources::Resource;
use rk_api::status::{ErrorKind, FieldError, FieldErrors, Path};
use rk_cel::{Context, EXPRESSION_LIMIT, Failure, REQUEST_BUDGET, Value as Cel};
use serde_json::Value;

use super::rules::{Node, Rule, Rules};

/// Adds the rules that an object breaks. Rules of what did not change are let be, unless they compare with what was.
pub(crate) fn judge(resource: &Resource, object: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let Some(custom) = &resource.custom else { return };
    let made = custom.made_of_schema(|schema| Arc::new(Rules::of(schema)));
    let Some(rules) = made.downcast_ref::<Rules>() else { return };
    let Some(node) = &rules.node else { return };
    let blocks = |kind: ErrorKind| {
        use ErrorKind::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
        matches!(kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
    };
    if errors.0.iter().any(|error| blocks(error.kind)) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        errors.invalid(&Path::new("<nil>"), Value::Null, why);
        return;
    }
    let mut judge = Judge { left: REQUEST_BUDGET, errors };
    judge.place(node, &rules.root, object, old, &Path::ROOT);
}

struct Judge<'e> {
    /// What is left of the budget.
    left: u64,
    errors: &'e mut FieldErrors,
}

impl Judge<'_> {
    fn place(&mut self, node: &Node, schema: &Value, value: &Value, old: Option<&Value>, path: &Path<'_>) {
        if value.is_null() {
            return;
        }
        for rule in &node.rules {
            let unchanged = !rule.transition && old == Some(value);
            let first = rule.transition && !rule.optional_old && old.is_none();
            if self.left > 0 && !unchanged && !first {
                self.rule(rule, schema, value, old, path);
            }
        }
        let inner = |key: &str| schema.get(key).unwrap_or(&Value::Null);
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let before = old.and_then(|old| old.get(name));
                    let field = inner("properties").get(name).unwrap_or(&Value::Null);
                    if let Some(node) = node.fields.get(name) {
                        self.place(node, field, value, before, &path.child(name));
                    } else if let Some(node) = &node.values {
                        self.place(node, inner("additionalProperties"), value, before, &path.key(name));
                    }
                }
            }
            Value::Array(items) => {
                let Some(node) = &node.items else { return };
                let known = old.and_then(|old| Elements::of(schema, old));
                for (index, item) in items.iter().enumerate() {
                    let before = known.as_ref().and_then(|known| known.get(item));
                    self.place(node, inner("items"), item, before, &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, rule: &Rule, schema: &Value, value: &Value, old: Option<&Value>, path: &Path<'_>) {
        let mut context = Context::new(self.left);
        context.set("self", Cel::typed(value, Some(schema)));
        let before = old.map(|old| Cel::typed(old, Some(schema)));
        match (rule.optional_old, before) {
            (true, before) => context.set("oldSelf", Cel::Optional(before.map(Arc::new))),
            (false, Some(before)) => context.set("oldSelf", before),
            (false, None) => {}
        }
        let outcome = context.run(&rule.program, EXPRESSION_LIMIT);
        let ty = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        let text = if rule.message.is_empty() { &rule.text } else { &rule.message };
        // The root has no name.
        let unnamed = Path::new("<nil>");
        let shown = if path.to_string().is_empty() { &unnamed } else { path };
        match outcome {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => {
                let detail = message(rule, &mut context);
                let below = format!("{path}{}", rule.field);
                let below = below.strip_prefix('.').unwrap_or(&below);
                let place = if below.is_empty() { unnamed } else { Path::new(below) };
                // Upstream drops the words about what is there twice.
                let detail = if rule.kind == ErrorKind::Duplicate { String::new() } else { detail };
                let unshown = matches!(ty, "object" | "array");
                let value = if unshown { Value::Null } else { value.clone() };
                self.errors.0.push(FieldError { kind: rule.kind, path: place.to_string(), value, detail, unshown });
            }
            Err(Failure::Cost) if context.left() == 0 => {
                let why =
                    "validation failed due to running out of cost budget, no further validation rules will be run";
                self.errors.invalid(shown, ty, why);
            }
            Err(Failure::Cost) => {
                let why = format!(
                    "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {text}",
                    Failure::Cost
                );
                self.errors.invalid(shown, ty, why);
                self.left = 0;
                return;
            }
            Err(Failure::Error(why)) if why.starts_with("no such overload") => {
                let why = format!(
                    "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {text}"
                );
                self.errors.invalid(shown, ty, why);
            }
            Err(failure) => self.errors.invalid(shown, ty, format!("{failure} evaluating rule: {text}")),
        }
        self.left = context.left();
    }
}

/// What a broken rule says: its own expression's words, its message, or itself.
fn message<'a>(rule: &'a Rule, context: &mut Context<'a>) -> String {
    let told = rule.message_program.as_ref().and_then(|program| match context.run(program, EXPRESSION_LIMIT) {
        Ok(Cel::Str(text)) => {
            Some(text.as_str().trim().to_owned()).filter(|text| !text.is_empty() && !text.contains('\n'))
        }
        _ => None,
    });
    told.unwrap_or_else(|| {
        if rule.message.is_empty() { format!("failed rule: {}", rule.text) } else { rule.message.clone() }
    })
}
