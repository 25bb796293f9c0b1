//! Policies and bindings as they are written, compiled once per version of them.

use std::sync::{Arc, Mutex, PoisonError};

use rk_api::meta;
use rk_api::status::Status;
use rk_cel::{Env, Program, Type, json_patch, object};
use rk_store::Revision;
use serde_json::Value;

use super::super::expression::{self, Conditions};
use super::super::matching::{Scope, texts};
use super::super::{Request, webhook};

pub(super) const GROUP: &str = "admissionregistration.k8s.io";

/// The two sorts of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Validating,
    Mutating,
}

impl Kind {
    fn plurals(self) -> (&'static str, &'static str) {
        match self {
            Kind::Validating => ("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
            Kind::Mutating => ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
        }
    }
}

/// One policy with its bindings.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) scope: Scope,
    /// Whether what fails denies.
    pub(super) fail_closed: bool,
    /// `apiVersion` and `kind` of parameters.
    pub(super) param_kind: Option<(String, String)>,
    pub(super) conditions: Conditions,
    pub(super) variables: Vec<(String, Program)>,
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<Annotation>,
    pub(super) mutations: Vec<Mutation>,
    /// Why its expressions cannot be used: written before this server knew better.
    pub(super) broken: Option<String>,
    /// Whether it is applied again after others changed the object.
    pub(super) again: bool,
    pub(super) bindings: Vec<Binding>,
}

#[derive(Debug)]
pub(super) struct Validation {
    pub(super) expression: String,
    pub(super) program: Program,
    pub(super) message: String,
    pub(super) message_program: Option<Program>,
    pub(super) reason: String,
}

/// An audit annotation of a policy.
#[derive(Debug)]
pub(super) struct Annotation {
    pub(super) key: String,
    pub(super) expression: String,
    pub(super) program: Program,
}

/// A change that a policy makes.
#[derive(Debug)]
pub(super) struct Mutation {
    pub(super) expression: String,
    pub(super) program: Program,
    /// Whether it makes a JSON patch rather than an object that is merged in, as server-side apply does.
    pub(super) json: bool,
}

#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    /// What it narrows its policy down to.
    pub(super) scope: Option<Scope>,
    /// Its `paramRef`.
    pub(super) param: Option<Value>,
    pub(super) actions: Vec<String>,
}

impl Binding {
    /// Whether an action is among its `validationActions`.
    pub(super) fn acts(&self, action: &str) -> bool {
        self.actions.iter().any(|own| own == action)
    }
}

/// What was read of one sort, and of which versions of policies and bindings.
type Read = Mutex<Option<((Revision, Revision), Arc<Vec<Policy>>)>>;

/// The policies of the cluster.
#[derive(Default)]
pub struct Policies {
    validating: Read,
    mutating: Read,
}

/// The policies that may concern a request, by name.
pub(super) async fn policies(request: &Request<'_>, kind: Kind) -> Result<Arc<Vec<Policy>>, Status> {
    if webhook::is_exempt(request) {
        return Ok(Arc::default());
    }
    let (plural, of_bindings) = kind.plurals();
    let cache = request.core.cache(GROUP, "v1", plural).await?;
    if cache.is_empty() {
        return Ok(Arc::default());
    }
    let bindings = request.core.cache(GROUP, "v1", of_bindings).await?;
    let read = match kind {
        Kind::Validating => &request.core.policies.validating,
        Kind::Mutating => &request.core.policies.mutating,
    };
    let revisions = (cache.revision(), bindings.revision());
    if let Some((own, policies)) = &*read.lock().unwrap_or_else(PoisonError::into_inner)
        && *own == revisions
    {
        return Ok(Arc::clone(policies));
    }
    let bound: Vec<Value> =
        bindings.snapshot("", revisions.1, |_| true).objects.iter().map(|b| b.value().clone()).collect();
    let objects = cache.snapshot("", revisions.0, |_| true).objects;
    let policies: Vec<Policy> = objects.iter().map(|object| policy(&object.value(), &bound)).collect();
    let policies = Arc::new(policies);
    *read.lock().unwrap_or_else(PoisonError::into_inner) = Some((revisions, Arc::clone(&policies)));
    Ok(policies)
}

fn list<'a>(holder: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    meta::at(holder, &[field]).as_array().into_iter().flatten()
}

/// A policy with those of the bindings that name it.
pub(super) fn policy(object: &Value, bindings: &[Value]) -> Policy {
    let (name, spec) = (meta::name(object), meta::at(object, &["spec"]));
    let kind = meta::at(spec, &["paramKind"]);
    let text = |holder: &Value, field: &str| meta::text(holder, &[field]).to_owned();
    let env = expression::of_policies(kind.is_object());
    let own = |binding: &&Value| meta::text(binding, &["spec", "policyName"]) == name;
    let mut policy = Policy {
        name: name.to_owned(),
        scope: Scope::of(meta::at(spec, &["matchConstraints"]), "resourceRules"),
        fail_closed: text(spec, "failurePolicy") != "Ignore",
        param_kind: kind.is_object().then(|| (text(kind, "apiVersion"), text(kind, "kind"))),
        conditions: Conditions::of(spec, &env),
        variables: Vec::new(),
        validations: Vec::new(),
        annotations: Vec::new(),
        mutations: Vec::new(),
        broken: None,
        again: text(spec, "reinvocationPolicy") == "IfNeeded",
        bindings: bindings.iter().filter(own).map(binding).collect(),
    };
    policy.broken = programs(&mut policy, spec, env).err().map(|error| error.to_string());
    policy
}

fn programs(policy: &mut Policy, spec: &Value, env: Env) -> Result<(), rk_cel::CompileError> {
    let text = |holder: &Value, field: &str| meta::text(holder, &[field]).to_owned();
    let mut env = env.with("variables", expression::variables(&[]));
    let mut known = Vec::new();
    for variable in list(spec, "variables") {
        let program = env.compile(&text(variable, "expression"))?;
        known.push((text(variable, "name"), program.output().clone()));
        env = env.with("variables", expression::variables(&known));
        policy.variables.push((text(variable, "name"), program));
    }
    for validation in list(spec, "validations") {
        let (expression, message) = (text(validation, "expression"), text(validation, "messageExpression"));
        let message_program = match message.trim() {
            "" => None,
            _ => Some(env.compile_as(&message, &Type::String)?),
        };
        policy.validations.push(Validation {
            program: env.compile_as(&expression, &Type::Bool)?,
            expression: expression.trim().to_owned(),
            message: text(validation, "message"),
            message_program,
            reason: text(validation, "reason"),
        });
    }
    for annotation in list(spec, "auditAnnotations") {
        let expression = text(annotation, "valueExpression");
        let program = env.compile(&expression)?;
        let expression = expression.trim().to_owned();
        policy.annotations.push(Annotation { key: text(annotation, "key"), expression, program });
    }
    let env = env.with_structures();
    for mutation in list(spec, "mutations") {
        let json = meta::text(mutation, &["patchType"]) == "JSONPatch";
        let (field, wanted) =
            if json { ("jsonPatch", Type::list(json_patch())) } else { ("applyConfiguration", object("Object")) };
        let expression = meta::text(mutation, &[field, "expression"]).to_owned();
        let program = env.compile_as(&expression, &wanted)?;
        policy.mutations.push(Mutation { expression, program, json });
    }
    Ok(())
}

fn binding(object: &Value) -> Binding {
    let spec = meta::at(object, &["spec"]);
    let resources = meta::at(spec, &["matchResources"]);
    Binding {
        name: meta::name(object).to_owned(),
        scope: resources.is_object().then(|| Scope::narrowing(resources, "resourceRules")),
        param: spec.get("paramRef").filter(|param| param.is_object()).cloned(),
        actions: texts(spec, "validationActions"),
    }
}
