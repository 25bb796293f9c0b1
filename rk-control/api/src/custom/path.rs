//! The part of JSONPath that printer columns use: fields, indexes, slices, wildcards, filters and what lies at any depth.

use std::cmp::Ordering;

use serde_json::Value;

/// A parsed path, such as `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    /// From one place up to another, each so many steps; places below zero count from the end.
    Slice(Option<i64>, Option<i64>, usize),
    All,
    /// The value and all that lies in it.
    Deep,
    /// Elements that have a field, and in which it compares so with this value.
    Where(Vec<String>, Option<(Relation, String)>),
}

/// How a filter compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Other,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// The signs of relations; those that begin others come after them.
const RELATIONS: [(&str, Relation); 6] = [
    ("==", Relation::Equal),
    ("!=", Relation::Other),
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("<", Relation::Less),
    (">", Relation::More),
];

impl Relation {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Other => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::More => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
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
                let inner = after.get(..end)?;
                match inner.strip_prefix('\'').and_then(|name| name.strip_suffix('\'')) {
                    // A name in quotes is a path as well: its dots count, unless they are escaped.
                    Some(name) => steps.extend(Self::parse(&format!(".{name}"))?.0),
                    None => steps.push(bracket(inner)?),
                }
                rest = after.get(end + 1..)?;
            } else if let Some(after) = rest.strip_prefix("..") {
                steps.push(Step::Deep);
                rest = after;
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
        let at = filter.find(['=', '!', '<', '>']).unwrap_or(filter.len());
        let (left, rest) = (filter.get(..at)?, filter.get(at..)?);
        let field = left.trim().strip_prefix("@.")?.split('.').map(str::to_owned).collect();
        if rest.is_empty() {
            return Some(Step::Where(field, None));
        }
        let compare =
            |(sign, relation): &(&str, Relation)| Some((*relation, unquoted(rest.strip_prefix(sign)?).to_owned()));
        return Some(Step::Where(field, Some(RELATIONS.iter().find_map(compare)?)));
    }
    if unquoted(text) != text {
        return Some(Step::Field(unquoted(text).to_owned()));
    }
    slice(text)
}

/// `from:to:step`, of which all may be missing.
fn slice(text: &str) -> Option<Step> {
    let mut parts = text.split(':').map(str::trim);
    let mut place = || match parts.next() {
        None | Some("") => Some(None),
        Some(part) => part.parse::<i64>().ok().map(Some),
    };
    let (from, to, step) = (place()?, place()?, place()?.unwrap_or(1));
    let step = usize::try_from(step).ok().filter(|step| *step > 0)?;
    (text.contains(':') && parts.next().is_none()).then_some(Step::Slice(from, to, step))
}

/// The elements of a slice; none where it reaches beyond the list, as upstream has it.
fn sliced(items: &[Value], from: Option<i64>, to: Option<i64>, step: usize) -> Vec<&Value> {
    let length = items.len() as i64;
    let place = |at: i64| usize::try_from(if at < 0 { at + length } else { at }).ok();
    let range = place(from.unwrap_or(0)).zip(place(to.unwrap_or(length)));
    let found = range.and_then(|(from, to)| items.get(from..to));
    found.into_iter().flatten().step_by(step).collect()
}

/// A value and all that lies in it, the outer before the inner.
fn deep<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| deep(item, found)),
        Value::Object(object) => object.values().for_each(|inner| deep(inner, found)),
        _ => {}
    }
}

/// How a value compares with a text of a filter: as numbers where both are, else as text.
fn compared(value: &Value, wanted: &str) -> Option<Ordering> {
    if let (Some(number), Ok(wanted)) = (value.as_f64(), wanted.parse::<f64>()) {
        return number.partial_cmp(&wanted);
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(text.as_str().cmp(wanted))
}

impl Step {
    fn follow<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Step::Field(name), Value::Object(object)) => object.get(name).into_iter().collect(),
            (Step::Index(index), Value::Array(items)) => {
                let at = if *index < 0 { items.len() as i64 + index } else { *index };
                usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
            }
            (Step::Slice(from, to, step), Value::Array(items)) => sliced(items, *from, *to, *step),
            (Step::Deep, value) => {
                let mut found = Vec::new();
                deep(value, &mut found);
                found
            }
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::All, Value::Object(object)) => object.values().collect(),
            (Step::Where(field, comparison), Value::Array(items)) => {
                let matches = |item: &&Value| {
                    let Some(found) = field.iter().try_fold(*item, |value, name| value.get(name)) else { return false };
                    let holds = |(relation, wanted): &(Relation, String)| {
                        compared(found, wanted).is_some_and(|order| relation.holds(order))
                    };
                    comparison.as_ref().is_none_or(holds)
                };
                items.iter().filter(matches).collect()
            }
            _ => Vec::new(),
        }
    }
}
