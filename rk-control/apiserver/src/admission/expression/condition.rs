//! `matchConditions`: whether a webhook or policy wants to hear of a change at all.

use rk_api::meta;
use rk_cel::{CompileError, Context, EXPRESSION_LIMIT, Env, Failure, Program, Type, Value as Cel};
use serde_json::Value;

/// The conditions of one webhook or policy.
#[derive(Debug, Default)]
pub(in super::super) struct Conditions(Vec<(String, Result<Program, CompileError>)>);

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
            (name, env.compile_as(meta::text(entry, &["expression"]), &Type::Bool))
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
        for (name, program) in &self.0 {
            let outcome = match program {
                Ok(program) => context.run(program, EXPRESSION_LIMIT),
                Err(error) => Err(Failure::Error(error.to_string())),
            };
            match outcome {
                Ok(Cel::Bool(true)) => {}
                Ok(Cel::Bool(false)) => return Ok(Met::No),
                Ok(_) => failed.push(format!("{name}: must evaluate to bool")),
                Err(ask @ Failure::Ask(_)) => return Err(ask),
                Err(failure) => failed.push(failure.to_string()),
            }
        }
        Ok(if failed.is_empty() { Met::Yes } else { Met::Failed(failed.join(", ")) })
    }
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
        assert_eq!(met(&["object.spec.none == 1", "true"]), Met::Failed("no such key: spec".to_owned()));
        assert!(matches!(met(&["1"]), Met::Failed(_)));
    }
}
