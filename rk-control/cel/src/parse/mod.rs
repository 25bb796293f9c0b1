//! From text to a tree: precedence climbing, with macros made where they stand.

mod escape;
mod macros;
mod primary;
mod token;

use crate::ast::{Expr, Kind};
use crate::issue::Issue;
use crate::registry;
pub(crate) use primary::RESERVED;
use token::Token;

/// Longest expression, in characters; upstream's figure.
pub(crate) const MAX_LENGTH: usize = 100_000;
/// Deepest tree; deeper ones would need a deeper stack.
const MAX_DEPTH: u16 = 128;

/// Parses an expression, in which `cel.bind()` may be called if there are `bindings`.
pub(crate) fn parse(text: &str, bindings: bool) -> Result<Expr, Issue> {
    let length = text.chars().count();
    if length > MAX_LENGTH {
        let why = format!("expression code point size exceeds limit: size: {length}, limit {MAX_LENGTH}");
        return Err(Issue::new(0, why));
    }
    let tokens = token::tokens(text)?;
    let mut parser = Parser { tokens, next: 0, level: 0, bindings };
    let expr = parser.expression()?;
    if *parser.peek() != Token::End {
        return Err(parser.unexpected("<EOF>"));
    }
    Ok(expr)
}

struct Parser {
    tokens: Vec<(u32, Token)>,
    next: usize,
    level: u16,
    bindings: bool,
}

/// Binary operators by how tightly they bind.
fn operator(token: &Token) -> Option<(u8, &'static str)> {
    Some(match token {
        Token::Mark("||") => (1, "_||_"),
        Token::Mark("&&") => (2, "_&&_"),
        Token::Mark("<") => (3, "_<_"),
        Token::Mark("<=") => (3, "_<=_"),
        Token::Mark(">") => (3, "_>_"),
        Token::Mark(">=") => (3, "_>=_"),
        Token::Mark("==") => (3, "_==_"),
        Token::Mark("!=") => (3, "_!=_"),
        Token::Ident(word) if word == "in" => (3, "@in"),
        Token::Mark("+") => (4, "_+_"),
        Token::Mark("-") => (4, "_-_"),
        Token::Mark("*") => (5, "_*_"),
        Token::Mark("/") => (5, "_/_"),
        Token::Mark("%") => (5, "_%_"),
        _ => return None,
    })
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn place(&self) -> u32 {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |(at, _)| *at)
    }

    fn advance(&mut self) -> (u32, Token) {
        let at = self.place();
        let token = self.tokens.get_mut(self.next).map_or(Token::End, |(_, token)| token.clone());
        self.next += 1;
        (at, token)
    }

    /// Takes a mark if it is the next token.
    fn accept(&mut self, mark: &str) -> bool {
        let found = matches!(self.peek(), Token::Mark(own) if *own == mark);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, mark: &'static str) -> Result<(), Issue> {
        if self.accept(mark) { Ok(()) } else { Err(self.unexpected(&format!("'{mark}'"))) }
    }

    fn unexpected(&self, wanted: &str) -> Issue {
        Issue::new(self.place(), format!("Syntax error: mismatched input '{}' expecting {wanted}", self.peek().shown()))
    }

    fn too_deep(&self) -> Issue {
        Issue::new(self.place(), format!("expression recursion limit exceeded: {MAX_DEPTH}"))
    }

    /// A node above others.
    fn node(&self, at: u32, kind: Kind) -> Result<Expr, Issue> {
        let mut expr = Expr { at, depth: 0, kind };
        let mut depth = 0;
        expr.children(&mut |child| depth = depth.max(child.depth));
        expr.depth = depth + 1;
        if expr.depth > MAX_DEPTH { Err(self.too_deep()) } else { Ok(expr) }
    }

    fn call(&self, at: u32, name: &str, member: bool, args: Vec<Expr>) -> Result<Expr, Issue> {
        let overloads = registry::overloads(name);
        self.node(at, Kind::Call { name: name.to_owned(), overloads, member, args })
    }

    /// A whole expression: a condition, or what one may consist of.
    fn expression(&mut self) -> Result<Expr, Issue> {
        self.level += 1;
        if self.level > MAX_DEPTH {
            return Err(self.too_deep());
        }
        let condition = self.binary(1)?;
        let at = self.place();
        let expr = if self.accept("?") {
            let then = self.binary(1)?;
            self.expect(":")?;
            let otherwise = self.expression()?;
            self.node(at, Kind::Cond(Box::new([condition, then, otherwise])))?
        } else {
            condition
        };
        self.level -= 1;
        Ok(expr)
    }

    fn binary(&mut self, loosest: u8) -> Result<Expr, Issue> {
        let mut left = self.unary()?;
        while let Some((binds, name)) = operator(self.peek()).filter(|(binds, _)| *binds >= loosest) {
            let (at, _) = self.advance();
            let right = self.binary(binds + 1)?;
            left = match name {
                "_||_" | "_&&_" => self.logic(at, name == "_&&_", left, right)?,
                _ => self.call(at, name, false, vec![left, right])?,
            };
        }
        Ok(left)
    }

    /// Chains of one connective are one node, however long.
    fn logic(&self, at: u32, and: bool, left: Expr, right: Expr) -> Result<Expr, Issue> {
        // Counted here: the node itself would look at all parts again for each of them.
        let (mut depth, mut parts) = match left.kind {
            Kind::And(parts) if and => (left.depth, parts),
            Kind::Or(parts) if !and => (left.depth, parts),
            kind => (left.depth + 1, vec![Expr { kind, ..left }]),
        };
        depth = depth.max(right.depth + 1);
        parts.push(right);
        let kind = if and { Kind::And(parts) } else { Kind::Or(parts) };
        if depth > MAX_DEPTH { Err(self.too_deep()) } else { Ok(Expr { at, depth, kind }) }
    }

    fn unary(&mut self) -> Result<Expr, Issue> {
        let at = self.place();
        let name = match self.peek() {
            Token::Mark("!") => "!_",
            Token::Mark("-") => "-_",
            _ => return self.member(),
        };
        let (_, mark) = self.advance();
        let mut count = 1;
        while *self.peek() == mark {
            self.next += 1;
            count += 1;
        }
        if name == "-_"
            && count % 2 == 1
            && let Some(literal) = self.negative(at)?
        {
            return self.suffixes(literal);
        }
        let inner = self.member()?;
        if count % 2 == 0 { Ok(inner) } else { self.call(at, name, false, vec![inner]) }
    }
}
