//! Values held against parts of a schema that is no kind's yet.

use std::collections::HashMap;

use regex_lite::Regex;
use serde_json::Value;

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

    /// Holds a value against a part of the schema; errors are told below `path`.
    pub fn judge(&self, value: &Value, part: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
        let mut found = FieldErrors::new();
        Judge { patterns: &self.patterns, strict_either: false }.value(value, part, None, path, &mut found);
        let place = path.to_string();
        for error in &mut found.0 {
            // kube-apiserver v1.36 judges the value by itself: its words name what lies in it alone.
            if error.detail.contains(&place) {
                error.detail = error.detail.replacen(&place, "", 1).trim_start_matches('.').to_owned();
            }
            // What names no place is told of the whole value.
            if error.path == "<nil>" {
                error.path.clone_from(&place);
            }
        }
        errors.extend(found);
    }
}
