//! Selectors over labels.

use std::fmt;

use serde_json::Value;

use super::{SelectorError, parse};
use crate::status::quote;
use crate::{Object, meta};

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The value is one of these.
    In,
    /// The label is absent or its value none of these.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// Integer greater than.
    Gt,
    /// Integer less than.
    Lt,
}

/// One condition on a label.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// Comparison.
    pub operator: Operator,
    /// Values, sorted and distinct.
    pub values: Vec<String>,
}

impl Requirement {
    /// A checked requirement.
    ///
    /// # Errors
    /// A malformed key or value, or a number of values that the operator does not take.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, SelectorError> {
        let mut wrong = Vec::new();
        if let Err(SelectorError(why)) = check_key("key", key) {
            wrong.push(why);
        }
        let of_all = |why: &str| format!("values: Invalid value: {values:?}: {why}");
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                wrong.push(of_all("for 'in', 'notin' operators, values set can't be empty"));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                wrong.push(of_all("values set must be empty for exists and does not exist"));
            }
            Operator::Gt | Operator::Lt => {
                if values.len() != 1 {
                    wrong.push(of_all("for 'Gt', 'Lt' operators, exactly one value is required"));
                }
                let odd = values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err());
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                wrong.extend(
                    odd.map(|(index, value)| format!("values[{index}]: Invalid value: {}: {why}", quote(value))),
                );
            }
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            let why = meta::label_value(value).join("; ");
            if !why.is_empty() {
                wrong.push(format!("values[{index}][{key}]: Invalid value: {}: {why}", quote(value)));
            }
        }
        match wrong.as_slice() {
            [] => {}
            [one] => return Err(SelectorError(one.clone())),
            several => return Err(SelectorError(format!("[{}]", several.join(", ")))),
        }
        values.sort_unstable();
        values.dedup();
        Ok(Requirement { key: key.to_owned(), operator, values })
    }

    /// Whether a label with this value (`None`: no such label) satisfies the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|w| w == v);
        let integer = |v: &str| v.parse::<i64>().ok().zip(self.values.first().and_then(|w| w.parse::<i64>().ok()));
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => value.is_none_or(|v| !listed(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => value.and_then(integer).is_some_and(|(have, bound)| have > bound),
            Operator::Lt => value.and_then(integer).is_some_and(|(have, bound)| have < bound),
        }
    }
}

/// Judges the key of a requirement, which stands at a path.
///
/// # Errors
/// A malformed key.
pub(super) fn check_key(path: &str, key: &str) -> Result<(), SelectorError> {
    let why = meta::qualified_name(key).join("; ");
    if why.is_empty() { Ok(()) } else { Err(SelectorError(format!("{path}: Invalid value: {}: {why}", quote(key)))) }
}

/// All conditions must hold; an empty selector matches everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LabelSelector {
    /// The conditions, sorted by key.
    pub requirements: Vec<Requirement>,
    /// A selector that matches no object at all (a null LabelSelector).
    pub nothing: bool,
}

impl LabelSelector {
    /// The selector that matches no object.
    pub const NOTHING: LabelSelector = LabelSelector { requirements: Vec::new(), nothing: true };

    /// Parses the `labelSelector` parameter.
    ///
    /// # Errors
    /// A malformed selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = parse::requirements(text)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(LabelSelector { requirements, nothing: false })
    }

    /// From a LabelSelector object (`matchLabels`, `matchExpressions`); null matches nothing, `{}` everything.
    ///
    /// # Errors
    /// An unknown operator or malformed values.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        let Some(selector) = selector.as_object() else {
            return Ok(Self::NOTHING);
        };
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            requirements.push(Requirement::new(
                key,
                Operator::In,
                vec![value.as_str().unwrap_or_default().to_owned()],
            )?);
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            requirements.push(expression_requirement(expression)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(LabelSelector { requirements, nothing: false })
    }

    /// From a plain map of labels (a Service's or ReplicationController's `spec.selector`); values are taken as they are.
    pub fn from_labels(labels: &Object) -> Self {
        let requirement = |(key, value): (&String, &Value)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.as_str().unwrap_or_default().to_owned()],
        };
        LabelSelector { requirements: labels.iter().map(requirement).collect(), nothing: false }
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Whether labels (the value of `metadata.labels`, or null) match.
    pub fn matches(&self, labels: &Value) -> bool {
        self.matches_values(|key| labels.get(key).and_then(Value::as_str))
    }

    /// As [`LabelSelector::matches`], with a function that gives the value of each label (`None`: no such label).
    pub fn matches_values<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(value_of(&r.key)))
    }
}

fn expression_requirement(expression: &Value) -> Result<Requirement, SelectorError> {
    let operator = match meta::text(expression, &["operator"]) {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        "Lt" => Operator::Lt,
        other => {
            return Err(SelectorError(format!("{} is not a valid label selector operator", quote(other))));
        }
    };
    let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
    let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
    Requirement::new(meta::text(expression, &["key"]), operator, values)
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::In if self.values.len() == 1 => write!(f, "{key}={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn if self.values.len() == 1 => write!(f, "{key}!={values}"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Gt => write!(f, "{key}>{values}"),
            Operator::Lt => write!(f, "{key}<{values}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_match_as_clients_expect() {
        let labels = json!({"app": "web", "tier": "front", "n": "5"});
        for (selector, want) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=db", false),
            ("app!=db", true),
            ("missing!=x", true),
            ("app in (db, web)", true),
            ("app notin (web)", false),
            ("missing notin (web)", true),
            ("app", true),
            ("!app", false),
            ("! missing", true),
            ("n>4", true),
            ("n<5", false),
            ("app=", false),
            ("app in (web),tier,!x", true),
            ("x in ()", false),
            ("in in (in)", false),
        ] {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches(&labels), want, "{selector}");
        }
        assert!(!LabelSelector::from_object(&Value::Null).unwrap().matches(&labels));
        assert!(LabelSelector::from_object(&json!({})).unwrap().matches(&Value::Null));
        let object = json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["back", "front"]}]});
        assert!(LabelSelector::from_object(&object).unwrap().matches(&labels));
    }

    #[test]
    fn selectors_are_written_in_one_form() {
        for (given, want) in [
            ("b = 2 , a==1", "a=1,b=2"),
            ("x in (b,a,b)", "x in (a,b)"),
            ("x notin (a)", "x!=a"),
            ("!y,z", "!y,z"),
            ("n > 3", "n>3"),
        ] {
            assert_eq!(LabelSelector::parse(given).unwrap().to_string(), want);
        }
    }

    #[test]
    fn malformed_selectors_are_refused_in_known_words() {
        for (given, want) in [
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("a in b", "found 'b' expected: '('"),
            ("a in (b", "found '', expected: ',' or ')'"),
            ("a in (b,", "found '', expected: ',', or identifier"),
            ("=x", "found '=', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ] {
            let text = LabelSelector::parse(given).unwrap_err().to_string();
            assert!(text.contains(want), "{given}: {text}");
            let within = ["a in b", "a in (b", "a in (b,", "a b"].contains(&given);
            assert_eq!(text.starts_with("unable to parse requirement: "), within, "{given}: {text}");
        }
        assert!(LabelSelector::parse("a=b_").is_err());
        for (given, want) in [
            ("5 <", "values[0]: Invalid value: \"\": for 'Gt', 'Lt' operators, the value must be an integer"),
            ("-a foo", "<nil>: Invalid value: \"-a\": name part must consist of "),
            (
                "/=b",
                "<nil>: Invalid value: \"/\": prefix part must be non-empty; name part must be non-empty; name part must consist of ",
            ),
            ("a notin (b,-c)", "values[0][a]: Invalid value: \"-c\": a valid label must be "),
            (
                "a>-x",
                "[values[0]: Invalid value: \"-x\": for 'Gt', 'Lt' operators, the value must be an integer, values[0][a]: Invalid value: ",
            ),
        ] {
            let text = LabelSelector::parse(given).unwrap_err().to_string();
            assert!(text.starts_with(&format!("unable to parse requirement: {want}")), "{given}: {text}");
        }
    }
}
