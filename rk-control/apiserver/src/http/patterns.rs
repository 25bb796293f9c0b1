//! Patterns for requests as rules of several kinds have them.

/// Whether a list names `wanted`, or everything.
#[must_use]
pub fn lists(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == "*" || own == wanted)
}

/// Whether a path is the one of a pattern, or begins as one that ends in `*` does.
#[must_use]
pub fn is_path(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => pattern == path,
    }
}
