//! Holding custom objects against the rules of their kind.

use std::sync::Arc;
use std::time::Instant;

use rk_api::custom::{Elements, is_unchanged};
use rk_api::resources::Resource;
use rk_api::status::{ErrorKind, FieldError, FieldErrors, Path};
use rk_cel::{Context, EXPRESSION_LIMIT, Failure, REQUEST_BUDGET, Value as Cel};
use serde_json::Value;

use super::rules::{Node, Rule, Rules};
use crate::metrics::Expressions;

/// Longest text that an expression may make for a message, in bytes; upstream's figure.
const MESSAGE_MAX: usize = 5 * 1024;

/// Adds the rules that an object breaks. Of what did not change they only warn, unless they compare with what was.
pub(crate) fn judge(
    cel: &Expressions,
    resource: &Resource,
    object: &Value,
    old: Option<&Value>,
    errors: &mut FieldErrors,
    warnings: &mut Vec<String>,
) {
    let Some(custom) = &resource.custom else { return };
    let made = custom.made_of_schema(|schema| {
        let begun = Instant::now();
        let rules = Rules::of(schema);
        if rules.node.is_some() {
            cel.compiled(begun.elapsed());
        }
        Arc::new(rules)
    });
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
    let begun = Instant::now();
    let mut judge = Judge { left: REQUEST_BUDGET, errors, warnings };
    judge.place(node, &rules.root, Now::root(&rules.root, object, old), &Path::ROOT);
    cel.evaluated(begun.elapsed());
}

/// A value, and what it was.
#[derive(Clone, Copy)]
struct Now<'v> {
    value: &'v Value,
    old: Option<&'v Value>,
    /// Whether it is as it was, or lies in what is.
    same: bool,
}

impl<'v> Now<'v> {
    fn root(schema: &Value, value: &'v Value, old: Option<&'v Value>) -> Self {
        Self { value, old, same: old.is_some_and(|old| is_unchanged(schema, old, value)) }
    }

    fn below(self, schema: &Value, value: &'v Value, old: Option<&'v Value>) -> Self {
        if self.same { Self { value, old, same: true } } else { Self::root(schema, value, old) }
    }
}

struct Judge<'e> {
    /// What is left of the budget.
    left: u64,
    errors: &'e mut FieldErrors,
    warnings: &'e mut Vec<String>,
}

impl Judge<'_> {
    fn place(&mut self, node: &Node, schema: &Value, now: Now<'_>, path: &Path<'_>) {
        if now.value.is_null() {
            return;
        }
        for rule in &node.rules {
            let first = rule.transition && !rule.optional_old && now.old.is_none();
            if self.left > 0 && !first {
                self.rule(rule, schema, now, path);
            }
        }
        let inner = |key: &str| schema.get(key).unwrap_or(&Value::Null);
        match now.value {
            Value::Object(members) => {
                for (name, value) in members {
                    let before = now.old.and_then(|old| old.get(name));
                    let field = inner("properties").get(name).unwrap_or(&Value::Null);
                    if let Some(node) = node.fields.get(name) {
                        self.place(node, field, now.below(field, value, before), &path.child(name));
                    } else if let Some(node) = &node.values {
                        let values = inner("additionalProperties");
                        self.place(node, values, now.below(values, value, before), &path.key(name));
                    }
                }
            }
            Value::Array(list) => {
                let Some(node) = &node.items else { return };
                let (items, known) = (inner("items"), now.old.and_then(|old| Elements::of(schema, old)));
                for (index, item) in list.iter().enumerate() {
                    let before = known.as_ref().and_then(|known| known.get(item));
                    self.place(node, items, now.below(items, item, before), &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, rule: &Rule, schema: &Value, now: Now<'_>, path: &Path<'_>) {
        let mut context = Context::new(self.left);
        context.set("self", Cel::typed(now.value, Some(schema)));
        let before = now.old.map(|old| Cel::typed(old, Some(schema)));
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
        self.left = context.left();
        match outcome {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => {
                let told = message(rule, &mut context);
                self.left = if told.is_ok() { context.left() } else { 0 };
                self.broken(rule, ty, now, path, told);
            }
            Err(Failure::Cost) if self.left == 0 => {
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
            }
            Err(Failure::Error(why)) if why.starts_with("no such overload") => {
                let why = format!(
                    "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {text}"
                );
                self.errors.invalid(shown, ty, why);
            }
            Err(failure) => self.errors.invalid(shown, ty, format!("{failure} evaluating rule: {text}")),
        }
    }

    /// Tells of a broken rule what it says, or why it could not say it.
    fn broken(&mut self, rule: &Rule, ty: &str, now: Now<'_>, path: &Path<'_>, told: Result<String, String>) {
        let place = format!("{path}{}", rule.field);
        let place = place.strip_prefix('.').unwrap_or(&place);
        let path = if place.is_empty() { "<nil>" } else { place }.to_owned();
        let error = match told {
            Err(detail) => {
                FieldError { kind: ErrorKind::Invalid, path, value: Value::from(ty), detail, unshown: false }
            }
            Ok(detail) => {
                let unshown = matches!(ty, "object" | "array");
                let value = if unshown { Value::Null } else { now.value.clone() };
                // Upstream drops the words about what is there twice.
                let detail = if rule.kind == ErrorKind::Duplicate { String::new() } else { detail };
                FieldError { kind: rule.kind, path, value, detail, unshown }
            }
        };
        // What stood there already is let be.
        if now.same && !rule.transition {
            self.warnings.push(error.to_string());
        } else {
            self.errors.0.push(error);
        }
    }
}

/// What a broken rule says: its own expression's words, its message, or itself; in an error, why no other rule is judged.
fn message<'a>(rule: &'a Rule, context: &mut Context<'a>) -> Result<String, String> {
    let told = rule.message_program.as_ref().map(|program| context.run(program, EXPRESSION_LIMIT));
    let own = match told {
        Some(Ok(Cel::Str(text))) => text.as_str().trim().to_owned(),
        Some(Err(Failure::Cost)) if context.left() == 0 => {
            let why = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
            return Err(why.to_owned());
        }
        Some(Err(Failure::Cost)) => {
            let why = "no further validation rules will be run due to call cost exceeds limit for messageExpression";
            return Err(format!("{why}: {:?}", rule.message_text));
        }
        _ => String::new(),
    };
    if !own.is_empty() && !own.contains('\n') && own.len() <= MESSAGE_MAX {
        return Ok(own);
    }
    Ok(if rule.message.is_empty() { format!("failed rule: {}", rule.text) } else { rule.message.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is refused, and what is warned of.
    fn judged(schema: &Value, old: Option<&Value>, new: &Value) -> (Vec<String>, Vec<String>) {
        let rules = Rules::of(schema);
        let (mut errors, mut warnings) = (FieldErrors::new(), Vec::new());
        let mut judge = Judge { left: REQUEST_BUDGET, errors: &mut errors, warnings: &mut warnings };
        let node = rules.node.as_ref().unwrap();
        judge.place(node, &rules.root, Now::root(&rules.root, new, old), &Path::ROOT);
        (errors.0.iter().map(ToString::to_string).collect(), warnings)
    }

    #[test]
    fn what_stood_there_already_is_warned_of() {
        let small = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self < 5", "message": "small"}]});
        let grows =
            json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > oldSelf", "message": "grows"}]});
        let schema = json!({"type": "object", "properties": {
            "one": small, "grows": grows, "list": {"type": "array", "items": small},
            "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": small}}}}});
        let old = json!({"one": 7, "grows": 1, "list": [8], "keyed": [{"k": "a", "v": 9}]});
        let (errors, warnings) = judged(&schema, Some(&old), &old);
        assert_eq!(errors, ["grows: Invalid value: 1: grows"]);
        let (keyed, list, one) =
            ("keyed[0].v: Invalid value: 9: small", "list[0]: Invalid value: 8: small", "one: Invalid value: 7: small");
        assert_eq!(warnings, [keyed, list, one]);
        // What cannot be told from what was is as new as the list that it stands in.
        let new = json!({"one": 6, "grows": 2, "list": [8, 1], "keyed": [{"k": "b"}, {"k": "a", "v": 9}]});
        let (errors, warnings) = judged(&schema, Some(&old), &new);
        assert_eq!(errors, ["list[0]: Invalid value: 8: small", "one: Invalid value: 6: small"]);
        assert_eq!(warnings, ["keyed[1].v: Invalid value: 9: small"]);
        let (errors, warnings) = judged(&schema, None, &old);
        assert_eq!((errors.as_slice(), warnings.len()), ([keyed, list, one].map(str::to_owned).as_slice(), 0));
    }

    #[test]
    fn a_message_that_cannot_be_made_is_that_of_the_rule() {
        for (expression, expected) in [
            ("'got ' + string(self)", "got 7"),
            ("' '", "failed rule: self < 5"),
            ("string(self / 0)", "failed rule: self < 5"),
            ("lists.range(6000).map(i, 'x').join()", "failed rule: self < 5"),
        ] {
            let rule = json!({"rule": "self < 5", "messageExpression": expression});
            let schema = json!({"type": "object", "properties": {
                "one": {"type": "integer", "x-kubernetes-validations": [rule]}}});
            let (errors, _) = judged(&schema, None, &json!({"one": 7}));
            assert_eq!(errors, [format!("one: Invalid value: 7: {expected}")], "{expression}");
        }
    }
}
