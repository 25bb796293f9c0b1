//! Compiled expressions.

use crate::ast::Expr;
use crate::types::Type;

/// An expression that was read and checked.
#[derive(Debug)]
pub struct Program {
    expr: Expr,
    output: Type,
}

impl Program {
    pub(crate) fn new(expr: Expr, output: Type) -> Self {
        Self { expr, output }
    }

    pub(crate) fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The type of its value.
    #[must_use]
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// Whether a name occurs in it.
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        self.expr.mentions(name)
    }
}
