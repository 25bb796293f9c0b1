//! Figures under upstream's names, in Prometheus' text format.
//!
//! Requests are counted here, the store's answers where the store is asked; [`process`] reads what the kernel knows of this process.

mod access;
mod aggregation;
mod cel;
mod histogram;
mod pod_security;
mod policies;
mod process;
mod series;
mod stability;
mod steps;
mod timings;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rk_api::resources::Resource;

use crate::http::ResourcePath;
pub use access::{Access, Decider, Filter};
pub use aggregation::Aggregation;
pub use cel::Expressions;
pub(crate) use histogram::Histogram;
use histogram::{Figures, REQUEST_BOUNDS, SIZE_BOUNDS};
pub use pod_security::{Evaluation, PodSecurity};
pub use policies::{CheckError, PolicyChecks};
pub use process::began;
use series::{Labels, Table};
pub(crate) use stability::help;
pub use steps::{Admission, Came, Half, STEPS};
pub use timings::Timings;
pub use watches::OpenWatch;
use watches::Watches;

/// Most label combinations kept; paths come from clients, and clients may be hostile.
const SERIES: usize = 5000;

/// How many of the bounds of requests the indicator is without.
const SKIPPED: usize = 2;

/// Upper bounds of the size of bodies that are sent to the server, in bytes; upstream's.
const BODY_BOUNDS: [f64; 31] = {
    let mut bounds = [50_000.0; 31];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = bounds[at - 1] + 100_000.0;
        at += 1;
    }
    bounds
};

/// What upstream's suite reads after its last test, and wants to be there and zero. One set of rules judges here, so that no other can differ
/// from it, and a panic ends the process.
const NEVER: [(&str, &str); 2] = [
    ("mismatch", "Objects that two sets of rules judged differently."),
    ("panic", "Panics of rules that are declared."),
];

/// A deprecated API that was asked for: group, version, resource and subresource.
type Deprecated = [String; 4];

/// Collects figures.
pub struct Metrics {
    /// Durations of requests, by code too.
    requests: Table,
    /// Requests that were ended; only their number counts.
    terminated: Table,
    /// Bytes of answers.
    sizes: Table,
    /// Bytes of what was sent to be written.
    bodies: Timings,
    deprecated: Mutex<BTreeSet<Deprecated>>,
    watches: Watches,
    /// Requests under way: those that read, those that write.
    in_flight: [AtomicI64; 2],
    /// Durations of admission.
    pub admission: Admission,
    /// What admission policies said.
    pub policies: PolicyChecks,
    /// What the Pod Security Standards said.
    pub pod_security: PodSecurity,
    /// Rules of custom kinds.
    pub cel: Expressions,
    /// Who was let in.
    pub access: Access,
    /// Which APIs of other servers can be used.
    pub aggregation: Aggregation,
    /// Figures of others in this process.
    more: OnceLock<fn() -> String>,
}

/// Counts a request as under way until dropped.
pub struct InFlight<'a>(&'a AtomicI64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Table::new(REQUEST_BOUNDS),
            sizes: Table::new(SIZE_BOUNDS),
            bodies: Timings::new(&BODY_BOUNDS),
            terminated: Table::new(&[]),
            deprecated: Mutex::default(),
            watches: Watches::default(),
            in_flight: Default::default(),
            admission: Admission::default(),
            pod_security: PodSecurity::default(),
            cel: Expressions::default(),
            access: Access::default(),
            aggregation: Aggregation::default(),
            policies: PolicyChecks::default(),
            more: OnceLock::new(),
        }
    }
}

impl Metrics {
    /// Adds the figures of others in this process; the first who asks for it is heard.
    pub fn also(&self, more: fn() -> String) {
        let _ = self.more.set(more);
    }

    /// Counts a request as under way.
    #[must_use]
    pub fn enter(&self, verb: &str) -> InFlight<'_> {
        let [reading, writing] = &self.in_flight;
        let gauge = if matches!(verb, "get" | "list" | "watch" | "head" | "options") { reading } else { writing };
        gauge.fetch_add(1, Ordering::Relaxed);
        InFlight(gauge)
    }

    /// Counts an answered request. `resource` must be one that is served: of what clients make up no figures are kept.
    pub fn observe(
        &self,
        (verb, path): (&str, &str),
        resource: Option<&ResourcePath>,
        dry_run: bool,
        code: u16,
        took: Duration,
    ) {
        // A method that a resource does not have leads nowhere.
        let Some(labels) = Labels::told(verb, path, resource).filter(|_| code != 405) else { return };
        self.requests.observe(&Labels { dry_run: Some(dry_run), code, ..labels }, took.as_secs_f64());
    }

    /// Counts the bytes of an answer to who reads.
    pub fn sized(&self, verb: &str, path: &str, resource: Option<&ResourcePath>, bytes: u64) {
        if let Some(labels) = Labels::told(verb, path, resource).filter(|own| matches!(own.verb, "get" | "list")) {
            self.sizes.observe(&labels, bytes as f64);
        }
    }

    /// Counts the bytes of a body that was sent with a verb.
    pub fn received(&self, verb: &str, resource: &Resource, bytes: usize) {
        let verb = match verb {
            "deletecollection" => "delete_collection",
            own => ["create", "delete", "patch", "update"].into_iter().find(|known| *known == own).unwrap_or("other"),
        };
        self.bodies.sized(verb, resource, bytes);
    }

    /// Counts a watch as open.
    #[must_use]
    pub fn open_watch(&self, resource: &Resource, path: &ResourcePath) -> OpenWatch {
        self.watches.open(resource, path)
    }

    /// A request was ended to protect the server.
    pub fn terminated(&self, verb: &str, resource: Option<&ResourcePath>, code: u16) {
        self.terminated.observe(&Labels { code, ..Labels::of(verb, resource) }, 0.0);
    }

    /// An API was asked for that upstream, or the author of its kind, declared deprecated. `path` must be one that is served.
    pub fn deprecated(&self, path: &ResourcePath) {
        let own = [&path.group, &path.version, &path.resource, &path.subresource].map(Clone::clone);
        self.deprecated.lock().unwrap_or_else(PoisonError::into_inner).insert(own);
    }

    /// Everything as text; `objects` is how many objects each cached resource has, `store` how long the store took, `size` its bytes.
    #[must_use]
    pub fn render(&self, objects: &[(String, String, usize)], store: &Timings, size: Option<u64>) -> String {
        let mut out = String::with_capacity(64 * 1024);
        self.requests(&mut out);
        self.watches.render(&mut out);
        self.admission.render(&mut out);
        self.policies.render(&mut out);
        self.pod_security.render(&mut out);
        self.access.render(&mut out);
        self.cel.render(&mut out);
        self.aggregation.render(&mut out);
        help(
            &mut out,
            "apiserver_storage_objects",
            "gauge",
            "Objects by resource, of resources that are in the watch cache.",
        );
        for (plural, group, count) in objects {
            let dot = if group.is_empty() { "" } else { "." };
            let _ = writeln!(out, "apiserver_storage_objects{{resource=\"{plural}{dot}{group}\"}} {count}");
        }
        help(&mut out, "apiserver_resource_objects", "gauge", "Objects by group and resource.");
        for (plural, group, count) in objects {
            let _ = writeln!(out, "apiserver_resource_objects{{group=\"{group}\",resource=\"{plural}\"}} {count}");
        }
        store.render_store(&mut out);
        if let Some(size) = size {
            help(&mut out, "apiserver_storage_size_bytes", "gauge", "Size of the store.");
            let _ = writeln!(out, "apiserver_storage_size_bytes{{storage_cluster_id=\"etcd-0\"}} {size}");
        }
        for (what, text) in NEVER {
            let name = format!("apiserver_validation_declarative_validation_{what}_total");
            help(&mut out, &name, "counter", text);
            let _ = writeln!(out, "{name} 0");
        }
        help(&mut out, "kubernetes_build_info", "gauge", "What this was built from, and by what.");
        let _ = writeln!(out, "kubernetes_build_info{{{}}} 1", crate::discovery::build_labels());
        process::render(&mut out);
        if let Some(more) = self.more.get() {
            out.push_str(&more());
        }
        out
    }

    fn requests(&self, out: &mut String) {
        help(out, "apiserver_request_total", "counter", "Answered requests by verb, resource and code.");
        let (mut latency, mut indicator) = (BTreeMap::new(), BTreeMap::new());
        for told in self.requests.told() {
            let (code, labels, count) = (told.code, told.labels, told.figures.total());
            let _ = writeln!(out, "apiserver_request_total{{code=\"{code}\",{labels}}} {count}");
            if told.indicates {
                collect(&mut indicator, told.bare, told.figures.clone().without_first(SKIPPED));
            }
            collect(&mut latency, labels, told.figures);
        }
        let name = "apiserver_request_terminations_total";
        help(out, name, "counter", "Requests that were ended to protect the server.");
        for told in self.terminated.told() {
            let _ = writeln!(out, "{name}{{code=\"{}\",{}}} {}", told.code, told.labels, told.figures.total());
        }
        let name = "apiserver_requested_deprecated_apis";
        help(out, name, "gauge", "Deprecated APIs that were asked for, and the release that takes them away.");
        for [group, version, resource, sub] in &*self.deprecated.lock().unwrap_or_else(PoisonError::into_inner) {
            // What is deprecated here stays: no release is known to take it away.
            let labels = format!("group=\"{group}\",removed_release=\"\",resource=\"{resource}\"");
            let _ = writeln!(out, "{name}{{{labels},subresource=\"{sub}\",version=\"{version}\"}} 1");
        }
        for (name, all) in
            [("apiserver_request_duration_seconds", &latency), ("apiserver_request_sli_duration_seconds", &indicator)]
        {
            help(out, name, "histogram", "Time to answer.");
            for (labels, figures) in all {
                figures.render(out, name, labels);
            }
        }
        let name = "apiserver_response_sizes";
        help(out, name, "histogram", "Bytes of answers, streams aside.");
        for told in self.sizes.told() {
            told.figures.render(out, name, &told.labels);
        }
        self.bodies.render(out, "apiserver_request_body_size_bytes", "verb", "Bytes of what was sent to be written.");
        help(out, "apiserver_current_inflight_requests", "gauge", "Requests under way.");
        for (gauge, kind) in self.in_flight.iter().zip(["readOnly", "mutating"]) {
            let count = gauge.load(Ordering::Relaxed);
            let _ = writeln!(out, "apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {count}");
        }
    }
}

/// Adds figures to those of the same labels.
fn collect(all: &mut BTreeMap<String, Figures>, labels: String, figures: Figures) {
    match all.get_mut(&labels) {
        Some(own) => own.add(&figures),
        None => drop(all.insert(labels, figures)),
    }
}

/// A text as the value of a label.
pub(crate) fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_upstreams_names_and_labels() {
        let (metrics, store) = (Metrics::default(), Timings::default());
        let path = ResourcePath {
            version: "v1".into(),
            resource: "pods".into(),
            namespace: "default".into(),
            ..ResourcePath::default()
        };
        let _open = metrics.enter("create");
        let observe = |verb, dry_run, code, millis| {
            metrics.observe((verb, ""), Some(&path), dry_run, code, Duration::from_millis(millis));
        };
        observe("create", false, 201, 7);
        metrics.sized("list", "", Some(&path), 2500);
        metrics.sized("create", "", Some(&path), 2500);
        let registry = rk_api::resources::Registry::builtin();
        for (group, version, plural) in [("", "v1", "pods"), ("apps", "v1", "deployments")] {
            store.observe("create", registry.get(group, version, plural).unwrap(), Duration::from_millis(2), false);
        }
        let pods = registry.get("", "v1", "pods").unwrap();
        metrics.received("create", pods, 50_000);
        metrics.received("deletecollection", pods, 2_000_000);
        metrics.cel.evaluated(Duration::from_millis(5));
        observe("create", false, 409, 7);
        observe("create", true, 201, 7);
        observe("watch", false, 200, 7000);
        observe("list", false, 405, 7);
        metrics.observe(("get", "/livez"), None, false, 200, Duration::from_millis(7));
        metrics.observe(("get", "/version"), None, false, 200, Duration::from_millis(7));
        metrics.terminated("create", Some(&path), 504);
        metrics.deprecated(&ResourcePath { resource: "endpoints".into(), ..path });
        let text = metrics.render(&[("leases".into(), "coordination.k8s.io".into(), 3)], &store, Some(4096));
        for line in [
            "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",scope=\"resource\",\
             subresource=\"\",verb=\"POST\",version=\"v1\"} 1",
            "apiserver_response_sizes_bucket{component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"namespace\",\
             subresource=\"\",verb=\"LIST\",version=\"v1\",le=\"10000\"} 1",
            "apiserver_request_terminations_total{code=\"504\",component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"resource\",\
             subresource=\"\",verb=\"POST\",version=\"v1\"} 1",
            "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",subresource=\"\",version=\"v1\"} 1",
            "apiserver_current_inflight_requests{request_kind=\"mutating\"} 1",
            "apiserver_request_duration_seconds_count{component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",\
             scope=\"resource\",subresource=\"\",verb=\"POST\",version=\"v1\"} 2",
            "apiserver_request_sli_duration_seconds_count{component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"resource\",\
             subresource=\"\",verb=\"POST\",version=\"v1\"} 2",
            "apiserver_request_total{code=\"200\",component=\"\",dry_run=\"\",group=\"\",resource=\"\",scope=\"\",\
             subresource=\"/livez\",verb=\"GET\",version=\"\"} 1",
            "apiserver_request_duration_seconds_count{component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",\
             scope=\"namespace\",subresource=\"\",verb=\"WATCH\",version=\"v1\"} 1",
            "etcd_request_duration_seconds_count{group=\"apps\",operation=\"create\",resource=\"deployments\"} 1",
            "apiserver_request_body_size_bytes_bucket{group=\"\",verb=\"create\",resource=\"pods\",le=\"50000\"} 1",
            "apiserver_request_body_size_bytes_bucket{group=\"\",verb=\"delete_collection\",resource=\"pods\",le=\"1.95e+06\"} 0",
            "apiserver_request_body_size_bytes_bucket{group=\"\",verb=\"delete_collection\",resource=\"pods\",le=\"2.05e+06\"} 1",
            "apiserver_cel_evaluation_duration_seconds_bucket{le=\"0.005\"} 1",
            "apiserver_cel_compilation_duration_seconds_count 0",
            "# HELP apiserver_validation_declarative_validation_panic_total [BETA] Panics of rules that are declared.",
            "apiserver_validation_declarative_validation_mismatch_total 0",
            "# HELP apiserver_request_total [STABLE] Answered requests by verb, resource and code.",
            "apiserver_storage_size_bytes{storage_cluster_id=\"etcd-0\"} 4096",
            "apiserver_storage_objects{resource=\"leases.coordination.k8s.io\"} 3",
            "etcd_request_duration_seconds_count{group=\"\",operation=\"create\",resource=\"pods\"} 1",
            "etcd_request_duration_seconds_bucket{group=\"\",operation=\"create\",resource=\"pods\",le=\"0.005\"} 1",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
        let indicator = text.lines().filter(|own| own.starts_with("apiserver_request_sli_"));
        assert!(!indicator.clone().any(|own| own.contains("WATCH") || own.contains("le=\"0.025\"")), "{text}");
        assert!(!text.lines().any(|own| own.contains("LIST") && own.starts_with("apiserver_request_total")), "{text}");
        assert!(!text.lines().any(|own| own.contains("POST") && own.starts_with("apiserver_response_sizes")), "{text}");
        assert_eq!(indicator.filter(|own| own.contains("le=\"0.05\"") && own.contains("POST")).count(), 1);
        for name in
            ["start_time_seconds", "open_fds", "max_fds", "virtual_memory_max_bytes", "network_receive_bytes_total"]
        {
            assert!(text.contains(&format!("\nprocess_{name} ")), "{name}");
        }
    }
}
