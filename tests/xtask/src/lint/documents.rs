//! What documents say of the tree: the tests that `docs/SPEC.md` names exist, and `docs/adr/README.md` lists every decision.

use super::tree::sources;
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::path::Path;

/// Every test that a promise names and no source file defines.
///
/// # Errors
/// The document or a file of ours cannot be read.
pub fn unknown_tests(root: &Path) -> Result<Vec<String>> {
    let mut functions = HashSet::new();
    for path in sources(root)? {
        let text = read(&path)?;
        functions.extend(text.lines().filter_map(function).map(str::to_owned));
    }
    let document = read(&root.join("docs/SPEC.md"))?;
    let unknown = named_tests(&document).filter(|name| !functions.contains(*name));
    Ok(unknown.map(|name| format!("docs/SPEC.md names the test {name}, which does not exist")).collect())
}

/// Every decision that the index does not link.
///
/// # Errors
/// The index or the folder of decisions cannot be read.
pub fn unlisted_decisions(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("docs/adr");
    let index = read(&folder.join("README.md"))?;
    let mut unlisted = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "README.md" && !index.contains(&format!("]({name})")) {
            unlisted.push(format!("docs/adr/README.md does not list {name}; add a line under its part"));
        }
    }
    unlisted.sort();
    Ok(unlisted)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// The name of the function whose definition a line begins.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let end = after.find(|c: char| !is_word(c)).unwrap_or(after.len());
    let begins_a_word = before.is_empty() || before.ends_with(' ');
    after.get(..end).filter(|name| begins_a_word && !name.is_empty())
}

/// What the last column of tables has in backticks and is a sentence of several words.
fn named_tests(document: &str) -> impl Iterator<Item = &str> {
    let rows = document.lines().filter(|line| line.starts_with("| "));
    let last_columns = rows.filter_map(|row| row.rsplit_once(" | ").map(|(_, column)| column));
    let quoted = last_columns.flat_map(|column| column.split('`').skip(1).step_by(2));
    quoted.filter(|word| word.chars().all(is_word) && word.matches('_').count() >= 2)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_where_they_are_defined() {
        let cases = [
            ("fn main() {", Some("main")),
            ("    pub async fn a_pod_runs() {", Some("a_pod_runs")),
            ("    pub const unsafe fn get<T>(self) -> T {", Some("get")),
            ("callback: fn (u8)", None),
            ("let number = 1;", None),
        ];
        for (line, name) in cases {
            assert_eq!(function(line), name, "{line}");
        }
    }

    #[test]
    fn tests_are_named_in_the_last_column_alone() {
        let document = "`not_in_a_table`\n| `not_a_promise` holds | boot: `the_image_boots`; host: `rk-init` `one_more_test`, `tests/decide.rs` |\n";
        assert_eq!(named_tests(document).collect::<Vec<_>>(), ["the_image_boots", "one_more_test"]);
    }

    #[test]
    fn every_test_that_a_promise_names_exists() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        assert_eq!(unknown_tests(&root).expect("the tree can be read"), Vec::<String>::new());
    }
}
