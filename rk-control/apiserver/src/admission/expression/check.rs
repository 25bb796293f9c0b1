//! Whether the expressions of an object compile: asked when it is written.

use std::time::Instant;

use rk_api::meta::{at, text};
use rk_api::resources::Resource;
use rk_api::status::{ErrorKind, FieldErrors, Path};
use rk_cel::{CompileError, Env, Program, Type, json_patch, object};
use serde_json::Value;

use super::{devices, of_policies, of_webhooks, rules, variables};
use crate::metrics::Expressions;

/// Adds what is wrong with the expressions of webhook configurations, admission policies, definitions of custom kinds and selectors of
/// devices.
pub(crate) fn check(cel: &Expressions, resource: &Resource, new: &Value, errors: &mut FieldErrors) {
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            webhooks(new, errors);
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy") => {
            policy(new, errors);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let begun = Instant::now();
            if rules::check(new, errors) {
                cel.compiled(begun.elapsed());
            }
        }
        ("resource.k8s.io", kind) => devices::check(kind, new, errors),
        _ => {}
    }
}

fn entries<'a>(holder: &'a Value, key: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    at(holder, &[key]).as_array().into_iter().flatten().enumerate()
}

/// Compiles what stands in a field, for a value of type `wanted`; an empty one is judged elsewhere.
fn compile(
    expression: &Value,
    env: &Env,
    wanted: Option<&Type>,
    path: &Path<'_>,
    errors: &mut FieldErrors,
) -> Option<Program> {
    let written = expression.as_str().filter(|text| !text.trim().is_empty())?;
    let compiled = match wanted {
        Some(wanted) => env.compile_as(written, wanted),
        None => env.compile(written),
    };
    let refuse = |error: CompileError| match error {
        CompileError::Instantiation(_) => errors.push(ErrorKind::Internal, path, Value::Null, error.to_string()),
        _ => errors.invalid(path, written, error.to_string()),
    };
    compiled.map_err(refuse).ok()
}

fn conditions(holder: &Value, env: &Env, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = path.child("matchConditions");
    for (index, condition) in entries(holder, "matchConditions") {
        let path = all.index(index);
        compile(at(condition, &["expression"]), env, Some(&Type::Bool), &path.child("expression"), errors);
    }
}

fn webhooks(new: &Value, errors: &mut FieldErrors) {
    let (env, all) = (of_webhooks(), Path::new("webhooks"));
    for (index, webhook) in entries(new, "webhooks") {
        conditions(webhook, &env, &all.index(index), errors);
    }
}

fn policy(new: &Value, errors: &mut FieldErrors) {
    let (spec, path) = (at(new, &["spec"]), Path::new("spec"));
    let plain = of_policies(at(spec, &["paramKind"]).is_object());
    conditions(spec, &plain, &path, errors);
    let mut env = plain.clone().with("variables", variables(&[]));
    let mut known = Vec::new();
    let all = path.child("variables");
    for (index, variable) in entries(spec, "variables") {
        let path = all.index(index);
        let program = compile(at(variable, &["expression"]), &env, None, &path.child("expression"), errors);
        let ty = program.map_or(Type::Dyn, |program| program.output().clone());
        known.push((text(variable, &["name"]).to_owned(), ty));
        env = env.with("variables", variables(&known));
    }
    validations(spec, &env, &path, errors);
    let env = env.with_structures();
    let all = path.child("mutations");
    for (index, mutation) in entries(spec, "mutations") {
        let path = all.index(index);
        for (key, wanted) in [("applyConfiguration", object("Object")), ("jsonPatch", Type::list(json_patch()))] {
            let path = path.child(key);
            compile(at(mutation, &[key, "expression"]), &env, Some(&wanted), &path.child("expression"), errors);
        }
    }
}

fn validations(spec: &Value, env: &Env, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = path.child("validations");
    for (index, validation) in entries(spec, "validations") {
        let path = all.index(index);
        compile(at(validation, &["expression"]), env, Some(&Type::Bool), &path.child("expression"), errors);
        let message = path.child("messageExpression");
        compile(at(validation, &["messageExpression"]), env, Some(&Type::String), &message, errors);
    }
    let all = path.child("auditAnnotations");
    for (index, annotation) in entries(spec, "auditAnnotations") {
        let path = all.index(index);
        let path = path.child("valueExpression");
        let written = at(annotation, &["valueExpression"]);
        let Some(program) = compile(written, env, None, &path, errors) else { continue };
        if !matches!(program.output(), Type::String | Type::Null) {
            let why = format!("must evaluate to one of [string null_type] but got {}", program.output());
            errors.invalid(&path, written.clone(), why);
        }
    }
}
