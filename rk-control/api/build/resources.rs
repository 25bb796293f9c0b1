//! `tables/resources.txt` to `static ROWS`.

use std::fmt::Write;

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The source text of the rows; panics name the line at fault, which fails the build.
pub fn generate(text: &str) -> String {
    let mut out = String::from("static ROWS: &[Row] = &[\n");
    let (mut group, mut version) = (String::new(), String::new());
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["group", g, v] => (group, version) = (if *g == "-" { String::new() } else { (*g).into() }, (*v).into()),
            [plural, kind, scope, verbs, rest @ ..] => {
                row(&mut out, &group, &version, plural, kind, scope, verbs, rest)
            }
            _ => panic!("resources.txt: {line}"),
        }
    }
    out + "];\n"
}

#[allow(clippy::too_many_arguments, reason = "the columns of a line, in their order")]
fn row(
    out: &mut String,
    group: &str,
    version: &str,
    plural: &str,
    kind: &str,
    scope: &str,
    verbs: &str,
    rest: &[&str],
) {
    let list = |prefix: &str| -> Vec<&str> {
        rest.iter().find_map(|w| w.strip_prefix(prefix)).map(|l| l.split(',').collect()).unwrap_or_default()
    };
    let subresources: Vec<_> =
        rest.iter().filter_map(|w| w.strip_prefix('/')).map(|w| subresource(w, group, version, kind)).collect();
    writeln!(
        out,
        "Row {{ group: {group:?}, version: {version:?}, plural: {plural:?}, kind: {kind:?}, singular: {:?}, namespaced: {}, \
         verbs: {}, short_names: &{:?}, categories: &{:?}, subresources: &{subresources:?} }},",
        kind.to_lowercase(),
        scope == "namespaced",
        if verbs == "all" { 0xff } else { bits(verbs) },
        list("short="),
        list("category="),
    )
    .expect("writing to a string");
}

/// `name[:[group/version.]kind][=verbs]` to name, group, version, kind, verbs.
fn subresource<'a>(
    word: &'a str,
    group: &'a str,
    version: &'a str,
    kind: &'a str,
) -> (&'a str, &'a str, &'a str, &'a str, u8) {
    let (left, verbs) = word.split_once('=').unwrap_or((word, "get,patch,update"));
    let (name, target) = left.split_once(':').unwrap_or((left, kind));
    let (group, version, kind) = match target.rsplit_once('/') {
        Some((g, rest)) => rest.split_once('.').map(|(v, k)| (g, v, k)).expect("version.kind"),
        None => (group, version, target),
    };
    (name, group, version, kind, bits(verbs))
}

fn bits(verbs: &str) -> u8 {
    verbs
        .split(',')
        .map(|v| 1 << VERBS.iter().position(|w| *w == v).unwrap_or_else(|| panic!("unknown verb {v}")))
        .sum()
}
