//! Metrics in the Prometheus text format.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use http::{Response, StatusCode};
use jiff::Timestamp;
use rk_figures::Ask;

use super::body::{Body, response};
use super::routes::State;
use super::stats::{self, PodUsage};
use super::{gauges, meters, pod_counts, process};
use crate::pod::spec;
use crate::runtime::POD_NAME;
use crate::volumes::STATS_AGE;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How long volumes that are slow to count keep the page.
const PATIENCE: Duration = Duration::from_secs(5);

/// A text under construction.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    /// Begins a metric.
    pub fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {}{help}\n# TYPE {name} {kind}", stage(name));
    }

    /// One value of the metric that was begun last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.sample_at(name, labels, value, None);
    }

    /// One value and when it was read, nanoseconds since 1970: who counts by it knows how much time has passed between two.
    pub fn sample_at(&mut self, name: &str, labels: &[(&str, &str)], value: f64, at: Option<i64>) {
        self.0.push_str(name);
        if !labels.is_empty() {
            let list: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
            let _ = write!(self.0, "{{{}}}", list.join(","));
        }
        let _ = match at {
            Some(at) => writeln!(self.0, " {value} {}", at / 1_000_000),
            None => writeln!(self.0, " {value}"),
        };
    }

    /// What is written so far.
    #[cfg(test)]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The answer.
    pub fn done(self) -> Response<Body> {
        response(StatusCode::OK, CONTENT_TYPE, self.0)
    }
}

/// What upstream promises of the kubelet's own names. Those of containers are cAdvisor's, too, who promises nothing.
fn stage(name: &str) -> &'static str {
    const ALPHA: [&str; 8] = [
        "csi_operations_",
        "dra_",
        "kubelet_",
        "kubernetes_build_info",
        "prober_probe_duration_",
        "rest_client_",
        "storage_operation_",
        "volume_manager_",
    ];
    match name {
        "prober_probe_total" => "[BETA] ",
        _ if ALPHA.iter().any(|own| name.starts_with(own)) => "[ALPHA] ",
        _ => "",
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What probes have found.
pub fn probes(state: &State) -> Response<Body> {
    let mut text = Text::default();
    meters::probes(&mut text, &state.context.runtime.meters);
    text.done()
}

/// The kubelet's own.
pub async fn kubelet(state: &State) -> Response<Body> {
    let mut text = Text::default();
    text.head("kubelet_node_name", "The node's name. The count is always 1.", "gauge");
    text.sample("kubelet_node_name", &[("node", &state.context.options.node_name)], 1.0);
    text.head(
        "kubelet_metrics_provider",
        "Where /metrics/cadvisor has its numbers from. The count is always 1.",
        "gauge",
    );
    text.sample("kubelet_metrics_provider", &[("provider", "cri")], 1.0);
    // The node's kernel mounts no other.
    text.head("kubelet_cgroup_version", "Which version of control groups the node has.", "gauge");
    text.sample("kubelet_cgroup_version", &[], 2.0);
    if let Ok(containers) = state.context.runtime.list_containers().await {
        let mut by_state = [0_usize; 4];
        let mut pods = BTreeSet::new();
        for container in &containers {
            if let Some(count) = usize::try_from(container.state).ok().and_then(|s| by_state.get_mut(s)) {
                *count += 1;
            }
            if container.state == rk_cri_api::v1::ContainerState::ContainerRunning as i32 {
                pods.insert(container.labels.get(POD_NAME).cloned().unwrap_or_default());
            }
        }
        text.head("kubelet_running_containers", "Number of containers currently running", "gauge");
        for (name, count) in ["created", "running", "exited", "unknown"].iter().zip(by_state) {
            text.sample("kubelet_running_containers", &[("container_state", name)], count as f64);
        }
        text.head("kubelet_running_pods", "Number of pods that have a running container", "gauge");
        text.sample("kubelet_running_pods", &[], pods.len() as f64);
    }
    pod_counts::write(&mut text, &state.pods.lives());
    gauges::write(&mut text, state);
    meters::write(&mut text, &state.context.runtime.meters);
    meters::link(&mut text, &state.link);
    certificates(&mut text, state);
    volumes(state, &mut text).await;
    process::write(&mut text);
    text.done()
}

/// How long the certificates last; of one that is not there nothing is told.
fn certificates(text: &mut Text, state: &State) {
    let (client, server) = (state.certificates.load_client(), state.certificates.load_serving());
    for (name, help, found) in [
        (
            "kubelet_certificate_manager_client_ttl_seconds",
            "Seconds until the kubelet's client certificate expires; negative if it has expired.",
            client,
        ),
        (
            "kubelet_certificate_manager_server_ttl_seconds",
            "Seconds until the kubelet's serving certificate expires; negative if it has expired.",
            server,
        ),
    ] {
        if let Ok(Some(identity)) = found {
            text.head(name, help, "gauge");
            text.sample(name, &[], (identity.not_after.as_second() - Timestamp::now().as_second()) as f64);
        }
    }
}

/// Volumes behind claims.
async fn volumes(state: &State, text: &mut Text) {
    let (mut held, ask) = (Vec::new(), Ask::new(STATS_AGE, PATIENCE));
    for pod in state.pods.all() {
        let of_pod = state.context.volumes.claim_stats(spec::uid(&pod), ask).await;
        held.extend(of_pod.into_iter().map(|stats| (spec::namespace(&pod).to_owned(), stats)));
    }
    for (what, help, inodes, of) in [
        ("capacity_bytes", "Capacity in bytes of the volume", false, 0),
        ("available_bytes", "Number of available bytes in the volume", false, 1),
        ("used_bytes", "Number of used bytes in the volume", false, 2),
        ("inodes", "Maximum number of inodes in the volume", true, 0),
        ("inodes_free", "Number of free inodes in the volume", true, 1),
        ("inodes_used", "Number of used inodes in the volume", true, 2),
    ] {
        let name = format!("kubelet_volume_stats_{what}");
        text.head(&name, help, "gauge");
        // Pods that share a claim on this node would tell it twice.
        let mut told = BTreeSet::new();
        for (namespace, stats) in &held {
            let numbers = if inodes { stats.inodes } else { stats.bytes };
            let number = numbers.and_then(|numbers| numbers.get(of).copied());
            if let (Some(claim), Some(number)) = (&stats.claim, number)
                && told.insert((namespace, claim))
            {
                text.sample(&name, &[("namespace", namespace), ("persistentvolumeclaim", claim)], number as f64);
            }
        }
    }
}

/// `/metrics/resource`: what a metrics server scrapes.
pub async fn resource(state: &State) -> Response<Body> {
    let mut text = Text::default();
    let node = stats::node(state.context.cgroups.root());
    text.head(
        "node_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        "counter",
    );
    text.sample_at("node_cpu_usage_seconds_total", &[], node.cpu_nanos.unwrap_or(0) as f64 / 1e9, node.at);
    text.head("node_memory_working_set_bytes", "[STABLE] Current working set of the node in bytes", "gauge");
    text.sample_at("node_memory_working_set_bytes", &[], node.working_set.unwrap_or(0) as f64, node.at);
    let pods = stats::pods(&state.context).await;
    let failed = pods.is_err();
    let pods = pods.unwrap_or_default();
    per_container(
        &mut text,
        &pods,
        "container_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        "counter",
        |u| u.cpu_nanos.map(|n| n as f64 / 1e9),
    );
    per_container(
        &mut text,
        &pods,
        "container_memory_working_set_bytes",
        "[STABLE] Current working set of the container in bytes",
        "gauge",
        |u| u.working_set.map(|b| b as f64),
    );
    per_pod(
        &mut text,
        &pods,
        "pod_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        "counter",
        |u| u.cpu_nanos.map(|n| n as f64 / 1e9),
    );
    per_pod(
        &mut text,
        &pods,
        "pod_memory_working_set_bytes",
        "[STABLE] Current working set of the pod in bytes",
        "gauge",
        |u| u.working_set.map(|b| b as f64),
    );
    swap(&mut text, &node, &pods);
    start_times(&mut text, state);
    text.head(
        "resource_scrape_error",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
    );
    text.sample("resource_scrape_error", &[], f64::from(u8::from(failed)));
    text.done()
}

fn swap(text: &mut Text, node: &stats::Usage, pods: &[PodUsage]) {
    let help = |what: &str| format!("[ALPHA] Current {what} in bytes. Reported only on non-windows systems");
    text.head("node_swap_usage_bytes", &help("swap usage of the node"), "gauge");
    text.sample_at("node_swap_usage_bytes", &[], node.swap.unwrap_or(0) as f64, node.at);
    let used = |u: &stats::Usage| u.swap.map(|b| b as f64);
    let of_containers = help("amount of the container swap usage");
    per_container(text, pods, "container_swap_usage_bytes", &of_containers, "gauge", used);
    let of_limits = help("amount of the container swap limit");
    let limit = |u: &stats::Usage| Some(u.swap?.saturating_add(u.swap_available?) as f64);
    per_container(text, pods, "container_swap_limit_bytes", &of_limits, "gauge", limit);
    per_pod(text, pods, "pod_swap_usage_bytes", &help("amount of the pod swap usage"), "gauge", used);
}

fn start_times(text: &mut Text, state: &State) {
    text.head(
        "container_start_time_seconds",
        "[STABLE] Start time of the container since unix epoch in seconds",
        "gauge",
    );
    for pod in state.pods.all() {
        let status = state.context.status.latest(crate::pod::spec::uid(&pod)).unwrap_or_default();
        let of_init = status.init_container_statuses.into_iter().flatten();
        let ephemeral = status.ephemeral_container_statuses.into_iter().flatten();
        for container in of_init.chain(status.container_statuses.into_iter().flatten()).chain(ephemeral) {
            let started = container.state.and_then(|s| s.running).and_then(|r| r.started_at);
            if let Some(at) = started {
                let labels = [
                    ("container", container.name.as_str()),
                    ("namespace", crate::pod::spec::namespace(&pod)),
                    ("pod", crate::pod::spec::name(&pod)),
                ];
                text.sample("container_start_time_seconds", &labels, at.0.as_second() as f64);
            }
        }
    }
}

fn per_container(
    text: &mut Text,
    pods: &[PodUsage],
    name: &str,
    help: &str,
    kind: &str,
    pick: impl Fn(&stats::Usage) -> Option<f64>,
) {
    text.head(name, help, kind);
    for pod in pods {
        for container in &pod.containers {
            if let Some(value) = pick(&container.usage) {
                let labels: [(&str, &str); 3] =
                    [("container", &container.name), ("namespace", &pod.namespace), ("pod", &pod.name)];
                text.sample_at(name, &labels, value, container.usage.at);
            }
        }
    }
}

fn per_pod(
    text: &mut Text,
    pods: &[PodUsage],
    name: &str,
    help: &str,
    kind: &str,
    pick: impl Fn(&stats::Usage) -> Option<f64>,
) {
    text.head(name, help, kind);
    for pod in pods {
        if let Some(value) = pick(&pod.usage) {
            text.sample_at(name, &[("namespace", &pod.namespace), ("pod", &pod.name)], value, pod.usage.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_says_when_in_milliseconds() {
        let container = |at| stats::ContainerUsage {
            name: "c".into(),
            usage: stats::Usage { at, cpu_nanos: Some(1_500_000_000), ..Default::default() },
            layer: None,
        };
        let pod = |at| PodUsage {
            name: "p".into(),
            namespace: "n".into(),
            usage: stats::Usage { at, working_set: Some(7), ..Default::default() },
            containers: vec![container(at)],
            ..Default::default()
        };
        let mut text = Text::default();
        let pods = [pod(Some(1_700_000_000_123_456_789)), pod(None)];
        per_container(&mut text, &pods, "cpu", "h", "counter", |u| u.cpu_nanos.map(|n| n as f64 / 1e9));
        per_pod(&mut text, &pods, "memory", "h", "gauge", |u| u.working_set.map(|b| b as f64));
        let samples: Vec<&str> = text.as_str().lines().filter(|line| !line.starts_with('#')).collect();
        let wanted = [
            "cpu{container=\"c\",namespace=\"n\",pod=\"p\"} 1.5 1700000000123",
            "cpu{container=\"c\",namespace=\"n\",pod=\"p\"} 1.5",
            "memory{namespace=\"n\",pod=\"p\"} 7 1700000000123",
            "memory{namespace=\"n\",pod=\"p\"} 7",
        ];
        assert_eq!(samples, wanted);
    }

    #[test]
    fn texts_of_the_kubelet_begin_with_what_is_promised_of_the_name() {
        let mut text = Text::default();
        for name in ["kubelet_running_pods", "prober_probe_total", "container_memory_rss"] {
            text.head(name, "Told.", "gauge");
        }
        let heads: Vec<&str> = text.as_str().lines().filter(|line| line.starts_with("# HELP ")).collect();
        let wanted = [
            "# HELP kubelet_running_pods [ALPHA] Told.",
            "# HELP prober_probe_total [BETA] Told.",
            "# HELP container_memory_rss Told.",
        ];
        assert_eq!(heads, wanted);
    }
}
