//! Label selectors, compiled once and matched often.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A selector that the API would have refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SelectorError {
    /// Not one of `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`.
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
    Never,
}

/// A compiled selector: all of its requirements must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LabelMatcher {
    tests: Vec<(String, Test)>,
    nothing: bool,
}

impl LabelMatcher {
    /// Matches every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Matches no object.
    pub fn nothing() -> Self {
        Self { tests: Vec::new(), nothing: true }
    }

    /// Compiles a selector; an absent one matches nothing, an empty one everything.
    pub fn new(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else { return Ok(Self::nothing()) };
        let mut matcher = Self::of_map(selector.match_labels.as_ref());
        for expression in selector.match_expressions.iter().flatten() {
            matcher =
                matcher.and(&expression.key, &expression.operator, expression.values.as_deref().unwrap_or_default())?;
        }
        Ok(matcher)
    }

    /// Compiles a plain map of labels, as Services and ReplicationControllers have it; an empty one matches everything.
    pub fn of_map(map: Option<&Labels>) -> Self {
        let tests = map.into_iter().flatten().map(|(k, v)| (k.clone(), Test::In(vec![v.clone()]))).collect();
        Self { tests, nothing: false }
    }

    /// Adds one requirement in the words of the API.
    pub fn and(mut self, key: &str, operator: &str, values: &[String]) -> Result<Self, SelectorError> {
        let number = || values.first().and_then(|v| v.parse::<i64>().ok());
        let test = match operator {
            "In" => Test::In(values.to_vec()),
            "NotIn" => Test::NotIn(values.to_vec()),
            "Exists" => Test::Exists,
            "DoesNotExist" => Test::Absent,
            "Gt" => number().map_or(Test::Never, Test::Greater),
            "Lt" => number().map_or(Test::Never, Test::Less),
            other => return Err(SelectorError::Operator(other.to_owned())),
        };
        self.tests.push((key.to_owned(), test));
        Ok(self)
    }

    /// Whether it has no requirement and so matches everything.
    pub fn is_everything(&self) -> bool {
        self.tests.is_empty() && !self.nothing
    }

    /// Whether labels satisfy every requirement.
    pub fn matches(&self, labels: Option<&Labels>) -> bool {
        !self.nothing && self.tests.iter().all(|(key, test)| test.holds(labels.and_then(|l| l.get(key))))
    }
}

impl Test {
    fn holds(&self, value: Option<&String>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match self {
            Test::In(values) => value.is_some_and(|v| values.contains(v)),
            Test::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Greater(bound) => number().is_some_and(|n| n > *bound),
            Test::Less(bound) => number().is_some_and(|n| n < *bound),
            Test::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_hold_as_the_api_defines_them() {
        let labels: Labels = [("app".to_owned(), "web".to_owned()), ("size".to_owned(), "5".to_owned())].into();
        let cases: &[(&str, &str, &[&str], bool)] = &[
            ("app", "In", &["web", "db"], true),
            ("app", "NotIn", &["web"], false),
            ("zone", "NotIn", &["a"], true),
            ("zone", "In", &["a"], false),
            ("app", "Exists", &[], true),
            ("app", "DoesNotExist", &[], false),
            ("size", "Gt", &["4"], true),
            ("size", "Lt", &["5"], false),
            ("app", "Gt", &["4"], false),
        ];
        for (key, operator, values, expected) in cases {
            let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
            let matcher = LabelMatcher::everything().and(key, operator, &values).expect("known operator");
            assert_eq!(matcher.matches(Some(&labels)), *expected, "{key} {operator} {values:?}");
        }
        assert!(LabelMatcher::new(Some(&LabelSelector::default())).expect("valid").matches(None));
        assert!(!LabelMatcher::new(None).expect("valid").matches(Some(&labels)));
        assert!(LabelMatcher::everything().and("a", "Near", &[]).is_err());
    }
}
