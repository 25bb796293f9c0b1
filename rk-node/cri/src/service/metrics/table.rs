//! The metrics: names, texts and label keys as cAdvisor has them on cgroup v2, and where each is read.

use rk_cri_api::v1::MetricType::{self, Counter, Gauge};

use super::facts::Facts;

/// Values of a metric, each with those of the labels that it has besides the common ones.
pub(super) type Samples = Vec<(Vec<String>, u64)>;

/// One metric of a `T`.
pub(super) struct Row<T> {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// What may be done with its values.
    pub kind: MetricType,
    /// Keys of the labels besides the common ones.
    pub labels: &'static [&'static str],
    /// Reads it; what is not known has no sample.
    pub read: fn(&T) -> Samples,
}

/// A network interface of a pod.
#[derive(Debug, Default)]
pub(super) struct Interface {
    /// Its name.
    pub name: String,
    /// Its numbers in the order of `/proc/net/dev`.
    pub counters: Vec<u64>,
}

const fn row(
    kind: MetricType,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Facts) -> Samples,
) -> Row<Facts> {
    Row { name, help, kind, labels, read }
}

const fn counter(name: &'static str, help: &'static str, read: fn(&Interface) -> Samples) -> Row<Interface> {
    Row { name, help, kind: Counter, labels: &["interface"], read }
}

fn one(value: Option<u64>) -> Samples {
    value.map(|value| (Vec::new(), value)).into_iter().collect()
}

fn seconds(nanos: i64) -> Option<u64> {
    u64::try_from(nanos / 1_000_000_000).ok().filter(|seconds| *seconds > 0)
}

/// A device that has gone has no name any more: its number stands for it, or two of them would have the same labels.
fn device(facts: &Facts, number: &str) -> String {
    facts.devices.get(number).map_or(number, String::as_str).to_owned()
}

fn by_device(facts: &Facts, counter: &str) -> Samples {
    facts.io(counter).into_iter().map(|(number, value)| (vec![device(facts, number)], value)).collect()
}

fn transferred(facts: &Facts) -> Samples {
    let mut all = Samples::new();
    for (operation, counter) in [("Read", "rbytes"), ("Write", "wbytes")] {
        for (number, value) in facts.io(counter) {
            let (major, minor) = number.split_once(':').unwrap_or((number, ""));
            let labels = vec![device(facts, number), major.to_owned(), minor.to_owned(), operation.to_owned()];
            all.push((labels, value));
        }
    }
    all
}

fn faults(facts: &Facts) -> Samples {
    let mut all = Samples::new();
    for kind in ["pgfault", "pgmajfault"] {
        // cgroup v2 counts a hierarchy alone: both scopes have its number.
        for scope in ["container", "hierarchy"] {
            let value = facts.keyed("memory.stat", kind);
            all.extend(value.map(|value| (vec![kind.to_owned(), scope.to_owned()], value)));
        }
    }
    all
}

fn huge_pages(facts: &Facts) -> Samples {
    facts.huge_pages().into_iter().map(|(size, value)| (vec![size.to_owned()], value)).collect()
}

fn on_disk(facts: &Facts, value: Option<u64>) -> Samples {
    let Some(disk) = &facts.disk else { return Samples::new() };
    value.map(|value| (vec![disk.device.clone()], value)).into_iter().collect()
}

fn of_interface(interface: &Interface, at: usize) -> Samples {
    let value = interface.counters.get(at).copied();
    value.map(|value| (vec![interface.name.clone()], value)).into_iter().collect()
}

/// What is told of containers.
pub(super) const CONTAINER: &[Row<Facts>] = &[
    row(
        Counter,
        "container_blkio_device_usage_total",
        &["device", "major", "minor", "operation"],
        "Blkio Device bytes usage",
        transferred,
    ),
    row(Counter, "container_cpu_cfs_periods_total", &[], "Number of elapsed enforcement period intervals.", |f| {
        one(f.keyed("cpu.stat", "nr_periods"))
    }),
    row(Counter, "container_cpu_cfs_throttled_periods_total", &[], "Number of throttled period intervals.", |f| {
        one(f.keyed("cpu.stat", "nr_throttled"))
    }),
    row(
        Counter,
        "container_cpu_cfs_throttled_seconds_total",
        &[],
        "Total time duration the container has been throttled.",
        |f| one(f.cpu_seconds("throttled_usec")),
    ),
    row(Counter, "container_cpu_system_seconds_total", &[], "Cumulative system cpu time consumed in seconds.", |f| {
        one(f.cpu_seconds("system_usec"))
    }),
    row(Counter, "container_cpu_usage_seconds_total", &["cpu"], "Cumulative cpu time consumed in seconds.", |f| {
        f.cpu_seconds("usage_usec").map(|value| (vec!["total".to_owned()], value)).into_iter().collect()
    }),
    row(Counter, "container_cpu_user_seconds_total", &[], "Cumulative user cpu time consumed in seconds.", |f| {
        one(f.cpu_seconds("user_usec"))
    }),
    row(Gauge, "container_file_descriptors", &[], "Number of open file descriptors for the container.", |f| {
        one(f.processes.as_ref().map(|p| p.descriptors))
    }),
    row(Gauge, "container_fs_inodes_free", &["device"], "Number of available Inodes", |f| {
        on_disk(f, f.disk.as_ref().map(|d| d.inodes_free))
    }),
    row(Gauge, "container_fs_inodes_total", &["device"], "Number of Inodes", |f| {
        on_disk(f, f.disk.as_ref().map(|d| d.inodes))
    }),
    row(
        Gauge,
        "container_fs_limit_bytes",
        &["device"],
        "Number of bytes that can be consumed by the container on this filesystem.",
        |f| on_disk(f, f.disk.as_ref().map(|d| d.bytes)),
    ),
    row(Counter, "container_fs_reads_bytes_total", &["device"], "Cumulative count of bytes read", |f| {
        by_device(f, "rbytes")
    }),
    row(Counter, "container_fs_reads_total", &["device"], "Cumulative count of reads completed", |f| {
        by_device(f, "rios")
    }),
    row(
        Gauge,
        "container_fs_usage_bytes",
        &["device"],
        "Number of bytes that are consumed by the container on this filesystem.",
        |f| on_disk(f, f.written),
    ),
    row(Counter, "container_fs_writes_bytes_total", &["device"], "Cumulative count of bytes written", |f| {
        by_device(f, "wbytes")
    }),
    row(Counter, "container_fs_writes_total", &["device"], "Cumulative count of writes completed", |f| {
        by_device(f, "wios")
    }),
    row(
        Gauge,
        "container_hugetlb_max_usage_bytes",
        &["pagesize"],
        "Maximum hugepage usages recorded in bytes",
        // cgroup v2 keeps no maximum of huge pages, and cAdvisor tells 0 there.
        |f| huge_pages(f).into_iter().map(|(size, _)| (size, 0)).collect(),
    ),
    row(Gauge, "container_hugetlb_usage_bytes", &["pagesize"], "Current hugepage usage in bytes", huge_pages),
    row(Gauge, "container_last_seen", &[], "Last time a container was seen by the exporter", |f| {
        one(seconds(f.seen_at))
    }),
    row(Gauge, "container_memory_cache", &[], "Number of bytes of page cache memory.", |f| {
        one(f.keyed("memory.stat", "file"))
    }),
    row(
        Counter,
        "container_memory_failcnt",
        &[],
        "Number of memory usage hits limits",
        // cgroup v2 has no such number, and cAdvisor tells 0 there.
        |f| one(f.number("memory.current").map(|_| 0)),
    ),
    row(
        Counter,
        "container_memory_failures_total",
        &["failure_type", "scope"],
        "Cumulative count of memory allocation failures.",
        faults,
    ),
    row(Gauge, "container_memory_kernel_usage", &[], "Size of kernel memory allocated in bytes.", |f| {
        one(f.keyed("memory.stat", "kernel"))
    }),
    row(Gauge, "container_memory_mapped_file", &[], "Size of memory mapped files in bytes.", |f| {
        one(f.keyed("memory.stat", "file_mapped"))
    }),
    row(Gauge, "container_memory_max_usage_bytes", &[], "Maximum memory usage recorded in bytes", |f| {
        one(f.number("memory.peak"))
    }),
    row(Gauge, "container_memory_rss", &[], "Size of RSS in bytes.", |f| one(f.keyed("memory.stat", "anon"))),
    row(Gauge, "container_memory_swap", &[], "Container swap usage in bytes.", |f| {
        // A kernel without swap has no such file, and uses none.
        one(f.number("memory.swap.current").or_else(|| f.number("memory.current").map(|_| 0)))
    }),
    row(Gauge, "container_memory_total_active_file_bytes", &[], "Current total active file in bytes.", |f| {
        one(f.keyed("memory.stat", "active_file"))
    }),
    row(Gauge, "container_memory_total_inactive_file_bytes", &[], "Current total inactive file in bytes.", |f| {
        one(f.keyed("memory.stat", "inactive_file"))
    }),
    row(
        Gauge,
        "container_memory_usage_bytes",
        &[],
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |f| one(f.number("memory.current")),
    ),
    row(Gauge, "container_memory_working_set_bytes", &[], "Current working set in bytes.", |f| {
        let inactive = f.keyed("memory.stat", "inactive_file").unwrap_or(0);
        one(f.number("memory.current").map(|usage| usage.saturating_sub(inactive)))
    }),
    row(Counter, "container_oom_events_total", &[], "Count of out of memory events observed for the container", |f| {
        one(f.keyed("memory.events", "oom_kill"))
    }),
    row(
        Counter,
        "container_pressure_cpu_stalled_seconds_total",
        &[],
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        |f| one(f.stalled("cpu.pressure", true)),
    ),
    row(
        Counter,
        "container_pressure_cpu_waiting_seconds_total",
        &[],
        "Total time duration tasks in the container have waited due to CPU congestion.",
        |f| one(f.stalled("cpu.pressure", false)),
    ),
    row(
        Counter,
        "container_pressure_io_stalled_seconds_total",
        &[],
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        |f| one(f.stalled("io.pressure", true)),
    ),
    row(
        Counter,
        "container_pressure_io_waiting_seconds_total",
        &[],
        "Total time duration tasks in the container have waited due to IO congestion.",
        |f| one(f.stalled("io.pressure", false)),
    ),
    row(
        Counter,
        "container_pressure_memory_stalled_seconds_total",
        &[],
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        |f| one(f.stalled("memory.pressure", true)),
    ),
    row(
        Counter,
        "container_pressure_memory_waiting_seconds_total",
        &[],
        "Total time duration tasks in the container have waited due to memory congestion.",
        |f| one(f.stalled("memory.pressure", false)),
    ),
    row(Gauge, "container_processes", &[], "Number of processes running inside the container.", |f| {
        one(f.processes.as_ref().map(|p| p.count))
    }),
    row(Gauge, "container_sockets", &[], "Number of open sockets for the container.", |f| {
        one(f.processes.as_ref().map(|p| p.sockets))
    }),
    row(Gauge, "container_spec_cpu_period", &[], "CPU period of the container.", |f| one(f.cpu_max().1)),
    row(Gauge, "container_spec_cpu_quota", &[], "CPU quota of the container.", |f| one(f.cpu_max().0)),
    row(Gauge, "container_spec_cpu_shares", &[], "CPU share of the container.", |f| {
        one(u64::try_from(f.cpu_shares).ok().filter(|shares| *shares > 0))
    }),
    row(Gauge, "container_spec_memory_limit_bytes", &[], "Memory limit for the container.", |f| {
        one(f.limit("memory.max"))
    }),
    row(
        Gauge,
        "container_spec_memory_reservation_limit_bytes",
        &[],
        "Memory reservation limit for the container.",
        |f| one(f.limit("memory.low")),
    ),
    row(Gauge, "container_spec_memory_swap_limit_bytes", &[], "Memory swap limit for the container.", |f| {
        one(f.limit("memory.swap.max").or_else(|| f.limit("memory.max").map(|_| 0)))
    }),
    row(Gauge, "container_start_time_seconds", &[], "Start time of the container since unix epoch in seconds.", |f| {
        one(seconds(f.started_at))
    }),
    row(Gauge, "container_threads", &[], "Number of threads running inside the container", |f| {
        one(f.number("pids.current"))
    }),
    row(
        Gauge,
        "container_threads_max",
        &[],
        "Maximum number of threads allowed inside the container, infinity if value is zero",
        |f| one(f.limit("pids.max")),
    ),
    row(
        Gauge,
        "container_ulimits_soft",
        &["ulimit"],
        "Soft ulimit values for the container root process. Unlimited if -1, except priority and nice",
        |f| {
            let files = f.processes.as_ref().and_then(|p| p.open_files);
            files.map(|value| (vec!["max_open_files".to_owned()], value)).into_iter().collect()
        },
    ),
];

/// What is told of the interfaces of a pod.
pub(super) const INTERFACE: &[Row<Interface>] = &[
    counter("container_network_receive_bytes_total", "Cumulative count of bytes received", |i| of_interface(i, 0)),
    counter("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", |i| {
        of_interface(i, 2)
    }),
    counter(
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        |i| of_interface(i, 3),
    ),
    counter("container_network_receive_packets_total", "Cumulative count of packets received", |i| of_interface(i, 1)),
    counter("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |i| of_interface(i, 8)),
    counter(
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        |i| of_interface(i, 10),
    ),
    counter(
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        |i| of_interface(i, 11),
    ),
    counter("container_network_transmit_packets_total", "Cumulative count of packets transmitted", |i| {
        of_interface(i, 9)
    }),
];
