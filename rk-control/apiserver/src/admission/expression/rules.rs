//! `x-kubernetes-validations`: the rules of custom kinds, compiled along their schema.

use std::collections::BTreeMap;

use rk_api::meta::{at, list, text};
use rk_api::status::{ErrorKind, FieldErrors, Path, go_json};
use rk_cel::{CompileError, Env, Program, Type, of_openapi, with_identity};
use serde_json::Value;

use super::rule_costs::{Costs, Extent};

/// The keyword.
const RULES: &str = "x-kubernetes-validations";
/// Deepest schema that is looked at.
const MAX_DEPTH: usize = 64;

/// Rules of one place of a schema and of what lies below; places without any are left out.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) rules: Vec<Rule>,
    pub(super) fields: BTreeMap<String, Node>,
    pub(super) items: Option<Box<Node>>,
    pub(super) values: Option<Box<Node>>,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) text: String,
    pub(super) program: Program,
    /// Whether it compares with what was.
    pub(super) transition: bool,
    /// Whether `oldSelf` is an optional value.
    pub(super) optional_old: bool,
    pub(super) message: String,
    pub(super) message_program: Option<Program>,
    pub(super) message_text: String,
    pub(super) kind: ErrorKind,
    /// Where the error is told, below the place of the rule: `.a.b`.
    pub(super) field: String,
}

/// The rules of a schema, and that schema with the names that every object has.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) root: Value,
    pub(super) node: Option<Node>,
}

impl Rules {
    /// From a version's schema; rules that do not compile were refused when they were written.
    pub(super) fn of(schema: &Value) -> Self {
        let root = with_identity(schema);
        let (mut costs, mut errors) = (Costs::default(), FieldErrors::new());
        let node = walk(&root, &Place::root(None), &Path::ROOT, &mut costs, &mut errors);
        Self { root, node }
    }
}

/// Adds what is wrong with the rules of a definition; tells whether any compile.
pub(super) fn check(definition: &Value, errors: &mut FieldErrors) -> bool {
    let versions = list(definition, &["spec", "versions"]);
    let schema = |version: &Value| at(version, &["schema", "openAPIV3Schema"]).clone();
    let schemas: Vec<Value> = versions.iter().map(schema).collect();
    let spec = Path::new("spec");
    // A schema that all versions share counts as one of the definition.
    if let [first, rest @ ..] = schemas.as_slice()
        && rest.iter().all(|other| other == first)
    {
        let path = spec.child("validation");
        return judge(first, &path.child("openAPIV3Schema"), errors);
    }
    let all = spec.child("versions");
    let mut any = false;
    for (index, schema) in schemas.iter().enumerate() {
        let path = all.index(index);
        let path = path.child("schema");
        any |= judge(schema, &path.child("openAPIV3Schema"), errors);
    }
    any
}

/// Adds what is wrong with the rules of one schema; tells whether any compile.
fn judge(schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let root = with_identity(schema);
    let mut costs = Costs::default();
    let any = walk(&root, &Place::root(Some(Extent::root(&root))), path, &mut costs, errors).is_some();
    costs.judge(path, errors);
    any
}

/// Where in a schema.
struct Place {
    depth: usize,
    /// The list without keys within which what was cannot be found for what is.
    uncorrelated: Option<String>,
    /// How often it may occur; `None` when nobody asks for costs.
    extent: Option<Extent>,
}

impl Place {
    fn root(extent: Option<Extent>) -> Self {
        Self { depth: 0, uncorrelated: None, extent }
    }

    fn below(&self, extent: Option<Extent>) -> Self {
        Self { depth: self.depth + 1, uncorrelated: self.uncorrelated.clone(), extent }
    }
}

fn walk(schema: &Value, place: &Place, path: &Path<'_>, costs: &mut Costs, errors: &mut FieldErrors) -> Option<Node> {
    if place.depth > MAX_DEPTH {
        return None;
    }
    let mut node = Node::default();
    let within = || place.extent.as_ref().map(|extent| extent.inner(schema));
    let inner = |key: &str| schema.get(key).filter(|inner| inner.is_object());
    if let Some(values) = inner("additionalProperties") {
        let path = path.child("additionalProperties");
        node.values = walk(values, &place.below(within()), &path, costs, errors).map(Box::new);
    }
    let properties = path.child("properties");
    for (name, field) in at(schema, &["properties"]).as_object().into_iter().flatten() {
        let extent = place.extent.as_ref().map(|extent| extent.field(name, schema));
        if let Some(below) = walk(field, &place.below(extent), &properties.key(name), costs, errors) {
            node.fields.insert(name.clone(), below);
        }
    }
    if let Some(items) = inner("items") {
        let mut below = place.below(within());
        if text(schema, &["x-kubernetes-list-type"]) != "map" {
            below.uncorrelated.get_or_insert_with(|| path.to_string());
        }
        node.items = walk(items, &below, &path.child("items"), costs, errors).map(Box::new);
    }
    let all = path.child(RULES);
    let open = at(schema, &["x-kubernetes-preserve-unknown-fields"]) == &Value::Bool(true);
    if open && text(schema, &["type"]).is_empty() && !list(schema, &[RULES]).is_empty() {
        let why = "internal error: failed to construct type information for x-kubernetes-validations rules: \
                   unable to convert structural schema to CEL declarations";
        errors.push(ErrorKind::Internal, &all, Value::Null, why);
    }
    for (index, rule) in at(schema, &[RULES]).as_array().into_iter().flatten().enumerate() {
        let path = all.index(index);
        let compiled = compile(rule, schema, &path, errors);
        if let (Some(extent), Some(rule)) = (&place.extent, &compiled) {
            costs.rule(&rule.program, rule.message_program.as_ref(), extent, &path, errors);
        }
        let transition = compiled.as_ref().is_some_and(|rule| rule.transition);
        correlated(rule, transition, place, &path, errors);
        node.rules.extend(compiled);
    }
    let empty = node.rules.is_empty() && node.fields.is_empty() && node.items.is_none() && node.values.is_none();
    (!empty).then_some(node)
}

/// What was can be compared with only where it is found, and only who compares says how.
fn correlated(rule: &Value, transition: bool, place: &Place, path: &Path<'_>, errors: &mut FieldErrors) {
    if transition {
        if let Some(list) = &place.uncorrelated {
            let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
            errors.invalid(&path.child("rule"), text(rule, &["rule"]), why);
        }
    } else if let Some(set @ Value::Bool(_)) = rule.get("optionalOldSelf") {
        let why = "may not be set if oldSelf is not used in rule";
        errors.invalid(&path.child("optionalOldSelf"), set.clone(), why);
    }
}

/// A rule as messages show it: all of its fields in upstream's order, as Go writes JSON.
fn shown(rule: &Value) -> String {
    let word = |name: &str| Value::from(text(rule, &[name]));
    let own = |name: &str| rule.get(name).cloned().unwrap_or_default();
    let fields = [
        ("Rule", word("rule")),
        ("Message", word("message")),
        ("MessageExpression", word("messageExpression")),
        ("Reason", own("reason")),
        ("FieldPath", word("fieldPath")),
        ("OptionalOldSelf", own("optionalOldSelf")),
    ];
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    go_json(&format!("{{{}}}", fields.join(",")))
}

/// The name of the type of `self`, another one each time: upstream lets nobody count on it.
fn type_name() -> String {
    format!("selfType{}", jiff::Timestamp::now().subsec_nanosecond())
}

fn compile(rule: &Value, schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) -> Option<Rule> {
    let word = |name: &str| text(rule, &[name]).to_owned();
    let refuse = |field: &str, why: String, errors: &mut FieldErrors| {
        errors.invalid_unshown(&path.child(field), format!("{}: {why}", shown(rule)));
    };
    let written = word("rule");
    if written.trim().is_empty() {
        errors.required(&path.child("rule"), "rule is not specified");
        return None;
    }
    let optional_old = rule.get("optionalOldSelf") == Some(&Value::Bool(true));
    let own = of_openapi(schema, &type_name());
    let old = if optional_old { Type::optional(own.clone()) } else { own.clone() };
    let env = Env::new().with("self", own).with("oldSelf", old);
    let program = env.compile_as(&written, &Type::Bool).map_err(|error| match error {
        CompileError::Output { .. } => "cel expression must evaluate to a bool".to_owned(),
        failed => failed.to_string(),
    });
    let program = program.map_err(|why| refuse("rule", why, errors)).ok()?;
    let transition = program.mentions("oldSelf");
    let message = word("messageExpression");
    let message_program = if message.trim().is_empty() {
        None
    } else {
        let compiled = env.compile_as(&message, &Type::String).map_err(|error| match error {
            CompileError::Output { .. } => "messageExpression must evaluate to a string".to_owned(),
            CompileError::Instantiation(why) => format!("messageExpression instantiation failed: {why}"),
            failed => format!("messageExpression {failed}"),
        });
        compiled.map_err(|why| refuse("messageExpression", why, errors)).ok()
    };
    Some(Rule {
        text: written.trim().to_owned(),
        program,
        transition,
        optional_old,
        message: word("message").trim().to_owned(),
        message_program,
        message_text: message,
        kind: match text(rule, &["reason"]) {
            "FieldValueForbidden" => ErrorKind::Forbidden,
            "FieldValueRequired" => ErrorKind::Required,
            "FieldValueDuplicate" => ErrorKind::Duplicate,
            _ => ErrorKind::Invalid,
        },
        field: word("fieldPath"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is wrong with a schema whose field `o` is this.
    fn wrong(field: &Value) -> Vec<String> {
        let mut errors = FieldErrors::new();
        let schema = json!({"type": "object", "properties": {"o": field}});
        judge(&schema, &Path::new("s"), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rule_is_shown_whole() {
        let rule = json!({"rule": "self.a > 1 && self.o", "message": "<m>", "reason": "FieldValueForbidden"});
        let own = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
        let all = wrong(&json!({"type": "object", "properties": {"o": own}, "x-kubernetes-validations": [rule]}));
        let want = "s.properties[o].x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"self.a \\u003e 1 \\u0026\\u0026 \
                    self.o\",\"Message\":\"\\u003cm\\u003e\",\"MessageExpression\":\"\",\"Reason\":\"FieldValueForbidden\",\
                    \"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: ERROR: <input>:1:5: undefined field 'a'";
        assert!(all[0].starts_with(want), "{all:?}");
        assert!(all[0].contains("applied to '(bool, selfType"), "{all:?}");
        assert!(all[0].contains(".o)'"), "the type of a field is named by its own place: {all:?}");
    }

    #[test]
    fn what_was_is_asked_for_only_where_it_is_known() {
        let rule = json!({"rule": "self != oldSelf"});
        let within = json!({"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [rule]}});
        let list = json!({"type": "array", "items": {"type": "object", "properties": {"l": within}}});
        let why = "s.properties[o].items.properties[l].items.x-kubernetes-validations[0].rule: Invalid value: \"self != oldSelf\": oldSelf \
                   cannot be used on the uncorrelatable portion of the schema within s.properties[o]";
        assert_eq!(wrong(&list), [why]);
        let rule = json!({"rule": "self > 0", "optionalOldSelf": false});
        let why = "s.properties[o].x-kubernetes-validations[0].optionalOldSelf: Invalid value: false: may not be set if oldSelf is not \
                   used in rule";
        assert_eq!(wrong(&json!({"type": "integer", "x-kubernetes-validations": [rule]})), [why]);
    }
}
