//! What expressions of one place may refer to.

use std::collections::HashMap;

use crate::ast::Expr;
use crate::issue::{Issue, render};
use crate::program::Program;
use crate::types::{Fields, Type};
use crate::{check, parse};

/// Names and their types.
#[derive(Clone, Default)]
pub struct Env {
    variables: HashMap<String, Type>,
    structures: bool,
    bindings: bool,
}

/// Why an expression cannot be used, worded as clients know it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It cannot be read, or refers to what is not there. One paragraph for each place.
    #[error("compilation failed: {0}")]
    Failed(String),
    /// What is constant in it fails.
    #[error("program instantiation failed: {0}")]
    Instantiation(String),
    /// Its value is of another type than is asked for here.
    #[error("must evaluate to {wanted} but got {found}")]
    Output {
        /// The type that is asked for.
        wanted: String,
        /// The type that it has.
        found: String,
    },
}

impl Env {
    /// An environment without names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.insert(name.to_owned(), ty);
        self
    }

    /// In which `Object{…}`, `Object.spec{…}` and `JSONPatch{…}` may be made.
    #[must_use]
    pub fn with_structures(mut self) -> Self {
        self.structures = true;
        self
    }

    /// In which `cel.bind()` may be called.
    #[must_use]
    pub fn with_bindings(mut self) -> Self {
        self.bindings = true;
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.get(name)
    }

    /// The type of an object that may be made here.
    pub(crate) fn structure(&self, name: &str) -> Option<Type> {
        if !self.structures {
            return None;
        }
        match name {
            "JSONPatch" => Some(json_patch()),
            _ if name == "Object" || name.starts_with("Object.") => Some(object(name)),
            _ => None,
        }
    }

    /// Reads and checks an expression.
    ///
    /// # Errors
    /// [`CompileError::Failed`] and [`CompileError::Instantiation`].
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        self.checked(text).and_then(made)
    }

    /// Reads and checks an expression that must be of one type.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn compile_as(&self, text: &str, wanted: &Type) -> Result<Program, CompileError> {
        let program = self.checked(text)?;
        if program.output().same(wanted) {
            return made(program);
        }
        Err(CompileError::Output { wanted: wanted.to_string(), found: program.output().to_string() })
    }

    fn checked(&self, text: &str) -> Result<Program, CompileError> {
        let (expr, ty, issues) = self.read(text).map_err(|issue| CompileError::Failed(render(text, &[issue])))?;
        if issues.is_empty() { Ok(Program::new(expr, ty)) } else { Err(CompileError::Failed(render(text, &issues))) }
    }

    fn read(&self, text: &str) -> Result<(Expr, Type, Vec<Issue>), Issue> {
        let expr = parse::parse(text, self.bindings)?;
        let (ty, issues) = check::check(&expr, self);
        Ok((expr, ty, issues))
    }
}

/// A program that nothing constant makes fail.
fn made(program: Program) -> Result<Program, CompileError> {
    match check::failure(program.expr()) {
        Some(why) => Err(CompileError::Instantiation(why)),
        None => Ok(program),
    }
}

/// An object that is applied: its fields are checked when it is.
struct Applied(String);

impl crate::types::Record for Applied {
    fn name(&self) -> &str {
        &self.0
    }

    fn field(&self, _: &str) -> Option<Type> {
        Some(Type::Dyn)
    }
}

/// `Object`, or what lies in it.
#[must_use]
pub fn object(name: &str) -> Type {
    Type::Record(std::sync::Arc::new(Applied(name.to_owned())))
}

/// One operation of a JSON patch.
#[must_use]
pub fn json_patch() -> Type {
    let text = || Type::String;
    Fields::record("JSONPatch", vec![("op", text()), ("path", text()), ("from", text()), ("value", Type::Dyn)])
}
