//! Watches by resource: how many are open, and what was sent to them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rk_api::resources::Resource;

use super::help;
use crate::http::ResourcePath;

/// Upper bounds of the size of events, in bytes; upstream's.
const BOUNDS: [u64; 8] = [1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072];

/// How much of a resource a watch is about, as the label `scope` names it.
const SCOPES: [&str; 3] = ["cluster", "namespace", "resource"];

/// Group, version and resource; they come from the resource table, so that their number is bounded.
type Key = (String, String, String);

/// In how many parts events are counted: a place that all processors write costs each of them more than all else about a count.
const PARTS: usize = 8;

thread_local! {
    /// The part that this thread counts in.
    static PART: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % PARTS
    };
}

/// What is counted of the watches on one resource. Thousands of tasks count at once: so without a lock.
#[derive(Default)]
struct Own {
    /// By scope.
    watches: [Begun; SCOPES.len()],
    /// Objects that were there when a watch began.
    initial: AtomicU64,
    sent: [Sent; PARTS],
}

/// Watches of one scope: a series that was there once stays.
#[derive(Default)]
struct Begun {
    opened: AtomicU64,
    closed: AtomicU64,
}

/// Events that were sent. Two processors that count in different parts share no line of their caches.
#[derive(Default)]
#[repr(align(128))]
struct Sent {
    /// By the first bound that they keep; the last ones keep none.
    sizes: [AtomicU64; BOUNDS.len() + 1],
    bytes: AtomicU64,
}

/// Counts watches.
#[derive(Default)]
pub(super) struct Watches(Mutex<BTreeMap<Key, Arc<Own>>>);

/// Counts an open watch until dropped, and its events.
pub struct OpenWatch(Arc<Own>, usize);

impl OpenWatch {
    /// One more event was sent.
    pub fn sent(&self, bytes: usize) {
        let bytes = bytes as u64;
        let place = BOUNDS.iter().position(|bound| bytes <= *bound).unwrap_or(BOUNDS.len());
        let Some(part) = self.0.sent.get(PART.with(|part| *part)) else { return };
        if let Some(count) = part.sizes.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        part.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The watch begins with so many objects.
    pub fn begins_with(&self, objects: usize) {
        self.0.initial.fetch_add(objects as u64, Ordering::Relaxed);
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        if let Some(own) = self.0.watches.get(self.1) {
            own.closed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Watches {
    pub(super) fn open(&self, resource: &Resource, path: &ResourcePath) -> OpenWatch {
        let gvk = &resource.gvk;
        let key = (gvk.group.to_string(), gvk.version.to_string(), resource.plural.to_string());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = Arc::clone(all.entry(key).or_default());
        let scope = match (path.name.is_empty(), path.namespace.is_empty()) {
            (false, _) => 2,
            (_, false) => 1,
            _ => 0,
        };
        if let Some(begun) = own.watches.get(scope) {
            begun.opened.fetch_add(1, Ordering::Relaxed);
        }
        OpenWatch(own, scope)
    }

    pub(super) fn render(&self, out: &mut String) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        help(out, "apiserver_longrunning_requests", "gauge", "Open watches by resource.");
        let scopes =
            all.iter().flat_map(|(key, own)| SCOPES.into_iter().zip(&own.watches).map(move |begun| (key, begun)));
        for ((group, version, resource), (scope, begun)) in scopes {
            // Who closes was counted before, so that there are never fewer than none.
            let closed = begun.closed.load(Ordering::Acquire);
            let opened = begun.opened.load(Ordering::Acquire);
            if opened == 0 {
                continue;
            }
            let open = opened.saturating_sub(closed);
            let labels = format!("group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"\"");
            let _ = writeln!(
                out,
                "apiserver_longrunning_requests{{component=\"apiserver\",{labels},verb=\"WATCH\",version=\"{version}\"}} {open}"
            );
        }
        help(out, "apiserver_watch_events_total", "counter", "Events sent to watches by resource.");
        for (key, own) in &*all {
            let sent: u64 = own.sizes().iter().sum();
            let _ = writeln!(out, "apiserver_watch_events_total{{{}}} {sent}", labels(key));
        }
        help(out, "apiserver_watch_events_sizes", "histogram", "Bytes of events sent to watches by resource.");
        for (key, own) in &*all {
            own.render_sizes(out, &labels(key));
        }
        help(out, "apiserver_init_events_total", "counter", "Objects that watches began with by resource.");
        let mut initial: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for ((group, _, resource), own) in &*all {
            *initial.entry((group.as_str(), resource.as_str())).or_default() += own.initial.load(Ordering::Relaxed);
        }
        for ((group, resource), count) in initial {
            let _ = writeln!(out, "apiserver_init_events_total{{group=\"{group}\",resource=\"{resource}\"}} {count}");
        }
    }
}

impl Own {
    /// How many events there were of each size.
    fn sizes(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|place| self.sum(|part| part.sizes.get(place)))
    }

    fn sum(&self, count: impl Fn(&Sent) -> Option<&AtomicU64>) -> u64 {
        self.sent.iter().filter_map(count).map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn render_sizes(&self, out: &mut String, labels: &str) {
        let name = "apiserver_watch_events_sizes";
        let mut sum = 0;
        for (place, count) in self.sizes().into_iter().enumerate() {
            sum += count;
            let bound = BOUNDS.get(place).map_or_else(|| "+Inf".to_owned(), u64::to_string);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {sum}");
        }
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum(|part| Some(&part.bytes)));
        let _ = writeln!(out, "{name}_count{{{labels}}} {sum}");
    }
}

fn labels((group, version, resource): &Key) -> String {
    format!("group=\"{group}\",resource=\"{resource}\",version=\"{version}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_told_by_resource_with_the_sizes_of_their_events() {
        let registry = rk_api::resources::Registry::builtin();
        let watches = Watches::default();
        let begin = |namespace: &str, name: &str| {
            let path =
                ResourcePath { namespace: namespace.to_owned(), name: name.to_owned(), ..ResourcePath::default() };
            watches.open(registry.get("apps", "v1", "deployments").unwrap(), &path)
        };
        let open = begin("", "");
        drop(begin("", ""));
        drop(begin("a", ""));
        let _one = begin("a", "b");
        open.begins_with(7);
        open.sent(1024);
        // Each thread counts for itself.
        std::thread::scope(|scope| {
            for bytes in [1025, 500_000] {
                let open = &open;
                scope.spawn(move || open.sent(bytes));
            }
        });
        let mut text = String::new();
        watches.render(&mut text);
        let labels = "group=\"apps\",resource=\"deployments\",version=\"v1\"";
        for line in [
            format!("apiserver_watch_events_total{{{labels}}} 3"),
            format!("apiserver_watch_events_sizes_bucket{{{labels},le=\"1024\"}} 1"),
            format!("apiserver_watch_events_sizes_bucket{{{labels},le=\"131072\"}} 2"),
            format!("apiserver_watch_events_sizes_bucket{{{labels},le=\"+Inf\"}} 3"),
            format!("apiserver_watch_events_sizes_sum{{{labels}}} 502049"),
            format!("apiserver_watch_events_sizes_count{{{labels}}} 3"),
            "apiserver_init_events_total{group=\"apps\",resource=\"deployments\"} 7".to_owned(),
            "apiserver_longrunning_requests{component=\"apiserver\",group=\"apps\",resource=\"deployments\",scope=\"cluster\",\
             subresource=\"\",verb=\"WATCH\",version=\"v1\"} 1"
                .to_owned(),
            "apiserver_longrunning_requests{component=\"apiserver\",group=\"apps\",resource=\"deployments\",scope=\"namespace\",\
             subresource=\"\",verb=\"WATCH\",version=\"v1\"} 0"
                .to_owned(),
            "apiserver_longrunning_requests{component=\"apiserver\",group=\"apps\",resource=\"deployments\",scope=\"resource\",\
             subresource=\"\",verb=\"WATCH\",version=\"v1\"} 1"
                .to_owned(),
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }
}
