//! What an expression begins with, and what may follow it: fields, calls, indexes.

use super::token::Token;
use super::{Parser, macros};
use crate::ast::{Entry, Expr, Kind, Literal};
use crate::issue::Issue;
use crate::registry;

const BEGINNINGS: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Words that no variable may have for a name.
pub(crate) const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

fn int(digits: &str, negative: bool) -> Option<i64> {
    let (text, radix) = digits.strip_prefix("0x").map_or((digits, 10), |hex| (hex, 16));
    let sign = if negative { "-" } else { "" };
    i64::from_str_radix(&format!("{sign}{text}"), radix).ok()
}

fn uint(digits: &str) -> Option<u64> {
    digits.strip_prefix("0x").map_or_else(|| digits.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok())
}

/// The name of a chain of fields: `a.b.c`.
fn qualified(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.clone()),
        Kind::Select { on, field, test: false, optional: false } => Some(format!("{}.{field}", qualified(on)?)),
        _ => None,
    }
}

impl Parser {
    /// A number after a minus.
    pub(super) fn negative(&mut self, at: u32) -> Result<Option<Expr>, Issue> {
        let literal = match self.peek() {
            Token::Int(digits) => {
                Literal::Int(int(digits, true).ok_or_else(|| Issue::new(at, "Syntax error: invalid int literal"))?)
            }
            Token::Double(number) => Literal::Double(-number),
            _ => return Ok(None),
        };
        self.next += 1;
        self.node(at, Kind::Literal(literal)).map(Some)
    }

    pub(super) fn member(&mut self) -> Result<Expr, Issue> {
        let first = self.primary()?;
        self.suffixes(first)
    }

    /// Fields, calls and indexes, as long as there are any.
    pub(super) fn suffixes(&mut self, mut expr: Expr) -> Result<Expr, Issue> {
        loop {
            let at = self.place();
            if self.accept(".") {
                let optional = self.accept("?");
                expr = self.dotted(at, expr, optional)?;
            } else if self.accept("[") {
                let name = if self.accept("?") { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                expr = self.call(at, name, false, vec![expr, index])?;
            } else if *self.peek() == Token::Mark("{")
                && let Some(name) = qualified(&expr)
            {
                expr = self.structure(name)?;
            } else {
                return Ok(expr);
            }
        }
    }

    /// What follows a dot: a field or a call.
    fn dotted(&mut self, at: u32, on: Expr, optional: bool) -> Result<Expr, Issue> {
        let name = match self.advance() {
            (_, Token::Ident(name) | Token::Quoted(name)) => name,
            _ => {
                self.next -= 1;
                return Err(self.unexpected("IDENTIFIER"));
            }
        };
        let open = self.place();
        if optional || !self.accept("(") {
            return self.node(at, Kind::Select { on: Box::new(on), field: name, test: false, optional });
        }
        let args = self.arguments()?;
        // Functions that have a dot in their name: `lists.range`.
        if let Some(long) = qualified(&on).map(|space| format!("{space}.{name}")) {
            if self.bindings && long == "cel.bind" {
                return macros::bind(self, open, args);
            }
            if registry::overloads(&long).iter().any(|overload| !overload.member) {
                return self.call(open, &long, false, args);
            }
        }
        macros::member(self, open, on, name, args)
    }

    /// Arguments up to the closing bracket.
    fn arguments(&mut self) -> Result<Vec<Expr>, Issue> {
        let mut args = Vec::new();
        if self.accept(")") {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if !self.accept(",") {
                self.expect(")")?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Issue> {
        let (at, token) = self.advance();
        let wrong = |what: &str| Issue::new(at, format!("Syntax error: invalid {what} literal"));
        let literal = match token {
            Token::Ident(word) => match word.as_str() {
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "null" => Literal::Null,
                "in" => {
                    self.next -= 1;
                    return Err(self.unexpected(BEGINNINGS));
                }
                _ => return self.named(at, word),
            },
            Token::Int(digits) => Literal::Int(int(&digits, false).ok_or_else(|| wrong("int"))?),
            Token::Uint(digits) => Literal::Uint(uint(&digits).ok_or_else(|| wrong("uint"))?),
            Token::Double(number) => Literal::Double(number),
            Token::Text(text) => Literal::Text(text),
            Token::Bytes(bytes) => Literal::Bytes(bytes),
            Token::Mark("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Mark("[") => return self.list(at),
            Token::Mark("{") => return self.map(at),
            // A leading dot means the outermost name, which is the only one there is.
            Token::Mark(".") if matches!(self.peek(), Token::Ident(_)) => return self.primary(),
            _ => {
                self.next -= 1;
                return Err(self.unexpected(BEGINNINGS));
            }
        };
        self.node(at, Kind::Literal(literal))
    }

    fn named(&mut self, at: u32, name: String) -> Result<Expr, Issue> {
        if RESERVED.contains(&name.as_str()) {
            return Err(Issue::new(at, format!("Syntax error: reserved identifier: {name}")));
        }
        let open = self.place();
        if !self.accept("(") {
            return self.node(at, Kind::Ident(name));
        }
        let args = self.arguments()?;
        if name == "has" {
            return macros::has(self, open, args);
        }
        self.call(open, &name, false, args)
    }

    fn list(&mut self, at: u32) -> Result<Expr, Issue> {
        let mut items = Vec::new();
        while !self.accept("]") {
            let here = self.place();
            let optional = self.accept("?");
            items.push(Entry { at: here, key: (), value: self.expression()?, optional });
            if !self.accept(",") {
                self.expect("]")?;
                break;
            }
        }
        self.node(at, Kind::List(items))
    }

    fn map(&mut self, at: u32) -> Result<Expr, Issue> {
        let mut entries = Vec::new();
        while !self.accept("}") {
            let optional = self.accept("?");
            let key = self.expression()?;
            let here = self.place();
            self.expect(":")?;
            entries.push(Entry { at: here, key, value: self.expression()?, optional });
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        self.node(at, Kind::Map(entries))
    }

    /// The fields of an object that is made.
    fn structure(&mut self, name: String) -> Result<Expr, Issue> {
        let at = self.place();
        self.expect("{")?;
        let mut fields = Vec::new();
        while !self.accept("}") {
            let optional = self.accept("?");
            let key = match self.advance() {
                (_, Token::Ident(key) | Token::Quoted(key)) => key,
                _ => {
                    self.next -= 1;
                    return Err(self.unexpected("{'}', '?', IDENTIFIER}"));
                }
            };
            let here = self.place();
            self.expect(":")?;
            fields.push(Entry { at: here, key, value: self.expression()?, optional });
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        self.node(at, Kind::Struct { name, fields })
    }
}
