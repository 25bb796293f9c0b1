//! From text to tokens.

use super::escape;
use crate::issue::Issue;

/// A word of the language.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    End,
    /// An operator or bracket.
    Mark(&'static str),
    Ident(String),
    /// A field's name between backquotes.
    Quoted(String),
    /// The digits of an integer: decimal, or hexadecimal after `0x`.
    Int(String),
    Uint(String),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Token {
    /// As messages show it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Token::End => "<EOF>".to_owned(),
            Token::Mark(mark) => (*mark).to_owned(),
            Token::Ident(name) | Token::Int(name) => name.clone(),
            Token::Quoted(name) => format!("`{name}`"),
            Token::Uint(digits) => format!("{digits}u"),
            Token::Double(number) => number.to_string(),
            Token::Text(text) => format!("{text:?}"),
            Token::Bytes(bytes) => format!("b{:?}", String::from_utf8_lossy(bytes)),
        }
    }
}

const MARKS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "=", "!", "?", ":", ",", ".", "(", ")", "[", "]", "{", "}", "+", "-",
    "*", "/", "%",
];

/// Every token with its place; the last is [`Token::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<(u32, Token)>, Issue> {
    let letters: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { letters: &letters, at: 0 };
    let mut out = Vec::new();
    loop {
        lexer.skip();
        let start = lexer.at;
        let place = u32::try_from(start).unwrap_or(u32::MAX);
        let token = lexer.next().map_err(|why| Issue::new(place, format!("Syntax error: {why}")))?;
        let end = token == Token::End;
        out.push((place, token));
        if end {
            return Ok(out);
        }
    }
}

struct Lexer<'a> {
    letters: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.letters.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let rest = self.letters.get(self.at..).unwrap_or_default();
        let found: String = rest.iter().copied().take_while(|letter| wanted(*letter)).collect();
        self.at += found.chars().count();
        found
    }

    /// Blanks and comments.
    fn skip(&mut self) {
        loop {
            self.take_while(|letter| matches!(letter, ' ' | '\t' | '\r' | '\n' | '\u{c}'));
            if (self.peek(0), self.peek(1)) != ('/', '/') {
                return;
            }
            self.take_while(|letter| letter != '\n');
        }
    }

    fn next(&mut self) -> Result<Token, String> {
        let first = self.peek(0);
        if self.at >= self.letters.len() {
            return Ok(Token::End);
        }
        if let Some(token) = self.string()? {
            return Ok(token);
        }
        if first.is_ascii_digit() || (first == '.' && self.peek(1).is_ascii_digit()) {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(Token::Ident(self.take_while(|letter| letter.is_ascii_alphanumeric() || letter == '_')));
        }
        if first == '`' {
            self.at += 1;
            let name = self.take_while(|l| l.is_ascii_alphanumeric() || matches!(l, '_' | '.' | '-' | '/' | ' '));
            if self.peek(0) != '`' || name.is_empty() {
                return Err(format!("token recognition error at: '`{name}'"));
            }
            self.at += 1;
            return Ok(Token::Quoted(name));
        }
        let found = MARKS.iter().find(|mark| mark.chars().enumerate().all(|(i, letter)| self.peek(i) == letter));
        let mark = found.ok_or_else(|| format!("token recognition error at: '{first}'"))?;
        self.at += mark.len();
        Ok(Token::Mark(mark))
    }

    fn number(&mut self) -> Result<Token, String> {
        if self.peek(0) == '0' && matches!(self.peek(1), 'x' | 'X') && self.peek(2).is_ascii_hexdigit() {
            self.at += 2;
            let digits = format!("0x{}", self.take_while(|letter| letter.is_ascii_hexdigit()));
            return Ok(self.integer(digits));
        }
        let mut text = self.take_while(|letter| letter.is_ascii_digit());
        let fraction = self.peek(0) == '.' && self.peek(1).is_ascii_digit();
        if fraction {
            self.at += 1;
            text = format!("{text}.{}", self.take_while(|letter| letter.is_ascii_digit()));
        }
        let sign = usize::from(matches!(self.peek(1), '+' | '-'));
        let exponent = matches!(self.peek(0), 'e' | 'E') && self.peek(1 + sign).is_ascii_digit();
        if exponent {
            text.push('e');
            if self.peek(1) == '-' {
                text.push('-');
            }
            self.at += 1 + sign;
            text.push_str(&self.take_while(|letter| letter.is_ascii_digit()));
        }
        if !fraction && !exponent {
            return Ok(self.integer(text));
        }
        text.parse().map(Token::Double).map_err(|_| "invalid double literal".to_owned())
    }

    fn integer(&mut self, digits: String) -> Token {
        if matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            return Token::Uint(digits);
        }
        Token::Int(digits)
    }

    /// A string or bytes literal, if one begins here.
    fn string(&mut self) -> Result<Option<Token>, String> {
        let (mut raw, mut bytes, mut length) = (false, false, 0);
        while length < 2 {
            match self.peek(length) {
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                _ => break,
            }
            length += 1;
        }
        let quote = self.peek(length);
        if quote != '"' && quote != '\'' {
            return Ok(None);
        }
        self.at += length;
        let triple = self.peek(1) == quote && self.peek(2) == quote;
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let mut body = String::new();
        loop {
            let letter = self.peek(0);
            let ended = (0..width).all(|ahead| self.peek(ahead) == quote);
            if ended {
                self.at += width;
                break;
            }
            if self.at >= self.letters.len() || (!triple && matches!(letter, '\n' | '\r')) {
                return Err(format!("token recognition error at: '{quote}{body}'"));
            }
            body.push(letter);
            self.at += 1;
            if letter == '\\' && !raw && self.at < self.letters.len() {
                body.push(self.peek(0));
                self.at += 1;
            }
        }
        let token = match (raw, bytes) {
            (true, false) => Token::Text(body),
            (true, true) => Token::Bytes(body.into_bytes()),
            (false, false) => Token::Text(escape::text(&body)?),
            (false, true) => Token::Bytes(escape::bytes(&body)?),
        };
        Ok(Some(token))
    }
}
