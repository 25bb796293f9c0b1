//! Running the expressions of one policy on one change. Pure: what the authorizer is to say is asked for by an error.

use std::time::{Duration, Instant};

use rk_cel::{
    Answer, CONDITIONS_BUDGET, Context, EXPRESSION_LIMIT, Failure, Program, Question, REQUEST_BUDGET, Value as Cel,
};
use serde_json::Value;

use super::super::expression::{Met, Scene};
use super::read::{Annotation, Policy, Validation};
use crate::metrics::CheckError;

/// Longest message of an expression, in bytes; upstream's figure.
const MAX_MESSAGE: usize = 5 * 1024;

/// Longest value of an audit annotation, in bytes; upstream's figure.
const MAX_ANNOTATION: usize = 10 * 1024;

/// What a check was, beside its verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Check {
    pub(super) error: CheckError,
    pub(super) took: Duration,
}

/// What the validations of a policy say of a change.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) denials: Vec<Denial>,
    /// Audit annotations: keys as the policy names them, and values.
    pub(super) annotations: Vec<(String, String)>,
    /// Failures that the policy lets pass.
    pub(super) ignored: Vec<Check>,
}

/// Why a change is denied.
#[derive(Debug, PartialEq)]
pub(super) struct Denial {
    pub(super) message: String,
    /// The `reason` of the status; empty for `Invalid`.
    pub(super) reason: String,
    /// The place of the validation among those of its policy; 0 for what is none.
    pub(super) index: usize,
    /// Whether it denies whatever the binding's actions are.
    pub(super) always: bool,
    /// Whether the policy is told of without its binding: what binds it makes no difference.
    pub(super) unbound: bool,
    pub(super) check: Check,
}

impl Denial {
    /// The policy or its binding cannot be used.
    pub(super) fn misconfigured(message: String) -> Self {
        let check = Check { error: CheckError::Invalid, took: Duration::ZERO };
        Self { message, reason: String::new(), index: 0, always: true, unbound: false, check }
    }
}

/// What sort of failure it is.
fn error_of(failure: &Failure) -> CheckError {
    match failure {
        Failure::Cost => CheckError::Budget,
        Failure::Error(_) | Failure::Ask(_) => CheckError::Invalid,
    }
}

fn context<'a>(
    policy: &'a Policy,
    scene: &'a Scene,
    params: &'a Value,
    answers: &'a [(Question, Answer)],
    budget: u64,
) -> Context<'a> {
    let mut context = scene.context(answers, budget);
    if policy.param_kind.is_some() {
        context.set("params", Cel::json(params));
    }
    context
}

/// Whether the conditions of a policy hold: nothing more is to be done (`None`), or why they failed.
fn conditions(
    policy: &Policy,
    scene: &Scene,
    params: &Value,
    answers: &[(Question, Answer)],
) -> Result<Option<Result<(), String>>, Failure> {
    if let Some(broken) = &policy.broken {
        return Ok(Some(Err(format!("failed to configure policy: {broken}"))));
    }
    Ok(match policy.conditions.met(&mut context(policy, scene, params, answers, CONDITIONS_BUDGET))? {
        Met::Yes => Some(Ok(())),
        Met::No => None,
        Met::Failed(why) => Some(Err(why)),
    })
}

/// What the validations of a policy say that a change does not pass.
///
/// # Errors
/// The authorizer is to be asked.
pub(super) fn validate(
    policy: &Policy,
    scene: &Scene,
    params: &Value,
    answers: &[(Question, Answer)],
) -> Result<Findings, Failure> {
    let mut findings = Findings::default();
    match conditions(policy, scene, params, answers)? {
        None => return Ok(findings),
        Some(Err(why)) => {
            let error = if policy.broken.is_some() { CheckError::Compile } else { CheckError::Invalid };
            let check = Check { error, took: Duration::ZERO };
            if policy.fail_closed {
                findings.denials.push(Denial { check, ..Denial::misconfigured(why) });
            } else {
                findings.ignored.push(check);
            }
            return Ok(findings);
        }
        Some(Ok(())) => {}
    }
    let mut context = context(policy, scene, params, answers, REQUEST_BUDGET);
    context.set_lazy(&policy.variables);
    for (index, validation) in policy.validations.iter().enumerate() {
        let started = Instant::now();
        let (message, error) = match context.run(&validation.program, EXPRESSION_LIMIT) {
            Ok(Cel::Bool(true)) => continue,
            Ok(_) => (message(validation, &mut context)?, CheckError::None),
            Err(ask @ Failure::Ask(_)) => return Err(ask),
            Err(failure) if !policy.fail_closed => {
                findings.ignored.push(Check { error: error_of(&failure), took: started.elapsed() });
                continue;
            }
            Err(failure) => {
                let told = format!("expression '{}' resulted in error: {failure}", validation.expression);
                (told, error_of(&failure))
            }
        };
        let check = Check { error, took: started.elapsed() };
        let reason = validation.reason.clone();
        findings.denials.push(Denial { message, reason, index, always: false, unbound: false, check });
    }
    for annotation in &policy.annotations {
        annotate(annotation, &mut context, policy.fail_closed, &mut findings)?;
    }
    Ok(findings)
}

/// Evaluates an audit annotation; no value is none, and one that fails denies where failures do.
fn annotate<'a>(
    annotation: &'a Annotation,
    context: &mut Context<'a>,
    fail_closed: bool,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let started = Instant::now();
    let failure = match context.run(&annotation.program, EXPRESSION_LIMIT) {
        Ok(Cel::Str(text)) => {
            let value = cut(text.as_str().trim(), MAX_ANNOTATION);
            if !value.is_empty() {
                findings.annotations.push((annotation.key.clone(), value.to_owned()));
            }
            return Ok(());
        }
        Ok(_) => return Ok(()),
        Err(ask @ Failure::Ask(_)) => return Err(ask),
        Err(failure) => failure,
    };
    let check = Check { error: error_of(&failure), took: started.elapsed() };
    if fail_closed {
        let why = format!("expression '{}' resulted in error: {failure}", annotation.expression);
        findings.denials.push(Denial { check, ..Denial::misconfigured(why) });
    } else {
        findings.ignored.push(check);
    }
    Ok(())
}

/// The start of a text, of `most` bytes at most.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// What a validation says: its own expression's words, its message, or the expression that does not hold.
fn message<'a>(validation: &'a Validation, context: &mut Context<'a>) -> Result<String, Failure> {
    let told = match &validation.message_program {
        Some(program) => text(program, context)?,
        None => None,
    };
    let message = told.unwrap_or_else(|| validation.message.trim().to_owned());
    Ok(if message.is_empty() { format!("failed expression: {}", validation.expression) } else { message })
}

fn text<'a>(program: &'a Program, context: &mut Context<'a>) -> Result<Option<String>, Failure> {
    match context.run(program, EXPRESSION_LIMIT) {
        Err(ask @ Failure::Ask(_)) => Err(ask),
        Ok(Cel::Str(text)) => {
            let text = text.as_str().trim();
            let good = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
            Ok(good.then(|| text.to_owned()))
        }
        _ => Ok(None),
    }
}

/// What a mutation makes of a change.
pub(super) enum Made {
    /// An object to apply or a JSON patch.
    Change(Value),
    /// Nothing: the conditions of the policy do not hold.
    Unmet,
    /// Nothing: the policy or its conditions failed, so that none of its mutations is made.
    Unusable(String),
}

/// What the mutation at a place of a policy makes of a change.
///
/// # Errors
/// The authorizer is to be asked, or the expression failed.
pub(super) fn mutation(
    policy: &Policy,
    index: usize,
    scene: &Scene,
    params: &Value,
    answers: &[(Question, Answer)],
) -> Result<Made, Failure> {
    if let Some(broken) = &policy.broken {
        return Ok(Made::Unusable(broken.clone()));
    }
    // Conditions are asked of the object as it came to the policy, before its first mutation.
    let met = if index == 0 { conditions(policy, scene, params, answers)? } else { Some(Ok(())) };
    match met {
        None => return Ok(Made::Unmet),
        Some(Err(why)) => return Ok(Made::Unusable(why)),
        Some(Ok(())) => {}
    }
    let Some(mutation) = policy.mutations.get(index) else { return Ok(Made::Unmet) };
    let mut context = context(policy, scene, params, answers, REQUEST_BUDGET);
    context.set_lazy(&policy.variables);
    let told = |failure| match failure {
        ask @ Failure::Ask(_) => ask,
        why => Failure::Error(format!("expression '{}' resulted in error: {why}", mutation.expression)),
    };
    let made = context.run(&mutation.program, EXPRESSION_LIMIT).map_err(told)?;
    context.to_json(&made).map(Made::Change)
}
