//! YAML text to a value, by the rules of YAML 1.1 as upstream's parser has them: the library's own rules are those of 1.2.

mod node;
mod resolve;

use std::borrow::Cow;

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::{DecodeError, Limits};
use node::{Failure, Met, Node, State};

/// With it, the library tells of tags that it would else judge by itself.
const TAGS: &str = "%TAG !! !!\n";
/// What begins a document that has directives.
const START: &str = "---\n";

/// What may be missing between tokens.
const MISSING: [&str; 7] =
    ["node content", "',' or '}'", "',' or ']'", "'-' indicator", "key", "<document start>", "<stream-start>"];

/// Parses the first document of a body; the second part is what strict decoding says of duplicate keys.
pub(super) fn parse(body: &[u8], limits: Limits) -> Result<(Value, Vec<String>), DecodeError> {
    if body.len() > limits.bytes {
        return Err(DecodeError::TooLarge(limits.bytes));
    }
    let text = Text::of(body);
    let mut state = State::new(&text.bytes);
    match pass(&text, limits, &mut state) {
        Ok(value) => Ok((value, duplicates(&text, limits, &state.duplicates))),
        Err(_) if state.too_deep => Err(DecodeError::TooDeep(limits.depth)),
        Err(error) => Err(DecodeError::Yaml(words(&text, &error, state.failure))),
    }
}

/// A body as the parser gets it.
struct Text<'a> {
    bytes: Cow<'a, [u8]>,
    /// Lines before those of the body.
    added: usize,
}

impl<'a> Text<'a> {
    fn of(body: &'a [u8]) -> Self {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        if !body.windows(2).any(|pair| pair == b"!!") {
            return Text { bytes: Cow::Borrowed(body), added: 0 };
        }
        let first = body
            .split(|byte| *byte == b'\n')
            .find(|line| !matches!(line.trim_ascii_start().first(), None | Some(b'#')))
            .unwrap_or_default();
        // A document that says where it begins may have directives of its own, too.
        let is_begun = first.starts_with(b"---") || first.starts_with(b"%");
        let (start, added) = if is_begun { ("", 1) } else { (START, 2) };
        Text { bytes: Cow::Owned([TAGS.as_bytes(), start.as_bytes(), body].concat()), added }
    }

    /// The line of the body at which an error happened, where that is known.
    fn line(&self, error: &serde_yaml_ng::Error) -> usize {
        error.location().map_or(0, |place| place.line()).saturating_sub(self.added)
    }
}

fn pass(text: &Text<'_>, limits: Limits, state: &mut State<'_>) -> Result<Value, serde_yaml_ng::Error> {
    match serde_yaml_ng::Deserializer::from_slice(&text.bytes).next() {
        Some(document) => Node::root(state, limits.depth).deserialize(document).map(Met::value),
        None => Ok(Value::Null),
    }
}

/// `yaml: line 3: what is wrong`: the place first, as upstream's parser has it. The first line is not told, and where something is missing
/// between tokens, lines are counted from zero.
fn words(text: &Text<'_>, error: &serde_yaml_ng::Error, failure: Option<Failure>) -> String {
    let bare = match failure {
        Some(Failure::Whole(words)) => return words,
        Some(Failure::Placed(words)) => words,
        None => bare(text, error),
    };
    let line = text.line(error);
    let is_missing = bare.strip_prefix("did not find expected ").is_some_and(|what| MISSING.contains(&what));
    if line <= 1 || bare.starts_with("unknown anchor") {
        return format!("yaml: {bare}");
    }
    let told = if is_missing { line - 1 } else { line };
    format!("yaml: line {told}: {bare}")
}

/// What the library says is wrong, without the place, in upstream's words.
fn bare(text: &Text<'_>, error: &serde_yaml_ng::Error) -> String {
    let whole = error.to_string();
    let ends = [" at line ", " at position ", ", while "];
    let bare = ends.iter().fold(whole.as_str(), |text, end| text.split(end).next().unwrap_or_default());
    match bare {
        "unknown anchor" => {
            let rest = error.location().and_then(|place| text.bytes.get(place.index()..)).unwrap_or_default();
            let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'-');
            let name: Vec<u8> = rest.iter().skip(1).take_while(is_name).copied().collect();
            format!("unknown anchor '{}' referenced", String::from_utf8_lossy(&name))
        }
        "recursion limit exceeded" => "exceeded max depth of 128".to_owned(),
        "repetition limit exceeded" => "document contains excessive aliasing".to_owned(),
        other => other.to_owned(),
    }
}

/// All duplicate keys in one text, each with the line of its value.
fn duplicates(text: &Text<'_>, limits: Limits, keys: &[(usize, String)]) -> Vec<String> {
    if keys.is_empty() {
        return Vec::new();
    }
    let mut told = "yaml: unmarshal errors:".to_owned();
    for (number, key) in keys {
        // The parser tells places only of errors, so this pass fails at the value that is wanted.
        let mut state = State::new(&text.bytes);
        state.stop_at = Some(*number);
        let line = pass(text, limits, &mut state).err().map_or(0, |error| text.line(&error));
        told.push_str(&format!("\n  line {line}: key {key} already set in map"));
    }
    vec![told]
}

#[cfg(test)]
mod tests;
