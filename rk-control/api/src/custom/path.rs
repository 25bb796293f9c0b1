//! The part of JSONPath that printer columns use: fields, indexes, wildcards and simple filters.

use serde_json::Value;

/// A parsed path, such as `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Elements whose field has this value, or differs from it.
    Where(Vec<String>, bool, String),
}

impl JsonPath {
    /// Parses a path; `None` for what is not understood.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text.trim().strip_prefix('$').unwrap_or(text.trim());
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('[') {
                let end = closing(after)?;
                steps.push(bracket(after.get(..end)?)?);
                rest = after.get(end + 1..)?;
            } else {
                rest = rest.strip_prefix('.').unwrap_or(rest);
                let end = name_end(rest);
                let name = rest.get(..end)?.replace("\\.", ".");
                match name.as_str() {
                    "" if end == rest.len() => break,
                    "" if rest.starts_with('[') => {}
                    "" => return None,
                    "*" => steps.push(Step::All),
                    _ => steps.push(Step::Field(name)),
                }
                rest = rest.get(end..)?;
            }
        }
        Some(Self(steps))
    }

    /// Every value that the path leads to.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.follow(value)).collect();
        }
        found
    }
}

/// Where a name ends: at a dot or bracket that is not escaped.
fn name_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '.' | '[' => return at,
            _ => {}
        }
    }
    text.len()
}

/// Where a bracket closes, past quoted text.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, ']') => return Some(at),
            _ => {}
        }
    }
    None
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(text)
}

fn bracket(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::All);
    }
    if let Ok(index) = text.parse() {
        return Some(Step::Index(index));
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        let (left, equal, right) = match (filter.split_once("=="), filter.split_once("!=")) {
            (Some((left, right)), _) => (left, true, right),
            (None, Some((left, right))) => (left, false, right),
            _ => return None,
        };
        let field = left.trim().strip_prefix("@.")?.split('.').map(str::to_owned).collect();
        return Some(Step::Where(field, equal, unquoted(right).to_owned()));
    }
    (unquoted(text) != text).then(|| Step::Field(unquoted(text).to_owned()))
}

impl Step {
    fn follow<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Step::Field(name), Value::Object(object)) => object.get(name).into_iter().collect(),
            (Step::Index(index), Value::Array(items)) => {
                let at = if *index < 0 { items.len() as i64 + index } else { *index };
                usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
            }
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::All, Value::Object(object)) => object.values().collect(),
            (Step::Where(field, equal, wanted), Value::Array(items)) => {
                let matches = |item: &&Value| {
                    let found = field.iter().try_fold(*item, |value, name| value.get(name));
                    let text = found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                    (text.as_deref() == Some(wanted)) == *equal
                };
                items.iter().filter(matches).collect()
            }
            _ => Vec::new(),
        }
    }
}
