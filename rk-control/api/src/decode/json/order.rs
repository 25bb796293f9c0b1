//! Unknown and duplicate fields in the order in which the text has them.

use std::collections::HashSet;

use super::{Limits, Parser};

/// What strict decoding says: `unknown field "a"`, `duplicate field "b"`, each once, in the order of the text. Fields inside unknown
/// ones are nobody's business.
pub(in super::super) fn in_order(body: &[u8], unknown: &[String], duplicates: &[String]) -> Vec<String> {
    let limits = Limits { bytes: body.len(), ..Limits::default() };
    let mut walk = Walk {
        parser: Parser::new(body, limits),
        unknown: unknown.iter().map(String::as_str).collect(),
        duplicates: duplicates.iter().map(String::as_str).collect(),
        seen: HashSet::new(),
        notices: Vec::new(),
        told: HashSet::new(),
    };
    walk.value(&mut String::new());
    walk.notices
}

/// A second pass over a body that is known to be well-formed, made only when there is something to report.
struct Walk<'a> {
    parser: Parser<'a>,
    unknown: HashSet<&'a str>,
    duplicates: HashSet<&'a str>,
    seen: HashSet<String>,
    notices: Vec<String>,
    /// The notices, to be found.
    told: HashSet<String>,
}

impl Walk<'_> {
    fn value(&mut self, path: &mut String) {
        self.parser.space();
        match self.parser.peek() {
            Some(b'{') => self.members(path),
            Some(b'[') => self.elements(path),
            _ => drop(self.parser.value()),
        }
    }

    /// Steps over one byte when it is this one.
    fn skip(&mut self, byte: u8) -> bool {
        self.parser.space();
        let found = self.parser.peek() == Some(byte);
        self.parser.at += usize::from(found);
        found
    }

    fn members(&mut self, path: &mut String) {
        self.skip(b'{');
        while !self.skip(b'}') && self.parser.peek() == Some(b'"') {
            let Ok(key) = self.parser.string() else { return };
            self.skip(b':');
            let length = path.len();
            if length > 0 {
                path.push('.');
            }
            path.push_str(&key);
            let again = !self.seen.insert(path.clone());
            if self.unknown.contains(path.as_str()) {
                self.notice("unknown", path);
                self.parser.space();
                drop(self.parser.value());
            } else {
                if again && self.duplicates.contains(path.as_str()) {
                    self.notice("duplicate", path);
                }
                self.value(path);
            }
            path.truncate(length);
            self.skip(b',');
        }
    }

    fn elements(&mut self, path: &mut String) {
        self.skip(b'[');
        let mut index = 0;
        while !self.skip(b']') && self.parser.peek().is_some() {
            let length = path.len();
            path.push_str(&format!("[{index}]"));
            self.value(path);
            path.truncate(length);
            self.skip(b',');
            index += 1;
        }
    }

    fn notice(&mut self, what: &str, path: &str) {
        let text = format!("{what} field {path:?}");
        if self.told.insert(text.clone()) {
            self.notices.push(text);
        }
    }
}
