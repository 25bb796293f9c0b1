//! `x-kubernetes-validations`: the rules of custom kinds, compiled along their schema.

use std::collections::BTreeMap;

use rk_api::meta::{at, list, text};
use rk_api::status::{ErrorKind, FieldErrors, Path};
use rk_cel::{CompileError, Env, Program, Type, of_openapi, with_identity};
use serde_json::{Value, json};

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

/// Adds what is wrong with the rules of a definition.
pub(super) fn check(definition: &Value, errors: &mut FieldErrors) {
    let versions = list(definition, &["spec", "versions"]);
    let schema = |version: &Value| at(version, &["schema", "openAPIV3Schema"]).clone();
    let schemas: Vec<Value> = versions.iter().map(schema).collect();
    let spec = Path::new("spec");
    // A schema that all versions share counts as one of the definition.
    if let [first, rest @ ..] = schemas.as_slice()
        && rest.iter().all(|other| other == first)
    {
        let path = spec.child("validation");
        judge(first, &path.child("openAPIV3Schema"), errors);
        return;
    }
    let all = spec.child("versions");
    for (index, schema) in schemas.iter().enumerate() {
        let path = all.index(index);
        let path = path.child("schema");
        judge(schema, &path.child("openAPIV3Schema"), errors);
    }
}

/// Adds what is wrong with the rules of one schema.
fn judge(schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let root = with_identity(schema);
    let mut costs = Costs::default();
    walk(&root, &Place::root(Some(Extent::root(&root))), path, &mut costs, errors);
    costs.judge(path, errors);
}

/// Where in a schema.
struct Place {
    /// The name of the type, for records.
    name: String,
    depth: usize,
    /// Whether what was can be found for what is: not within lists that have no keys.
    correlates: bool,
    /// How often it may occur; `None` when nobody asks for costs.
    extent: Option<Extent>,
}

impl Place {
    fn root(extent: Option<Extent>) -> Self {
        Self { name: "selfType".to_owned(), depth: 0, correlates: true, extent }
    }

    fn below(&self, step: &str, correlates: bool, extent: Option<Extent>) -> Self {
        let correlates = self.correlates && correlates;
        Self { name: format!("{}.{step}", self.name), depth: self.depth + 1, correlates, extent }
    }
}

fn walk(schema: &Value, place: &Place, path: &Path<'_>, costs: &mut Costs, errors: &mut FieldErrors) -> Option<Node> {
    if place.depth > MAX_DEPTH {
        return None;
    }
    let mut node = Node::default();
    let all = path.child(RULES);
    let open = at(schema, &["x-kubernetes-preserve-unknown-fields"]) == &Value::Bool(true);
    if open && text(schema, &["type"]).is_empty() && !list(schema, &[RULES]).is_empty() {
        let why = "internal error: failed to construct type information for x-kubernetes-validations rules: \
                   unable to convert structural schema to CEL declarations";
        errors.push(ErrorKind::Internal, &all, Value::Null, why);
    }
    for (index, rule) in at(schema, &[RULES]).as_array().into_iter().flatten().enumerate() {
        let path = all.index(index);
        let Some(rule) = compile(rule, schema, place, &path, errors) else { continue };
        if let Some(extent) = &place.extent {
            costs.rule(&rule.program, rule.message_program.as_ref(), extent, &path, errors);
        }
        node.rules.push(rule);
    }
    let properties = path.child("properties");
    for (name, field) in at(schema, &["properties"]).as_object().into_iter().flatten() {
        let extent = place.extent.as_ref().map(|extent| extent.field(name, schema));
        if let Some(below) = walk(field, &place.below(name, true, extent), &properties.key(name), costs, errors) {
            node.fields.insert(name.clone(), below);
        }
    }
    let mut below = |key: &str, step: &str, correlates: bool, errors: &mut FieldErrors| {
        let inner = schema.get(key).filter(|inner| inner.is_object())?;
        let extent = place.extent.as_ref().map(|extent| extent.inner(schema));
        walk(inner, &place.below(step, correlates, extent), &path.child(key), costs, errors).map(Box::new)
    };
    let keyed = text(schema, &["x-kubernetes-list-type"]) == "map";
    node.items = below("items", "@idx", keyed, errors);
    node.values = below("additionalProperties", "@elem", true, errors);
    let empty = node.rules.is_empty() && node.fields.is_empty() && node.items.is_none() && node.values.is_none();
    (!empty).then_some(node)
}

fn compile(rule: &Value, schema: &Value, place: &Place, path: &Path<'_>, errors: &mut FieldErrors) -> Option<Rule> {
    let word = |name: &str| text(rule, &[name]).to_owned();
    let shown = || {
        json!({"Rule": word("rule"), "Message": word("message"), "MessageExpression": word("messageExpression"),
            "Reason": rule.get("reason"), "FieldPath": word("fieldPath"), "OptionalOldSelf": rule.get("optionalOldSelf")})
    };
    let written = word("rule");
    if written.trim().is_empty() {
        errors.required(&path.child("rule"), "rule is not specified");
        return None;
    }
    let optional_old = rule.get("optionalOldSelf") == Some(&Value::Bool(true));
    let own = of_openapi(schema, &place.name);
    let old = if optional_old { Type::optional(own.clone()) } else { own.clone() };
    let env = Env::new().with("self", own).with("oldSelf", old);
    let program = env.compile_as(&written, &Type::Bool).map_err(|error| match error {
        CompileError::Output { .. } => "cel expression must evaluate to a bool".to_owned(),
        failed => failed.to_string(),
    });
    let program = program.map_err(|why| errors.invalid(&path.child("rule"), shown(), why)).ok()?;
    let transition = program.mentions("oldSelf");
    if transition && !place.correlates {
        let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {path}");
        errors.invalid(&path.child("rule"), shown(), why);
    }
    let said = at(rule, &["optionalOldSelf"]);
    if !transition && said.is_boolean() {
        errors.invalid(&path.child("optionalOldSelf"), said.clone(), "may not be set if oldSelf is not used in rule");
    }
    let message_program = match word("messageExpression").trim() {
        "" => None,
        message => {
            let compiled = env.compile_as(message, &Type::String).map_err(|error| match error {
                CompileError::Output { .. } => "messageExpression must evaluate to a string".to_owned(),
                failed => format!("messageExpression {failed}"),
            });
            compiled.map_err(|why| errors.invalid(&path.child("messageExpression"), shown(), why)).ok()
        }
    };
    Some(Rule {
        text: written.trim().to_owned(),
        program,
        transition,
        optional_old,
        message: word("message").trim().to_owned(),
        message_program,
        kind: match text(rule, &["reason"]) {
            "FieldValueForbidden" => ErrorKind::Forbidden,
            "FieldValueRequired" => ErrorKind::Required,
            "FieldValueDuplicate" => ErrorKind::Duplicate,
            _ => ErrorKind::Invalid,
        },
        field: word("fieldPath"),
    })
}
