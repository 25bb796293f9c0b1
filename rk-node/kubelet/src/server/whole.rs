//! What `/metrics/cadvisor` tells of the machine as a whole, under cAdvisor's names: what it has, and the figures of all that runs on it,
//! as a container with the id `/`.

use k8s_openapi::api::core::v1::NodeSystemInfo;
use rk_cri_api::v1 as cri;

use super::metrics::Text;
use super::stats::{Interface, Usage};
use crate::cpus::Topology;
use crate::node::Machine;

/// The id of all that runs.
pub(super) const ALL: &str = "/";

/// A figure of all that runs.
type OfUsage = (&'static str, cri::MetricType, fn(&Usage) -> Option<u64>);
/// A figure of an interface of the machine.
type OfInterface = (&'static str, fn(&Interface) -> Option<u64>);

static USAGE: [OfUsage; 5] = [
    ("container_cpu_usage_seconds_total", cri::MetricType::Counter, |usage| Some(usage.cpu_nanos? / 1_000_000_000)),
    ("container_memory_rss", cri::MetricType::Gauge, |usage| usage.rss),
    ("container_memory_swap", cri::MetricType::Gauge, |usage| usage.swap),
    ("container_memory_usage_bytes", cri::MetricType::Gauge, |usage| usage.usage),
    ("container_memory_working_set_bytes", cri::MetricType::Gauge, |usage| usage.working_set),
];

static INTERFACE: [OfInterface; 4] = [
    ("container_network_receive_bytes_total", |link| link.rx_bytes),
    ("container_network_receive_errors_total", |link| link.rx_errors),
    ("container_network_transmit_bytes_total", |link| link.tx_bytes),
    ("container_network_transmit_errors_total", |link| link.tx_errors),
];

/// The figures of all that runs, of those that `descriptors` know.
pub(super) fn of_all(
    descriptors: &[cri::MetricDescriptor],
    usage: &Usage,
    interfaces: &[Interface],
) -> Vec<cri::Metric> {
    let mut told = Vec::new();
    for descriptor in descriptors {
        let name = descriptor.name.as_str();
        if let Some((_, kind, read)) = USAGE.iter().find(|(own, ..)| *own == name) {
            told.extend(read(usage).map(|value| metric(descriptor, *kind, "", value)));
        }
        let Some((_, read)) = INTERFACE.iter().find(|(own, _)| *own == name) else { continue };
        let of_link = |link: &Interface| Some(metric(descriptor, cri::MetricType::Counter, &link.name, read(link)?));
        told.extend(interfaces.iter().filter_map(of_link));
    }
    told
}

fn metric(descriptor: &cri::MetricDescriptor, kind: cri::MetricType, interface: &str, value: u64) -> cri::Metric {
    let label = |key: &String| match key.as_str() {
        "id" => ALL,
        "cpu" => "total",
        "interface" => interface,
        _ => "",
    };
    cri::Metric {
        name: descriptor.name.clone(),
        metric_type: kind.into(),
        label_values: descriptor.label_keys.iter().map(|key| label(key).to_owned()).collect(),
        value: Some(cri::UInt64Value { value }),
        ..cri::Metric::default()
    }
}

/// What the machine has.
pub(super) fn hardware(text: &mut Text, machine: &Machine, cpus: &Topology, info: &NodeSystemInfo) {
    // A kernel that does not tell where its CPUs are is no machine without any.
    let known = |count: usize| (count > 0).then_some(count as f64);
    let labels = [
        ("boot_id", info.boot_id.as_str()),
        ("machine_id", info.machine_id.as_str()),
        ("system_uuid", info.system_uuid.as_str()),
    ];
    for (name, help, value) in [
        ("machine_cpu_cores", "Number of logical CPU cores.", Some(machine.cpus as f64)),
        ("machine_cpu_physical_cores", "Number of physical CPU cores.", known(cpus.cores())),
        ("machine_cpu_sockets", "Number of CPU sockets.", known(cpus.packages())),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", Some(machine.memory as f64)),
        ("machine_swap_bytes", "Amount of swap memory available on the machine.", Some(machine.swap as f64)),
    ] {
        let Some(value) = value else { continue };
        text.head(name, help, "gauge");
        text.sample(name, &labels, value);
    }
    text.head("machine_scrape_error", "1 if there was an error while getting machine metrics, 0 otherwise.", "gauge");
    text.sample("machine_scrape_error", &[], f64::from(u8::from(machine.memory == 0)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpus::Cpu;

    fn descriptor(name: &str, keys: &[&str]) -> cri::MetricDescriptor {
        let label_keys = keys.iter().map(|key| (*key).to_owned()).collect();
        cri::MetricDescriptor { name: name.into(), help: String::new(), label_keys }
    }

    #[test]
    fn all_that_runs_is_a_container_without_a_name() {
        let descriptors = [
            descriptor("container_cpu_usage_seconds_total", &["container", "id", "cpu"]),
            descriptor("container_memory_rss", &["container", "id"]),
            descriptor("container_memory_working_set_bytes", &["container", "id"]),
            descriptor("container_network_receive_bytes_total", &["id", "interface"]),
            descriptor("container_threads", &["id"]),
        ];
        let usage = Usage { cpu_nanos: Some(2_500_000_000), working_set: Some(7), ..Usage::default() };
        let link = |name: &str, rx_bytes| Interface { name: name.to_owned(), rx_bytes, ..Interface::default() };
        let told = of_all(&descriptors, &usage, &[link("eth0", Some(5)), link("eth1", None)]);
        let brief: Vec<(&str, String, u64)> = told
            .iter()
            .map(|one| {
                (one.name.as_str(), one.label_values.join(","), one.value.as_ref().map_or(0, |number| number.value))
            })
            .collect();
        let want = [
            ("container_cpu_usage_seconds_total", ",/,total".to_owned(), 2),
            ("container_memory_working_set_bytes", ",/".to_owned(), 7),
            ("container_network_receive_bytes_total", "/,eth0".to_owned(), 5),
        ];
        assert_eq!(brief, want);
    }

    #[test]
    fn the_machine_is_told_with_what_tells_it_from_others() {
        let machine = Machine { cpus: 4, memory: 1024, swap: 0, storage: 0, huge_pages: Vec::new() };
        let info = NodeSystemInfo {
            boot_id: "b".into(),
            machine_id: "m".into(),
            system_uuid: "s".into(),
            ..NodeSystemInfo::default()
        };
        let cpu = |id, core| Cpu { id, core, socket: 0, node: 0, cache: 0 };
        let cpus = Topology(vec![cpu(0, 0), cpu(1, 0), cpu(2, 1), cpu(3, 1)]);
        let mut text = Text::default();
        hardware(&mut text, &machine, &cpus, &info);
        let labels = "boot_id=\"b\",machine_id=\"m\",system_uuid=\"s\"";
        for line in [
            format!("machine_cpu_cores{{{labels}}} 4"),
            format!("machine_cpu_physical_cores{{{labels}}} 2"),
            format!("machine_cpu_sockets{{{labels}}} 1"),
            format!("machine_memory_bytes{{{labels}}} 1024"),
            format!("machine_swap_bytes{{{labels}}} 0"),
            "machine_scrape_error 0".to_owned(),
        ] {
            assert!(text.as_str().lines().any(|own| own == line), "{line}\n{}", text.as_str());
        }
        let mut text = Text::default();
        hardware(&mut text, &machine, &Topology::default(), &info);
        assert!(!text.as_str().contains("machine_cpu_sockets"), "{}", text.as_str());
    }
}
