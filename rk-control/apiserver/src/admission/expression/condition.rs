//! `matchConditions`: whether a webhook or policy wants to hear of a change at all.

use rk_api::meta;
use rk_cel::{CompileError, Context, EXPRESSION_LIMIT, Env, Failure, Program, Type, Value as Cel};
use serde_json::Value;

/// The conditions of one webhook or policy.
#[derive(Debug, Default)]
pub(in super::super) struct Conditions(Vec<Condition>);

/// One of them.
#[derive(Debug)]
struct Condition {
    name: String,
    expression: String,
    program: Result<Program, CompileError>,
}

/// What became of conditions.
#[derive(Debug, PartialEq)]
pub(in super::super) enum Met {
    /// All of them hold.
    Yes,
    /// One does not.
    No,
    /// None is known not to hold, and these failed.
    Failed(String),
}

impl Conditions {
    /// From the object that has `matchConditions`.
    pub(in super::super) fn of(holder: &Value, env: &Env) -> Self {
        let all = meta::at(holder, &["matchConditions"]).as_array().into_iter().flatten();
        let condition = |entry: &Value| {
            let name = meta::text(entry, &["name"]).to_owned();
            let expression = meta::text(entry, &["expression"]).to_owned();
            let program = env.compile_as(&expression, &Type::Bool);
            Condition { name, expression, program }
        };
        Self(all.map(condition).collect())
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Evaluates them all; one that does not hold wins over any that fail.
    ///
    /// # Errors
    /// The authorizer is to be asked.
    pub(in super::super) fn met<'a>(&'a self, context: &mut Context<'a>) -> Result<Met, Failure> {
        let mut failed = Vec::new();
        for Condition { name, expression, program } in &self.0 {
            let program = match program {
                Ok(program) => program,
                Err(error) => {
                    failed.push(error.to_string());
                    continue;
                }
            };
            match context.run(program, EXPRESSION_LIMIT) {
                Ok(Cel::Bool(true)) => {}
                Ok(Cel::Bool(false)) => return Ok(Met::No),
                Ok(_) => failed.push(format!("{name}: must evaluate to bool")),
                Err(ask @ Failure::Ask(_)) => return Err(ask),
                Err(failure) => failed.push(format!("expression '{expression}' resulted in error: {failure}")),
            }
        }
        Ok(if failed.is_empty() { Met::Yes } else { Met::Failed(all(failed)) })
    }
}

/// Several failures as one text, each of them once.
fn all(failures: Vec<String>) -> String {
    let mut told: Vec<String> = Vec::new();
    for failure in failures {
        if !told.contains(&failure) {
            told.push(failure);
        }
    }
    let text = told.join(", ");
    if told.len() > 1 { format!("[{text}]") } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn met(conditions: &[&str]) -> Met {
        let all: Vec<Value> =
            conditions.iter().map(|text| json!({"name": "c.example.com/x", "expression": text})).collect();
        let conditions = Conditions::of(&json!({"matchConditions": all}), &super::super::of_webhooks());
        let object = json!({"metadata": {"name": "m"}});
        let mut context = Context::new(EXPRESSION_LIMIT);
        context.set("object", Cel::json(&object));
        conditions.met(&mut context).unwrap()
    }

    #[test]
    fn one_condition_that_does_not_hold_is_enough() {
        assert_eq!(met(&[]), Met::Yes);
        assert_eq!(met(&["object.metadata.name == 'm'", "true"]), Met::Yes);
        assert_eq!(met(&["object.metadata.name == 'm'", "object.metadata.name == 'n'"]), Met::No);
        assert_eq!(met(&["object.spec.none == 1", "false"]), Met::No);
        let spec = "expression 'object.spec.none == 1' resulted in error: no such key: spec";
        assert_eq!(met(&["object.spec.none == 1", "true"]), Met::Failed(spec.to_owned()));
        assert_eq!(met(&["object.spec.none == 1", "object.spec.none == 1"]), Met::Failed(spec.to_owned()));
        let both = format!("[{spec}, expression 'object.a == 1' resulted in error: no such key: a]");
        assert_eq!(met(&["object.spec.none == 1", "object.a == 1"]), Met::Failed(both));
        assert!(matches!(met(&["1"]), Met::Failed(_)));
    }
}
