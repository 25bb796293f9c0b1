//! Values held against parts of a schema that is no kind's yet.

use std::collections::HashMap;

use regex_lite::Regex;
use serde_json::Value;

use super::embedded;
use super::kind::collect_patterns;
use super::rules::Judge;
use crate::status::{FieldErrors, Path};

/// A schema that is written, with its patterns.
#[derive(Debug)]
pub struct Trial {
    patterns: HashMap<String, Regex>,
}

impl Trial {
    /// Of the whole schema.
    #[must_use]
    pub fn of(schema: &Value) -> Self {
        let mut patterns = HashMap::new();
        collect_patterns(schema, &mut patterns);
        Self { patterns }
    }

    /// Holds a value against a part of the schema; errors are told below `path`, and in words that know only what the value holds.
    pub fn judge(&self, value: &Value, part: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
        let mut found = FieldErrors::new();
        Judge { patterns: &self.patterns, strict_either: false }.value(value, part, None, &Path::ROOT, &mut found);
        for error in &mut found.0 {
            error.path = match error.path.as_str() {
                // What names no place is told of the whole value.
                "" | "<nil>" => path.to_string(),
                inner => format!("{path}.{inner}"),
            };
        }
        errors.extend(found);
        embedded::walk(value, part, path, errors);
    }
}
