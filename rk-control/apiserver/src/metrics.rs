//! Figures under upstream's names, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rk_api::resources::Resource;

/// Upper bounds of the latency histogram in seconds; upstream's.
const BOUNDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
/// Most label combinations kept; paths come from clients, and clients may be hostile.
const SERIES: usize = 5000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Default, Clone)]
struct Histogram {
    counts: [u64; BOUNDS.len()],
    total: u64,
    sum: f64,
}

#[derive(Default)]
struct Series {
    requests: BTreeMap<Labels, u64>,
    latency: BTreeMap<Labels, Histogram>,
}

/// Collects figures.
#[derive(Default)]
pub struct Metrics {
    series: Mutex<Series>,
    watches: Mutex<BTreeMap<(String, String), Arc<AtomicI64>>>,
}

/// Counts an open watch until dropped.
pub struct OpenWatch(Arc<AtomicI64>);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts an answered request. `resource` is group, resource and subresource.
    pub fn observe(&self, verb: &str, resource: Option<&(String, String, String)>, code: u16, took: Duration) {
        let (group, plural, subresource) = resource.cloned().unwrap_or_default();
        // Unknown resources are one series: their names are the client's invention.
        let plural = if code == 404 && resource.is_some() { String::new() } else { plural };
        let labels = Labels { verb: verb.to_ascii_uppercase(), group, resource: plural, subresource, code };
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if series.requests.len() >= SERIES && !series.requests.contains_key(&labels) {
            return;
        }
        *series.requests.entry(labels.clone()).or_default() += 1;
        if verb == "watch" {
            return;
        }
        let histogram = series.latency.entry(Labels { code: 0, ..labels }).or_default();
        let seconds = took.as_secs_f64();
        histogram.total += 1;
        histogram.sum += seconds;
        for (bound, count) in BOUNDS.iter().zip(&mut histogram.counts) {
            if seconds <= *bound {
                *count += 1;
            }
        }
    }

    /// Counts a watch as open.
    #[must_use]
    pub fn open_watch(&self, resource: &Resource) -> OpenWatch {
        let key = (resource.gvk.group.to_string(), resource.plural.to_string());
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let gauge = Arc::clone(watches.entry(key).or_default());
        gauge.fetch_add(1, Ordering::Relaxed);
        OpenWatch(gauge)
    }

    /// Everything as text; `objects` is how many objects each cached resource has.
    #[must_use]
    pub fn render(&self, objects: &[(String, usize)]) -> String {
        let mut out = String::with_capacity(16 * 1024);
        self.render_requests(&mut out);
        help(&mut out, "apiserver_longrunning_requests", "gauge", "Open watches by resource.");
        for ((group, resource), gauge) in &*self.watches.lock().unwrap_or_else(PoisonError::into_inner) {
            let open = gauge.load(Ordering::Relaxed);
            let _ = writeln!(
                out,
                "apiserver_longrunning_requests{{component=\"apiserver\",group=\"{group}\",resource=\"{resource}\",verb=\"WATCH\"}} {open}"
            );
        }
        help(
            &mut out,
            "apiserver_storage_objects",
            "gauge",
            "Objects by resource, of resources that are in the watch cache.",
        );
        for (resource, count) in objects {
            let _ = writeln!(out, "apiserver_storage_objects{{resource=\"{resource}\"}} {count}");
        }
        help(&mut out, "kubernetes_build_info", "gauge", "The version.");
        let _ = writeln!(
            out,
            "kubernetes_build_info{{git_version=\"{}\",major=\"1\",minor=\"36\"}} 1",
            crate::discovery::GIT_VERSION
        );
        render_process(&mut out);
        out
    }

    fn render_requests(&self, out: &mut String) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        help(out, "apiserver_request_total", "counter", "Answered requests by verb, resource and code.");
        for (labels, count) in &series.requests {
            let _ = writeln!(out, "apiserver_request_total{{{},code=\"{}\"}} {count}", labels.text(), labels.code);
        }
        help(out, "apiserver_request_duration_seconds", "histogram", "Time to answer, watches aside.");
        for (labels, histogram) in &series.latency {
            let text = labels.text();
            for (bound, count) in BOUNDS.iter().zip(&histogram.counts) {
                let _ = writeln!(out, "apiserver_request_duration_seconds_bucket{{{text},le=\"{bound}\"}} {count}");
            }
            let _ =
                writeln!(out, "apiserver_request_duration_seconds_bucket{{{text},le=\"+Inf\"}} {}", histogram.total);
            let _ = writeln!(out, "apiserver_request_duration_seconds_sum{{{text}}} {}", histogram.sum);
            let _ = writeln!(out, "apiserver_request_duration_seconds_count{{{text}}} {}", histogram.total);
        }
    }
}

impl Labels {
    fn text(&self) -> String {
        format!(
            "component=\"apiserver\",group=\"{}\",resource=\"{}\",subresource=\"{}\",verb=\"{}\"",
            escape(&self.group),
            escape(&self.resource),
            escape(&self.subresource),
            escape(&self.verb)
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn help(out: &mut String, name: &str, kind: &str, text: &str) {
    let _ = writeln!(out, "# HELP {name} {text}\n# TYPE {name} {kind}");
}

/// Memory and CPU of this process, from /proc.
fn render_process(out: &mut String) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = |field: &str| {
        let line = status.lines().find(|line| line.starts_with(field))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    if let Some(resident) = kilobytes("VmRSS:") {
        help(out, "process_resident_memory_bytes", "gauge", "Resident memory.");
        let _ = writeln!(out, "process_resident_memory_bytes {}", resident * 1024);
    }
    if let Some(threads) = kilobytes("Threads:") {
        help(out, "process_threads", "gauge", "Threads.");
        let _ = writeln!(out, "process_threads {threads}");
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields after the parenthesised command: 14 and 15 of the whole line are user and system time in ticks of 10 ms.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
    if let (Some(user), Some(system)) = (ticks(11), ticks(12)) {
        help(out, "process_cpu_seconds_total", "counter", "CPU time.");
        let _ = writeln!(out, "process_cpu_seconds_total {}", (user + system) as f64 / 100.0);
    }
}
