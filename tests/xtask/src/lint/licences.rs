//! Licences of dependencies against a list of allowed ones.

use super::metadata::{Metadata, Package};

/// Licences that a static Apache-2.0 binary may carry.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    // Copyleft by file: unchanged files of a dependency bind nobody further.
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that carry their licence as a file instead of naming it, with what the file says.
const BY_FILE: &[(&str, &str)] = &[("rust-criu", "MIT")];

fn licence(package: &Package) -> Option<&str> {
    let by_file = || BY_FILE.iter().find(|(name, _)| *name == package.name).map(|(_, licence)| *licence);
    package.license.as_deref().or_else(by_file)
}

/// Every package whose licence is not allowed or not named.
pub fn licences(metadata: &Metadata) -> Vec<String> {
    let bad = metadata.packages.iter().filter(|p| !licence(p).is_some_and(allowed));
    bad.map(|p| format!("{} {} is under {}", p.name, p.version, p.license.as_deref().unwrap_or("no named licence")))
        .collect()
}

/// An SPDX expression of `OR`, `AND`, `/` and parentheses: one allowed alternative is enough, all parts of an `AND` count.
fn allowed(expression: &str) -> bool {
    let mut tokens = tokens(expression).into_iter().peekable();
    let verdict = alternatives(&mut tokens);
    verdict && tokens.peek().is_none()
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<String>>;

fn tokens(expression: &str) -> Vec<String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut all: Vec<String> = Vec::new();
    let mut words = spaced.split_whitespace();
    while let Some(word) = words.next() {
        match (word, all.last_mut()) {
            ("WITH", Some(before)) => before.push_str(&format!(" WITH {}", words.next().unwrap_or_default())),
            _ => all.push(word.to_owned()),
        }
    }
    all
}

fn alternatives(tokens: &mut Tokens) -> bool {
    let mut verdict = parts(tokens);
    while tokens.next_if(|t| t == "OR").is_some() {
        verdict |= parts(tokens);
    }
    verdict
}

fn parts(tokens: &mut Tokens) -> bool {
    let mut verdict = part(tokens);
    while tokens.next_if(|t| t == "AND").is_some() {
        verdict &= part(tokens);
    }
    verdict
}

fn part(tokens: &mut Tokens) -> bool {
    match tokens.next().as_deref() {
        Some("(") => {
            let verdict = alternatives(tokens);
            tokens.next_if(|t| t == ")").is_some() && verdict
        }
        Some(licence) => ALLOWED.contains(&licence),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged_by_their_logic() {
        let cases = [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0-only", false),
            ("GPL-2.0-only OR MIT", true),
            ("Apache-2.0 AND GPL-3.0-only", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0-only", true),
            ("(MIT", false),
            ("", false),
        ];
        for (expression, want) in cases {
            assert_eq!(allowed(expression), want, "{expression}");
        }
    }

    #[test]
    fn all_dependencies_are_under_allowed_licences() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let metadata = Metadata::read(&root).expect("cargo metadata");
        assert_eq!(licences(&metadata), Vec::<String>::new());
    }
}
