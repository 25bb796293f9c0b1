//! What is wrong with an expression, shown with its place as clients know it.

use std::fmt::Write;

/// One thing that is wrong, at a character of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Offset in characters.
    pub at: u32,
    /// What.
    pub message: String,
}

impl Issue {
    /// An issue at a place.
    pub fn new(at: u32, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

/// Most issues that are shown, each with its line.
const MOST: usize = 20;

/// The issues in the order of the text, each with its line and a caret under its place.
pub(crate) fn render(text: &str, issues: &[Issue]) -> String {
    let mut sorted: Vec<&Issue> = issues.iter().collect();
    sorted.sort_by_key(|issue| issue.at);
    let mut out = String::new();
    let more = sorted.len().saturating_sub(MOST);
    for issue in sorted.into_iter().take(MOST) {
        let before: String = text.chars().take(issue.at as usize).collect();
        let (line, column) = (before.matches('\n').count(), before.rsplit('\n').next().unwrap_or("").chars().count());
        if !out.is_empty() {
            out.push('\n');
        }
        let shown = text.split('\n').nth(line).unwrap_or("").replace('\t', " ");
        // Writing to a string does not fail.
        let _ = write!(out, "ERROR: <input>:{}:{}: {}\n | {shown}\n | ", line + 1, column + 1, issue.message);
        out.extend(std::iter::repeat_n('.', column));
        out.push('^');
    }
    if more > 0 {
        let _ = write!(out, "\n{more} more errors were truncated");
    }
    out
}
