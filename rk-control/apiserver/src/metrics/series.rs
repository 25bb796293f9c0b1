//! Histograms by the labels of requests, found without writing the labels out.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{PoisonError, RwLock};

use super::histogram::{Figures, Histogram};
use super::{SERIES, escape};
use crate::deadline::STREAMS;
use crate::http::ResourcePath;

/// Verbs that are told by name.
const VERBS: [&str; 9] = ["apply", "connect", "delete", "get", "list", "patch", "post", "put", "watch"];
/// All others, as upstream tells them: methods are the client's invention.
const OTHER: &str = "other";

/// What tells one series from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Labels<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) resource: &'a str,
    pub(super) subresource: &'a str,
    pub(super) scope: &'static str,
    /// `None` where the figure has no such label.
    pub(super) dry_run: Option<bool>,
    /// Zero where the figure has no such label.
    pub(super) code: u16,
}

impl<'a> Labels<'a> {
    /// Those of a request. Unknown resources are one series: their names are the client's invention.
    pub(super) fn of(verb: &'a str, resource: Option<&'a ResourcePath>) -> Self {
        // What is made counts as one object, which has its name only afterwards.
        let scope = match resource {
            None => "",
            Some(path) if !path.name.is_empty() || verb == "create" => "resource",
            Some(path) if !path.namespace.is_empty() => "namespace",
            Some(_) => "cluster",
        };
        // Verbs of the same name are one series.
        let verb = match (verb, resource) {
            (_, Some(path)) if STREAMS.contains(&path.subresource.as_str()) => "connect",
            ("deletecollection", _) => "delete",
            // A list of one name is a read of it, and a look at a collection a list.
            ("list", Some(path)) if !path.name.is_empty() => "get",
            ("head", Some(path)) if path.name.is_empty() => "list",
            ("head", _) => "get",
            ("create", _) => "post",
            ("update", _) => "put",
            (known, _) if VERBS.contains(&known) => known,
            _ => OTHER,
        };
        let none = Self { verb, group: "", version: "", resource: "", subresource: "", scope, dry_run: None, code: 0 };
        let Some(path) = resource else { return none };
        Self {
            group: path.group.as_str(),
            version: path.version.as_str(),
            resource: path.resource.as_str(),
            subresource: path.subresource.as_str(),
            ..none
        }
    }

    /// Those of a request for a resource, or for the health of the server: of other paths no figures are kept.
    pub(super) fn told(verb: &'a str, path: &'a str, resource: Option<&'a ResourcePath>) -> Option<Self> {
        match (resource, path) {
            (Some(_), _) => Some(Self::of(verb, resource)),
            (None, "/healthz" | "/livez" | "/readyz") => Some(Self { subresource: path, ..Self::of("get", None) }),
            (None, _) => None,
        }
    }

    /// As they are written, without the code.
    fn text(&self) -> String {
        let dry_run = match self.dry_run {
            Some(true) => "dry_run=\"All\",",
            Some(false) => "dry_run=\"\",",
            None => "",
        };
        let component = if self.subresource.starts_with('/') { "" } else { "apiserver" };
        let verb = if self.verb == OTHER { OTHER.to_owned() } else { self.verb.to_ascii_uppercase() };
        format!(
            "component=\"{component}\",{dry_run}group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{}\",\
             verb=\"{}\",version=\"{}\"",
            escape(self.group),
            escape(self.resource),
            self.scope,
            escape(self.subresource),
            verb,
            escape(self.version)
        )
    }
}

/// One series, with its labels' own texts.
struct Row {
    /// Verb, group, version, resource, subresource.
    texts: [Box<str>; 5],
    pub(super) scope: &'static str,
    dry_run: Option<bool>,
    code: u16,
    histogram: Histogram,
}

impl Row {
    fn new(labels: &Labels<'_>, bounds: &'static [f64]) -> Self {
        let Labels { verb, group, version, resource, subresource, scope, dry_run, code } = *labels;
        let texts = [verb, group, version, resource, subresource].map(Box::<str>::from);
        Self { texts, scope, dry_run, code, histogram: Histogram::new(bounds) }
    }

    fn labels(&self) -> Labels<'_> {
        let [verb, group, version, resource, subresource] = &self.texts;
        let Self { scope, dry_run, code, .. } = *self;
        Labels { verb, group, version, resource, subresource, scope, dry_run, code }
    }
}

/// What is recorded of one series.
pub(super) struct Told {
    pub(super) labels: String,
    /// The labels without the one that tells dry runs.
    pub(super) bare: String,
    pub(super) code: u16,
    /// Whether how long it took says something about the server: it did not last as long as its client liked, and stored what it made.
    pub(super) indicates: bool,
    pub(super) figures: Figures,
}

#[derive(Default)]
struct Rows {
    /// By the hash of their labels: nearly always one.
    by_hash: HashMap<u64, Vec<Row>>,
    count: usize,
}

impl Rows {
    fn find(&self, hash: u64, labels: &Labels<'_>) -> Option<&Row> {
        self.by_hash.get(&hash)?.iter().find(|row| row.labels() == *labels)
    }
}

/// One figure of requests.
pub(super) struct Table {
    bounds: &'static [f64],
    hasher: RandomState,
    rows: RwLock<Rows>,
}

impl Table {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, hasher: RandomState::new(), rows: RwLock::default() }
    }

    /// Counts a value; in vain when there are too many series and this is a new one.
    pub(super) fn observe(&self, labels: &Labels<'_>, value: f64) {
        let hash = self.hasher.hash_one(labels);
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.find(hash, labels) {
            row.histogram.observe(value);
            return;
        }
        drop(rows);
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        // Another may have come first.
        if let Some(row) = rows.find(hash, labels) {
            row.histogram.observe(value);
            return;
        }
        if rows.count >= SERIES {
            return;
        }
        let row = Row::new(labels, self.bounds);
        row.histogram.observe(value);
        rows.count += 1;
        rows.by_hash.entry(hash).or_default().push(row);
    }

    /// All series, ordered by their labels and codes.
    pub(super) fn told(&self) -> Vec<Told> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let told = |row: &Row| {
            let labels = row.labels();
            let lasts = matches!(labels.verb, "watch" | "connect");
            let (code, indicates) = (row.code, !lasts && labels.dry_run != Some(true));
            let bare = Labels { dry_run: None, ..labels }.text();
            Told { labels: labels.text(), bare, code, indicates, figures: row.histogram.figures() }
        };
        let mut all: Vec<Told> = rows.by_hash.values().flatten().map(told).collect();
        all.sort_by(|a, b| (&a.labels, a.code).cmp(&(&b.labels, b.code)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_scopes_are_upstreams() {
        let path = |namespace: &str, name: &str, subresource: &str| ResourcePath {
            version: "v1".into(),
            resource: "pods".into(),
            namespace: namespace.into(),
            name: name.into(),
            subresource: subresource.into(),
            ..ResourcePath::default()
        };
        for (verb, path, told, scope) in [
            ("create", Some(path("a", "", "")), "POST", "resource"),
            ("list", Some(path("a", "", "")), "LIST", "namespace"),
            ("list", Some(path("", "", "")), "LIST", "cluster"),
            ("deletecollection", Some(path("a", "", "")), "DELETE", "namespace"),
            ("apply", Some(path("a", "p", "")), "APPLY", "resource"),
            ("get", Some(path("a", "p", "log")), "CONNECT", "resource"),
            ("create", Some(path("a", "p", "exec")), "CONNECT", "resource"),
            ("watch", Some(path("", "", "")), "WATCH", "cluster"),
            ("list", Some(path("a", "p", "")), "GET", "resource"),
            ("head", Some(path("a", "", "")), "LIST", "namespace"),
            ("head", None, "GET", ""),
            ("brew", None, "other", ""),
        ] {
            let text = Labels::of(verb, path.as_ref()).text();
            assert!(text.contains(&format!("verb=\"{told}\"")), "{verb}: {text}");
            assert!(text.contains(&format!("scope=\"{scope}\"")), "{verb}: {text}");
        }
        let health = Labels::told("list", "/livez", None).unwrap().text();
        assert!(
            health.starts_with("component=\"\",") && health.contains("subresource=\"/livez\",verb=\"GET\""),
            "{health}"
        );
        assert_eq!(Labels::told("get", "/version", None), None);
        // What has the same text is the same series: Prometheus takes no sample twice.
        let exec = path("a", "p", "exec");
        assert_eq!(Labels::of("get", Some(&exec)), Labels::of("create", Some(&exec)));
        assert_eq!(Labels::of("brew", None), Labels::of("when", None));
    }

    #[test]
    fn a_series_is_told_apart_by_every_label_and_their_number_is_bounded() {
        let table = Table::new(&[1.0]);
        let path = ResourcePath { resource: "pods".into(), ..ResourcePath::default() };
        let labels = Labels::of("get", Some(&path));
        for other in [labels, labels, Labels { code: 200, ..labels }, Labels { dry_run: Some(false), ..labels }] {
            table.observe(&other, 0.5);
        }
        let counts: Vec<u64> = table.told().iter().map(|told| told.figures.total()).collect();
        assert_eq!(counts.iter().sum::<u64>(), 4);
        assert_eq!(counts.len(), 3);
        for number in 0..2 * SERIES {
            let path = ResourcePath { resource: format!("r{number}"), ..ResourcePath::default() };
            table.observe(&Labels::of("get", Some(&path)), 0.5);
        }
        table.observe(&labels, 0.5);
        let told = table.told();
        assert_eq!(told.len(), SERIES);
        assert_eq!(told.iter().map(|told| told.figures.total()).max(), Some(3));
    }
}
