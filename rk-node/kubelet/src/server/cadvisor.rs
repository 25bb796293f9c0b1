//! `/metrics/cadvisor`: what the runtime tells of pods and containers, under cAdvisor's names and labels (KEP-2371), and beside it what
//! is known of the machine as a whole.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use http::Response;
use rk_cri_api::v1 as cri;

use super::body::Body;
use super::metrics::Text;
use super::routes::State;
use super::{machine, stats, whole};
use crate::cpus::{CPU_DIR, Topology};
use crate::node;
use crate::runtime::RuntimeError;

/// CRI's metrics are whole numbers; its statistics tell this one to the nanosecond.
const CPU: &str = "container_cpu_usage_seconds_total";

/// What the runtime tells.
#[derive(Default)]
struct Told {
    descriptors: Vec<cri::MetricDescriptor>,
    pods: Vec<cri::PodSandboxMetrics>,
    /// CPU time of containers in nanoseconds, by their ids, and of all that runs.
    cpu: HashMap<String, u64>,
}

/// The whole text.
pub async fn cadvisor(state: &State) -> Response<Body> {
    let told = ask(state).await;
    if let Err(error) = &told {
        tracing::warn!("metrics of containers: {}: {error}", error.call);
    }
    let failed = told.is_err();
    let mut text = Text::default();
    write(&mut text, &told.unwrap_or_default());
    text.head(
        "container_scrape_error",
        "1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
    );
    text.sample("container_scrape_error", &[], f64::from(u8::from(failed)));
    let machine = node::machine(Path::new("/"));
    let cpus = Topology::read(Path::new(CPU_DIR));
    whole::hardware(&mut text, &machine, &cpus, &node::system_info(String::new(), &machine));
    text.done()
}

async fn ask(state: &State) -> Result<Told, RuntimeError> {
    let runtime = &state.context.runtime;
    let descriptors = runtime.metric_descriptors().await?;
    // First, so that a container that ends meanwhile has no sample instead of one that is rounded down.
    let stats = runtime.container_stats().await?;
    let mut pods = runtime.sandbox_metrics().await?;
    let mut cpu = HashMap::new();
    for stats in stats {
        let id = stats.attributes.unwrap_or_default().id;
        let used = stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds);
        cpu.extend(used.map(|nanos| (id, nanos.value)));
    }
    let usage = stats::node(state.context.cgroups.root());
    let interfaces = machine::interfaces(&std::fs::read_to_string("/proc/net/dev").unwrap_or_default());
    let metrics = whole::of_all(&descriptors, &usage, &interfaces);
    let all = cri::ContainerMetrics { container_id: whole::ALL.to_owned(), metrics };
    pods.push(cri::PodSandboxMetrics { container_metrics: vec![all], ..cri::PodSandboxMetrics::default() });
    cpu.extend(usage.cpu_nanos.map(|nanos| (whole::ALL.to_owned(), nanos)));
    Ok(Told { descriptors, pods, cpu })
}

/// Writes all samples of a metric together, in the order of the descriptors.
fn write(text: &mut Text, told: &Told) {
    let mut by_name: BTreeMap<&str, Vec<(&str, &cri::Metric)>> = BTreeMap::new();
    for pod in &told.pods {
        for metric in &pod.metrics {
            by_name.entry(metric.name.as_str()).or_default().push(("", metric));
        }
        for container in &pod.container_metrics {
            for metric in &container.metrics {
                by_name.entry(metric.name.as_str()).or_default().push((container.container_id.as_str(), metric));
            }
        }
    }
    for descriptor in &told.descriptors {
        let samples = by_name.remove(descriptor.name.as_str()).unwrap_or_default();
        let Some((_, first)) = samples.first() else { continue };
        let gauge = first.metric_type == cri::MetricType::Gauge as i32;
        text.head(&descriptor.name, &descriptor.help, if gauge { "gauge" } else { "counter" });
        for (container, metric) in samples {
            let keys = descriptor.label_keys.iter().map(String::as_str);
            let labels: Vec<(&str, &str)> = keys.zip(metric.label_values.iter().map(String::as_str)).collect();
            if let Some(value) = value(metric, told.cpu.get(container)) {
                text.sample(&descriptor.name, &labels, value);
            }
        }
    }
}

fn value(metric: &cri::Metric, cpu: Option<&u64>) -> Option<f64> {
    match cpu {
        Some(nanos) if metric.name == CPU => Some(*nanos as f64 / 1e9),
        _ => metric.value.as_ref().map(|number| number.value as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, kind: cri::MetricType, labels: &[&str], value: u64) -> cri::Metric {
        cri::Metric {
            name: name.into(),
            metric_type: kind.into(),
            label_values: labels.iter().map(|label| (*label).to_owned()).collect(),
            value: Some(cri::UInt64Value { value }),
            ..Default::default()
        }
    }

    fn descriptor(name: &str, keys: &[&str]) -> cri::MetricDescriptor {
        let label_keys = keys.iter().map(|key| (*key).to_owned()).collect();
        cri::MetricDescriptor { name: name.into(), help: "Told.".into(), label_keys }
    }

    #[test]
    fn samples_of_a_metric_stand_together_with_the_labels_of_its_descriptor() {
        let pod = |name: &str, id: &str| cri::PodSandboxMetrics {
            pod_sandbox_id: name.into(),
            metrics: vec![metric("received", cri::MetricType::Counter, &[name, "eth0"], 5)],
            container_metrics: vec![cri::ContainerMetrics {
                container_id: id.into(),
                metrics: vec![
                    metric(CPU, cri::MetricType::Counter, &[name], 2),
                    metric("threads", cri::MetricType::Gauge, &[name], 3),
                ],
            }],
        };
        let told = Told {
            descriptors: vec![
                descriptor(CPU, &["pod"]),
                descriptor("received", &["pod", "interface"]),
                descriptor("threads", &["pod"]),
                descriptor("unknown", &["pod"]),
            ],
            pods: vec![pod("a", "1"), pod("b", "2")],
            cpu: [("1".to_owned(), 2_500_000_000)].into(),
        };
        let mut text = Text::default();
        write(&mut text, &told);
        let want = [
            "# HELP container_cpu_usage_seconds_total Told.",
            "# TYPE container_cpu_usage_seconds_total counter",
            "container_cpu_usage_seconds_total{pod=\"a\"} 2.5",
            "container_cpu_usage_seconds_total{pod=\"b\"} 2",
            "# HELP received Told.",
            "# TYPE received counter",
            "received{pod=\"a\",interface=\"eth0\"} 5",
            "received{pod=\"b\",interface=\"eth0\"} 5",
            "# HELP threads Told.",
            "# TYPE threads gauge",
            "threads{pod=\"a\"} 3",
            "threads{pod=\"b\"} 3",
        ];
        assert_eq!(text.as_str().lines().collect::<Vec<_>>(), want);
    }
}
