//! Figures under upstream's names, in Prometheus' text format.
//!
//! Requests are counted here, the store's answers where the store is asked; [`process`] reads what the kernel knows of this process.

mod access;
mod histogram;
mod policies;
mod process;
mod steps;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rk_api::resources::Resource;

use crate::http::ResourcePath;
pub use access::Access;
pub use histogram::Timings;
use histogram::{Histogram, REQUEST_BOUNDS, SIZE_BOUNDS};
pub use policies::{CheckError, PolicyChecks};
pub use steps::{Admission, Half};
pub use watches::OpenWatch;
use watches::Watches;

/// Most label combinations kept; paths come from clients, and clients may be hostile.
const SERIES: usize = 5000;

#[derive(Default)]
struct Series {
    /// By labels and code.
    requests: BTreeMap<(String, u16), u64>,
    terminated: BTreeMap<(String, u16), u64>,
    latency: BTreeMap<String, Histogram>,
    sizes: BTreeMap<String, Histogram>,
}

/// A deprecated API that was asked for: group, version, resource and subresource.
type Deprecated = [String; 4];

/// Collects figures.
#[derive(Default)]
pub struct Metrics {
    series: Mutex<Series>,
    deprecated: Mutex<BTreeSet<Deprecated>>,
    watches: Watches,
    /// Requests under way: those that read, those that write.
    in_flight: [AtomicI64; 2],
    /// Durations of admission.
    pub admission: Admission,
    /// What admission policies said.
    pub policies: PolicyChecks,
    /// Who was let in.
    pub access: Access,
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

    /// Counts an answered request.
    pub fn observe(&self, verb: &str, resource: Option<&ResourcePath>, dry_run: bool, code: u16, took: Duration) {
        let labels = labels(verb, resource.filter(|_| code != 404), Some(dry_run));
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (labels, code);
        if series.requests.len() >= SERIES && !series.requests.contains_key(&key) {
            return;
        }
        *series.requests.entry(key.clone()).or_default() += 1;
        // How long a watch lasts says nothing about the server.
        if verb != "watch" {
            series.latency.entry(key.0).or_insert_with(|| Histogram::new(REQUEST_BOUNDS)).observe(took.as_secs_f64());
        }
    }

    /// Counts the bytes of an answer.
    pub fn sized(&self, verb: &str, resource: Option<&ResourcePath>, bytes: u64) {
        let labels = labels(verb, resource, None);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if series.sizes.len() >= SERIES && !series.sizes.contains_key(&labels) {
            return;
        }
        series.sizes.entry(labels).or_insert_with(|| Histogram::new(SIZE_BOUNDS)).observe(bytes as f64);
    }

    /// Counts a watch as open.
    #[must_use]
    pub fn open_watch(&self, resource: &Resource) -> OpenWatch {
        self.watches.open(resource)
    }

    /// A request was ended to protect the server.
    pub fn terminated(&self, verb: &str, resource: Option<&ResourcePath>, code: u16) {
        let key = (labels(verb, resource, None), code);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if series.terminated.len() < SERIES || series.terminated.contains_key(&key) {
            *series.terminated.entry(key).or_default() += 1;
        }
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
        self.access.render(&mut out);
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
        store.render(
            &mut out,
            "etcd_request_duration_seconds",
            "Time of the store to answer, by operation and resource.",
        );
        if let Some(size) = size {
            help(&mut out, "apiserver_storage_size_bytes", "gauge", "Size of the store.");
            let _ = writeln!(out, "apiserver_storage_size_bytes{{storage_cluster_id=\"etcd-0\"}} {size}");
        }
        help(&mut out, "kubernetes_build_info", "gauge", "The version.");
        let version = crate::discovery::GIT_VERSION;
        let _ = writeln!(out, "kubernetes_build_info{{git_version=\"{version}\",major=\"1\",minor=\"36\"}} 1");
        process::render(&mut out);
        if let Some(more) = self.more.get() {
            out.push_str(&more());
        }
        out
    }

    fn requests(&self, out: &mut String) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        help(out, "apiserver_request_total", "counter", "Answered requests by verb, resource and code.");
        for ((labels, code), count) in &series.requests {
            let _ = writeln!(out, "apiserver_request_total{{code=\"{code}\",{labels}}} {count}");
        }
        let name = "apiserver_request_terminations_total";
        help(out, name, "counter", "Requests that were ended to protect the server.");
        for ((labels, code), count) in &series.terminated {
            let _ = writeln!(out, "{name}{{code=\"{code}\",{labels}}} {count}");
        }
        let name = "apiserver_requested_deprecated_apis";
        help(out, name, "gauge", "Deprecated APIs that were asked for, and the release that takes them away.");
        for [group, version, resource, sub] in &*self.deprecated.lock().unwrap_or_else(PoisonError::into_inner) {
            // What is deprecated here stays: no release is known to take it away.
            let labels = format!("group=\"{group}\",removed_release=\"\",resource=\"{resource}\"");
            let _ = writeln!(out, "{name}{{{labels},subresource=\"{sub}\",version=\"{version}\"}} 1");
        }
        for name in ["apiserver_request_duration_seconds", "apiserver_request_sli_duration_seconds"] {
            help(out, name, "histogram", "Time to answer, watches aside.");
            for (labels, histogram) in &series.latency {
                histogram.render(out, name, labels);
            }
        }
        let name = "apiserver_response_sizes";
        help(out, name, "histogram", "Bytes of answers, streams aside.");
        for (labels, histogram) in &series.sizes {
            histogram.render(out, name, labels);
        }
        help(out, "apiserver_current_inflight_requests", "gauge", "Requests under way.");
        for (gauge, kind) in self.in_flight.iter().zip(["readOnly", "mutating"]) {
            let count = gauge.load(Ordering::Relaxed);
            let _ = writeln!(out, "apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {count}");
        }
    }
}

/// The labels of a request, `dry_run` where the figure has it. Unknown resources are one series: their names are the client's invention.
fn labels(verb: &str, resource: Option<&ResourcePath>, dry_run: Option<bool>) -> String {
    let none = ResourcePath::default();
    let path = resource.unwrap_or(&none);
    let scope = match resource {
        None => "",
        Some(path) if !path.name.is_empty() => "resource",
        Some(path) if !path.namespace.is_empty() => "namespace",
        Some(_) => "cluster",
    };
    let dry_run = match dry_run {
        Some(true) => "dry_run=\"All\",",
        Some(false) => "dry_run=\"\",",
        None => "",
    };
    let verb = match verb {
        "create" => "POST".to_owned(),
        "update" => "PUT".to_owned(),
        other => other.to_ascii_uppercase(),
    };
    format!(
        "component=\"apiserver\",{dry_run}group=\"{}\",resource=\"{}\",scope=\"{scope}\",subresource=\"{}\",\
         verb=\"{}\",version=\"{}\"",
        escape(&path.group),
        escape(&path.resource),
        escape(&path.subresource),
        escape(&verb),
        escape(&path.version)
    )
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writes the two lines that begin a figure.
pub(crate) fn help(out: &mut String, name: &str, kind: &str, text: &str) {
    let _ = writeln!(out, "# HELP {name} {text}\n# TYPE {name} {kind}");
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
        metrics.observe("create", Some(&path), false, 201, Duration::from_millis(7));
        metrics.sized("list", Some(&path), 2500);
        metrics.terminated("create", Some(&path), 504);
        metrics.deprecated(&ResourcePath { resource: "endpoints".into(), ..path });
        store.observe("create", "pods", Duration::from_millis(2));
        let text = metrics.render(&[("leases".into(), "coordination.k8s.io".into(), 3)], &store, Some(4096));
        for line in [
            "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",scope=\"namespace\",\
             subresource=\"\",verb=\"POST\",version=\"v1\"} 1",
            "apiserver_response_sizes_bucket{component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"namespace\",\
             subresource=\"\",verb=\"LIST\",version=\"v1\",le=\"10000\"} 1",
            "apiserver_request_terminations_total{code=\"504\",component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"namespace\",\
             subresource=\"\",verb=\"POST\",version=\"v1\"} 1",
            "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",subresource=\"\",version=\"v1\"} 1",
            "apiserver_current_inflight_requests{request_kind=\"mutating\"} 1",
            "apiserver_storage_size_bytes{storage_cluster_id=\"etcd-0\"} 4096",
            "apiserver_storage_objects{resource=\"leases.coordination.k8s.io\"} 3",
            "etcd_request_duration_seconds_count{operation=\"create\",type=\"pods\"} 1",
            "etcd_request_duration_seconds_bucket{operation=\"create\",type=\"pods\",le=\"0.005\"} 1",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
        assert!(text.contains("process_start_time_seconds ") && text.contains("process_open_fds "));
    }
}
