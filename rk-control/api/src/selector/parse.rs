//! The text form of label selectors.

use super::SelectorError;
use super::labels::{Operator, Requirement, check_key};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    /// One of `=`, `==`, `!=`, `!`, `<`, `>`, `,`, `(`, `)`.
    Sign(&'a str),
    End,
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Token::Word(text) | Token::Sign(text) => text,
            Token::End => "",
        }
    }
}

/// Every requirement of a selector, in the order of the text.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { rest: text };
    let mut out = Vec::new();
    loop {
        match parser.peek() {
            Token::Word(_) | Token::Sign("!") => out.push(parser.requirement().map_err(unread)?),
            Token::End => return Ok(out),
            other => {
                return refuse(format!("found '{}', expected: !, identifier, or 'end of string'", other.text()));
            }
        }
        match parser.next() {
            Token::End => return Ok(out),
            Token::Sign(",") => match parser.peek() {
                Token::Word(_) | Token::Sign("!") => {}
                other => {
                    return refuse(format!("found '{}', expected: identifier after ','", other.text()));
                }
            },
            other => {
                return refuse(format!("found '{}', expected: ',' or 'end of string'", other.text()));
            }
        }
    }
}

fn refuse<T>(why: String) -> Result<T, SelectorError> {
    Err(SelectorError(why))
}

/// Of what is wrong in a requirement upstream says so, of what stands between two it does not.
fn unread(why: SelectorError) -> SelectorError {
    SelectorError(format!("unable to parse requirement: {why}"))
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Token<'a> {
        let text = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let is_sign = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '<' | '>');
        let end = match text.chars().next() {
            None => 0,
            Some(first) if is_sign(first) => ["==", "!="].iter().find(|s| text.starts_with(**s)).map_or(1, |s| s.len()),
            Some(_) => text.find(|c: char| is_sign(c) || c.is_ascii_whitespace()).unwrap_or(text.len()),
        };
        let (token, rest) = text.split_at(end);
        self.rest = rest;
        match token.chars().next() {
            None => Token::End,
            Some(first) if is_sign(first) => Token::Sign(token),
            Some(_) => Token::Word(token),
        }
    }

    fn peek(&self) -> Token<'a> {
        Parser { rest: self.rest }.next()
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let absent = self.peek() == Token::Sign("!");
        if absent {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return refuse(format!("found '{}', expected: identifier", other.text())),
        };
        // Upstream tells no place here.
        check_key("<nil>", key)?;
        if absent {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        let operator = match self.peek() {
            Token::End | Token::Sign(",") => {
                return Requirement::new(key, Operator::Exists, Vec::new());
            }
            Token::Sign("=" | "==") | Token::Word("in") => Operator::In,
            Token::Sign("!=") | Token::Word("notin") => Operator::NotIn,
            Token::Sign(">") => Operator::Gt,
            Token::Sign("<") => Operator::Lt,
            other => {
                return refuse(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text()));
            }
        };
        let mut values = match self.next() {
            Token::Word(_) => self.set()?,
            _ => vec![self.value()?],
        };
        // They are a set before they are judged.
        values.sort_unstable();
        values.dedup();
        Requirement::new(key, operator, values)
    }

    /// The value after a sign; nothing at all means the empty string.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            Token::End | Token::Sign(",") => Ok(String::new()),
            Token::Word(word) => {
                self.next();
                Ok(word.to_owned())
            }
            other => refuse(format!("found '{}', expected: identifier", other.text())),
        }
    }

    /// `(a, b)`; an empty place stands for the empty string.
    fn set(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.next() {
            Token::Sign("(") => {}
            other => return refuse(format!("found '{}' expected: '('", other.text())),
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Word(word) => {
                    values.push(word.to_owned());
                    match self.next() {
                        Token::Sign(",") if self.peek() == Token::Sign(")") => values.push(String::new()),
                        Token::Sign(",") => {}
                        Token::Sign(")") => return Ok(values),
                        other => {
                            return refuse(format!("found '{}', expected: ',' or ')'", other.text()));
                        }
                    }
                }
                Token::Sign(")") => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    return Ok(values);
                }
                Token::Sign(",") => values.push(String::new()),
                other => {
                    let expected = if values.is_empty() { "',', ')' or identifier" } else { "',', or identifier" };
                    return refuse(format!("found '{}', expected: {expected}", other.text()));
                }
            }
        }
    }
}
