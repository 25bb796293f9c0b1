//! Regular expressions as Go's `regexp` reads them, which is what schemas and rules are written for.
//!
//! The engine here means the same by nearly all of them. What it reads otherwise is said in its own words before it is compiled: brackets,
//! doubled signs and hyphens within a class, braces that repeat nothing, escapes of signs and octal numbers, quoted parts.

use regex_lite::{Regex, RegexBuilder};

/// Largest compiled pattern of a schema, in bytes.
pub const MAX_SIZE: usize = 10 << 20;

/// Most repetitions that one sign asks for.
const MOST_REPEATS: u32 = 1000;

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It asks for a class of Unicode, which the engine has not; Go knows it.
    #[error("error parsing regexp: classes of Unicode are not supported: `{0}`")]
    UnicodeClass(String),
    /// Go would not take it either.
    #[error("error parsing regexp: {0}")]
    Malformed(String),
}

/// Compiles a pattern to at most `size` bytes.
///
/// # Errors
/// See [`PatternError`].
pub fn compile(text: &str, size: usize) -> Result<Regex, PatternError> {
    let built = RegexBuilder::new(&translated(text)?).size_limit(size).build();
    built.map_err(|error| PatternError::Malformed(error.to_string()))
}

/// The pattern in the engine's words.
fn translated(text: &str) -> Result<String, PatternError> {
    let mut reader = Reader { rest: text, made: String::with_capacity(text.len()) };
    let mut open = 0_usize;
    while let Some(c) = reader.bump() {
        match c {
            '\\' if reader.rest.starts_with('Q') => reader.quoted(),
            '\\' => match reader.escaped(false)? {
                Item::Char(c) => reader.literal(c),
                Item::Own(c) => reader.made.extend(['\\', c]),
            },
            '[' => reader.class()?,
            '(' if sets_own_flags(reader.rest) => return Err(malformed("invalid or unsupported Perl syntax", "(?")),
            '(' if looks_around(reader.rest) => {
                let sign = reader.rest.get(..2).unwrap_or_default();
                return Err(malformed("invalid or unsupported Perl syntax", &format!("({sign}")));
            }
            ')' if open == 0 => return Err(malformed("unexpected )", text)),
            '{' if !repeats(reader.rest) => reader.literal('{'),
            '{' => {
                bounded(reader.rest)?;
                reader.made.push('{');
            }
            '(' | ')' => {
                open = if c == '(' { open + 1 } else { open - 1 };
                reader.made.push(c);
            }
            c => reader.made.push(c),
        }
    }
    if open > 0 {
        return Err(malformed("missing closing )", text));
    }
    Ok(reader.made)
}

/// Whether what follows a parenthesis asks what comes next without taking it.
fn looks_around(rest: &str) -> bool {
    rest.starts_with("?=") || rest.starts_with("?!")
}

/// A repetition counts up to a thousand, and upwards.
fn bounded(rest: &str) -> Result<(), PatternError> {
    let inner = rest.split('}').next().unwrap_or_default();
    let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
    let count = |digits: &str| digits.parse::<u32>().unwrap_or(u32::MAX);
    let most = if most.is_empty() { MOST_REPEATS } else { count(most) };
    if most > MOST_REPEATS || count(least) > most {
        return Err(malformed("invalid repeat count", &format!("{{{inner}}}")));
    }
    Ok(())
}

/// Whether what follows a brace makes it a repetition. It is not looked further than that: a pattern may have a brace in every place.
fn repeats(rest: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    let after = rest.trim_start_matches(is_digit);
    let end = after.strip_prefix(',').map_or(after, |most| most.trim_start_matches(is_digit));
    after.len() < rest.len() && end.starts_with('}')
}

/// Whether what follows a parenthesis sets flags that the engine alone has, some of which make it read all that follows otherwise.
fn sets_own_flags(rest: &str) -> bool {
    let flags = rest.strip_prefix('?').unwrap_or_default().bytes();
    flags.take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'-').any(|flag| matches!(flag, b'R' | b'u' | b'x'))
}

fn malformed(why: &str, part: &str) -> PatternError {
    PatternError::Malformed(format!("{why}: `{part}`"))
}

/// What stands in one place of a pattern.
enum Item {
    Char(char),
    /// A letter behind a backslash that both mean alike.
    Own(char),
}

struct Reader<'a> {
    rest: &'a str,
    made: String,
}

impl Reader<'_> {
    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    /// Takes a sign if it stands here.
    fn take(&mut self, sign: char) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A sign that stands for itself, in a class too.
    fn literal(&mut self, c: char) {
        if c.is_ascii_alphanumeric() || !c.is_ascii() {
            self.made.push(c);
        } else {
            self.made.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
        }
    }

    /// All up to `\E` stands for itself.
    fn quoted(&mut self) {
        self.take('Q');
        let (inner, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
        self.rest = rest;
        inner.chars().for_each(|c| self.literal(c));
    }

    /// What follows a backslash.
    fn escaped(&mut self, in_class: bool) -> Result<Item, PatternError> {
        let Some(c) = self.bump() else { return Err(malformed("trailing backslash at end of expression", "")) };
        let bad = || malformed("invalid escape sequence", &format!("\\{c}"));
        Ok(match c {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => Item::Own(c),
            'A' | 'z' | 'b' | 'B' if !in_class => Item::Own(c),
            'p' | 'P' => {
                let class = self.rest.split_inclusive(['}', ']']).next().unwrap_or_default();
                return Err(PatternError::UnicodeClass(format!("\\{c}{class}")));
            }
            'a' => Item::Char('\u{7}'),
            'f' => Item::Char('\u{C}'),
            'n' => Item::Char('\n'),
            'r' => Item::Char('\r'),
            't' => Item::Char('\t'),
            'v' => Item::Char('\u{B}'),
            'x' => Item::Char(self.hexadecimal().ok_or_else(bad)?),
            '0'..='7' => Item::Char(self.octal(c).ok_or_else(bad)?),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Item::Char(c),
            _ => return Err(bad()),
        })
    }

    /// Two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<char> {
        let (digits, rest) = match self.rest.strip_prefix('{') {
            Some(rest) => rest.split_once('}')?,
            None => self.rest.split_at_checked(2)?,
        };
        self.rest = rest;
        let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|_| plain).and_then(char::from_u32)
    }

    /// Up to three digits; one that is not zero by itself would be a reference to what was found before.
    fn octal(&mut self, first: char) -> Option<char> {
        let more = self.rest.bytes().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
        let (digits, rest) = self.rest.split_at_checked(more)?;
        if first != '0' && digits.is_empty() {
            return None;
        }
        self.rest = rest;
        u32::from_str_radix(&format!("{first}{digits}"), 8).ok().and_then(char::from_u32)
    }

    /// A class, behind its opening bracket. A bracket that closes is itself in the first place, one that opens in all.
    fn class(&mut self) -> Result<(), PatternError> {
        self.made.push('[');
        if self.take('^') {
            self.made.push('^');
        }
        let mut first = true;
        while first || !self.take(']') {
            first = false;
            if self.posix() {
                continue;
            }
            match self.item()? {
                Item::Char(low) => self.range(low)?,
                Item::Own(c) => self.made.extend(['\\', c]),
            }
        }
        self.made.push(']');
        Ok(())
    }

    /// `[:alpha:]` and the like; the engine knows which there are.
    fn posix(&mut self) -> bool {
        let Some(inner) = self.rest.strip_prefix("[:") else { return false };
        let after = inner.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '^');
        let (Some(name), Some(rest)) = (inner.strip_suffix(after), after.strip_prefix(":]")) else { return false };
        self.made.push_str(&format!("[:{name}:]"));
        self.rest = rest;
        true
    }

    fn item(&mut self) -> Result<Item, PatternError> {
        match self.bump() {
            Some('\\') => self.escaped(true),
            Some(c) => Ok(Item::Char(c)),
            None => Err(malformed("missing closing ]", &self.made)),
        }
    }

    /// A sign of a class, or all up to another.
    fn range(&mut self, low: char) -> Result<(), PatternError> {
        self.literal(low);
        let follows = self.rest.strip_prefix('-').is_some_and(|rest| !rest.is_empty() && !rest.starts_with(']'));
        if !follows {
            return Ok(());
        }
        self.take('-');
        match self.item()? {
            Item::Char(high) if low <= high => {
                self.made.push('-');
                self.literal(high);
                Ok(())
            }
            Item::Char(high) => Err(malformed("invalid character class range", &format!("{low}-{high}"))),
            Item::Own(c) => Err(malformed("invalid escape sequence", &format!("\\{c}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_go_means_by_them() {
        for (pattern, yes, no) in [
            // Hyphens behind a class, as patterns of addresses of mail have them.
            (r"^[\w-\.]+@([\w-]+\.)+[\w-]{2,4}$", "a-b.c@d-e.org", "a b@c.org"),
            (r"^[\w.-]+$", "a.b-c", "a/b"),
            // Brackets and doubled signs are themselves within a class.
            (r"^[[a]+$", "[a[", "]"),
            (r"^[]a]+$", "]a", "["),
            (r"^[^[]+$", "ab", "a["),
            (r"^[a&&b]+$", "a&b", "c"),
            (r"^[+--]+$", "+,-", "."),
            (r"^[~~a]+$", "~a", "b"),
            (r"^[[:alpha:]_]+$", "a_B", "1"),
            (r"^[[:^digit:]]+$", "ab", "a1"),
            (r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$", "X-a`~", "a b"),
            (r"^[-A-Za-z0-9/._~!$&'()*+,;=:@%]+$", "/a(b)", "a b"),
            // Braces that repeat nothing.
            (r"^{{.+}}$", "{{x}}", "{x}"),
            (r"^a{,2}$", "a{,2}", "aa"),
            (r"^a{2,}b{1}$", "aaab", "ab"),
            (r"^a{2,3}b{1,2,3}c{}d{,e{1$", "aaab{1,2,3}c{}d{,e{1", "aab"),
            (r"^[[:word]+$", "[wo:", "a"),
            // Escapes.
            (r"^\/\_\-\@\<\'$", "/_-@<'", "/"),
            (r"^\x41\x{42}\103\0?$", "ABC", "AB"),
            (r"^[\t\x{20}-\x{7E}]+$", "a b\t", "\n"),
            (r"^\Qa.b{\E+$", "a.b{{", "axb{"),
            (r"(?i)^straße-[a-z]$", "STRAße-B", "x"),
        ] {
            let compiled = compile(pattern, MAX_SIZE).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert!(compiled.is_match(yes), "{pattern} matches {yes:?}: {compiled}");
            assert!(!compiled.is_match(no), "{pattern} does not match {no:?}: {compiled}");
        }
    }

    #[test]
    fn what_go_does_not_take_is_refused_and_classes_of_unicode_are_told_apart() {
        for bad in [
            "+",
            "(",
            "[a",
            "[b-a]",
            r"[a-\d]",
            r"\1",
            r"\y",
            r"a(?=b)",
            "(?x)a b",
            "(?i-u:a)",
            "[[:none:]]",
            r"\",
            r"[\b]",
            "a{1001}",
            "a{3,2}",
            "a)",
        ] {
            assert!(matches!(compile(bad, MAX_SIZE), Err(PatternError::Malformed(_))), "{bad}");
        }
        for (bad, why) in [
            ("(a", "missing closing ): `(a`"),
            ("a)(", "unexpected ): `a)(`"),
            ("a{2000}", "invalid repeat count: `{2000}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("a(?=b)", "invalid or unsupported Perl syntax: `(?=`"),
        ] {
            let said = compile(bad, MAX_SIZE).unwrap_err().to_string();
            assert_eq!(said, format!("error parsing regexp: {why}"), "{bad}");
        }
        let class = compile(r"^[a\p{L}]+$", MAX_SIZE).unwrap_err();
        assert_eq!(class, PatternError::UnicodeClass(r"\p{L}".into()));
        assert!(matches!(compile("(a{1000}){1000}", 1 << 20), Err(PatternError::Malformed(_))), "its size is bounded");
    }
}
