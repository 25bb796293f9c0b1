//! `docs/conformance.md` says what `tests/fixtures/conformance.txt` says, and every test that it names exists.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How many behaviours v1.36 has.
const BEHAVIOURS: usize = 446;
/// Where the tests of the node tier are.
const NODE_TIER: &str = "tests/tests/node";
/// Set to write the page anew.
const BLESS: &str = "RK_BLESS";

/// A behaviour and the key of the test that covers it.
type Behaviour = (String, Option<String>);

struct Table {
    /// File and name by key.
    tests: BTreeMap<String, (String, String)>,
    /// Groups in order, each with its behaviours and their keys.
    groups: Vec<(String, Vec<Behaviour>)>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn table() -> Table {
    let mut table = Table { tests: BTreeMap::new(), groups: Vec::new() };
    let text = read("tests/fixtures/conformance.txt");
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("test ") {
            let (key, place) = rest.split_once(' ').expect("test <key> <file>#<test>");
            let (file, name) = place.split_once('#').expect("<file>#<test>");
            table.tests.insert(key.to_owned(), (file.to_owned(), name.to_owned()));
        } else if let Some(behaviour) = line.strip_prefix("  ") {
            let (title, key) = behaviour.split_once(" = ").map_or((behaviour, None), |(title, key)| (title, Some(key)));
            let group = table.groups.last_mut().expect("a group before its behaviours");
            group.1.push((title.to_owned(), key.map(str::to_owned)));
        } else {
            table.groups.push((line.to_owned(), Vec::new()));
        }
    }
    table
}

fn page(table: &Table) -> String {
    let all: Vec<_> = table.groups.iter().flat_map(|(_, rows)| rows).collect();
    let covered = all.iter().filter(|(_, key)| key.is_some()).count();
    let on_a_node = |key: &String| table.tests.get(key).is_some_and(|(file, _)| file.starts_with(NODE_TIER));
    let on_nodes = all.iter().filter(|(_, key)| key.as_ref().is_some_and(on_a_node)).count();
    let mut text = format!(
        "# Conformance\n\nThe behaviours that the community's suite asks of a v1.36 cluster, by its own names, and the test of this \
         project that covers each.\nThis page is made from `tests/fixtures/conformance.txt`; the test `conformance` fails when it is \
         stale and writes it anew with `{BLESS}=1`.\n\nThe suite itself needs nothing special of a cluster; sonobuoy's own check for a pod of cluster DNS \
         does, since every node answers for itself: `sonobuoy run --plugin e2e --skip-preflight=dnscheck`.\n\nCovered: {covered} of {}, {on_nodes} of these by the \
         node tier (`cargo xtask test node`).\n",
        all.len()
    );
    for (group, rows) in &table.groups {
        let done = rows.iter().filter(|(_, key)| key.is_some()).count();
        let _ = write!(text, "\n## {group}: {done} of {}\n\n| behaviour | test |\n|---|---|\n", rows.len());
        for (title, key) in rows {
            let test = key.as_ref().and_then(|key| table.tests.get(key));
            let test = test.map_or_else(|| "not yet".to_owned(), |(file, name)| format!("`{file}`: `{name}`"));
            let _ =
                writeln!(text, "| {} | {test} |", title.replace('|', "\\|").replace('*', "\\*").replace('<', "&lt;"));
        }
    }
    text
}

#[test]
fn the_page_of_conformance_is_what_the_table_says() {
    let table = table();
    let (page, path) = (page(&table), root().join("docs/conformance.md"));
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(present == page, "docs/conformance.md is stale: run this test with {BLESS}=1");
}

#[test]
fn every_behaviour_is_listed_once_and_every_named_test_exists() {
    let table = table();
    let mut seen = std::collections::HashSet::new();
    for (group, rows) in &table.groups {
        for (title, key) in rows {
            assert!(seen.insert((group, title)), "{group}: {title} is there twice");
            assert!(
                key.as_ref().is_none_or(|key| table.tests.contains_key(key)),
                "{title} names {key:?}, which is no test"
            );
        }
    }
    assert_eq!(seen.len(), BEHAVIOURS);
    for (key, (file, name)) in &table.tests {
        let used = table.groups.iter().flat_map(|(_, rows)| rows).any(|(_, own)| own.as_ref() == Some(key));
        assert!(used, "nothing is covered by {key}");
        assert!(read(file).contains(&format!("fn {name}(")), "{file} has no test {name}");
    }
}
