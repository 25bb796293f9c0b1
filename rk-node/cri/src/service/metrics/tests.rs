use super::facts::{Disk, Processes};
use super::*;

/// Names that critest of v1.37 looks for, those of v1.36 among them, and the two of files in memory that cAdvisor has besides.
const EXPECTED: &str = "
    container_blkio_device_usage_total container_cpu_cfs_periods_total container_cpu_cfs_throttled_periods_total
    container_cpu_cfs_throttled_seconds_total container_cpu_system_seconds_total container_cpu_usage_seconds_total
    container_cpu_user_seconds_total container_file_descriptors container_fs_inodes_free container_fs_inodes_total
    container_fs_limit_bytes container_fs_reads_bytes_total container_fs_reads_total container_fs_usage_bytes
    container_fs_writes_bytes_total container_fs_writes_total container_hugetlb_max_usage_bytes
    container_hugetlb_usage_bytes container_last_seen container_memory_cache container_memory_failcnt
    container_memory_failures_total container_memory_kernel_usage container_memory_mapped_file
    container_memory_max_usage_bytes container_memory_rss container_memory_swap
    container_memory_total_active_file_bytes container_memory_total_inactive_file_bytes container_memory_usage_bytes
    container_memory_working_set_bytes container_network_receive_bytes_total container_network_receive_errors_total
    container_network_receive_packets_dropped_total container_network_receive_packets_total
    container_network_transmit_bytes_total container_network_transmit_errors_total
    container_network_transmit_packets_dropped_total container_network_transmit_packets_total
    container_oom_events_total container_pressure_cpu_stalled_seconds_total
    container_pressure_cpu_waiting_seconds_total container_pressure_io_stalled_seconds_total
    container_pressure_io_waiting_seconds_total container_pressure_memory_stalled_seconds_total
    container_pressure_memory_waiting_seconds_total container_processes container_sockets container_spec_cpu_period
    container_spec_cpu_quota container_spec_cpu_shares container_spec_memory_limit_bytes
    container_spec_memory_reservation_limit_bytes container_spec_memory_swap_limit_bytes
    container_start_time_seconds container_threads container_threads_max container_ulimits_soft
";

fn pod() -> PodSandboxMetadata {
    PodSandboxMetadata { name: "web".into(), namespace: "ns".into(), ..Default::default() }
}

/// A container as a whole kernel tells of it.
fn facts() -> Facts {
    let psi =
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=3000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\n";
    let cpu = "usage_usec 2500000\nuser_usec 1500000\nsystem_usec 1000000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 7000000\n";
    let files = [
        ("cpu.max", "20000 100000\n"),
        ("cpu.pressure", psi),
        ("cpu.stat", cpu),
        ("hugetlb.2MB.current", "0\n"),
        ("io.pressure", psi),
        ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n"),
        ("memory.current", "4096\n"),
        ("memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n"),
        ("memory.low", "0\n"),
        ("memory.max", "67108864\n"),
        ("memory.peak", "8192\n"),
        ("memory.pressure", psi),
        (
            "memory.stat",
            "anon 1024\nfile 2048\nkernel 512\nfile_mapped 256\ninactive_file 96\nactive_file 160\npgfault 7\npgmajfault 3\n",
        ),
        ("memory.swap.current", "0\n"),
        ("memory.swap.max", "max\n"),
        ("pids.current", "5\n"),
        ("pids.max", "max\n"),
    ];
    Facts {
        files: files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        devices: [("8:0".to_owned(), "/dev/sda".to_owned())].into(),
        processes: Some(Processes { count: 2, descriptors: 6, sockets: 1, open_files: Some(1024) }),
        disk: Some(Disk {
            device: "/dev/sda1".into(),
            number: Some("8:0".into()),
            bytes: 1 << 30,
            inodes: 1000,
            inodes_free: 900,
        }),
        written: Some(77),
        cpu_shares: 1024,
        started_at: 5_000_000_000,
        seen_at: 6_500_000_000,
    }
}

fn everything() -> Vec<Metric> {
    let eth0 = Interface { name: "eth0".into(), counters: vec![100, 2, 3, 4, 0, 0, 0, 0, 200, 9, 5, 6, 0, 0, 0, 0] };
    let mut all = told(CONTAINER, &facts(), &base("main", Path::new("/kubepods/podx/c1"), "busybox", "c1", &pod()));
    all.extend(told(INTERFACE, &eth0, &base("", Path::new("/kubepods/podx"), "", "p1", &pod())));
    all
}

#[test]
fn every_expected_metric_is_described_and_told_once_of_a_whole_kernel() {
    let described = descriptors();
    let names: Vec<&str> = described.iter().map(|d| d.name.as_str()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, EXPECTED.split_whitespace().collect::<Vec<_>>());
    let all = everything();
    for descriptor in &described {
        assert!(!descriptor.help.is_empty() && all.iter().any(|m| m.name == descriptor.name), "{}", descriptor.name);
    }
}

#[test]
fn a_metric_has_as_many_label_values_as_its_descriptor_has_keys() {
    let described = descriptors();
    for metric in everything() {
        let descriptor = described.iter().find(|d| d.name == metric.name).expect("described");
        assert_eq!(descriptor.label_keys.len(), metric.label_values.len(), "{}", metric.name);
    }
}

#[test]
fn values_are_those_of_the_kernel() {
    let all = everything();
    let of = |name: &str| -> Vec<(String, u64)> {
        let found = all.iter().filter(|m| m.name == name);
        found.map(|m| (m.label_values[BASE.len()..].join("|"), m.value.as_ref().unwrap().value)).collect()
    };
    for (name, want) in [
        ("container_blkio_device_usage_total", vec![("/dev/sda|8|0|Read", 10), ("/dev/sda|8|0|Write", 20)]),
        ("container_cpu_cfs_throttled_seconds_total", vec![("", 7)]),
        ("container_cpu_usage_seconds_total", vec![("total", 2)]),
        ("container_fs_inodes_free", vec![("/dev/sda1", 900)]),
        ("container_fs_inodes_total", vec![("/dev/sda1", 1000)]),
        ("container_fs_limit_bytes", vec![("/dev/sda1", 1 << 30)]),
        ("container_fs_usage_bytes", vec![("/dev/sda1", 77)]),
        ("container_fs_writes_total", vec![("/dev/sda", 2)]),
        ("container_hugetlb_usage_bytes", vec![("2MB", 0)]),
        ("container_last_seen", vec![("", 6)]),
        ("container_memory_failcnt", vec![("", 0)]),
        (
            "container_memory_failures_total",
            vec![
                ("pgfault|container", 7),
                ("pgfault|hierarchy", 7),
                ("pgmajfault|container", 3),
                ("pgmajfault|hierarchy", 3),
            ],
        ),
        ("container_memory_total_active_file_bytes", vec![("", 160)]),
        ("container_memory_total_inactive_file_bytes", vec![("", 96)]),
        ("container_memory_working_set_bytes", vec![("", 4000)]),
        ("container_network_receive_packets_dropped_total", vec![("eth0", 4)]),
        ("container_network_transmit_errors_total", vec![("eth0", 5)]),
        ("container_network_transmit_packets_total", vec![("eth0", 9)]),
        ("container_oom_events_total", vec![("", 1)]),
        ("container_pressure_io_stalled_seconds_total", vec![("", 2)]),
        ("container_spec_cpu_period", vec![("", 100_000)]),
        ("container_spec_cpu_quota", vec![("", 20_000)]),
        ("container_spec_memory_swap_limit_bytes", vec![("", 0)]),
        ("container_start_time_seconds", vec![("", 5)]),
        ("container_threads_max", vec![("", 0)]),
        ("container_ulimits_soft", vec![("max_open_files", 1024)]),
    ] {
        let want: Vec<(String, u64)> = want.into_iter().map(|(labels, value)| (labels.to_owned(), value)).collect();
        assert_eq!(of(name), want, "{name}");
    }
}

#[test]
fn metrics_say_whose_they_are() {
    let all = everything();
    let of = |name: &str| all.iter().find(|m| m.name == name).map(|m| m.label_values.join("|"));
    assert_eq!(of("container_threads"), Some("main|/kubepods/podx/c1|busybox|c1|ns|web".to_owned()));
    assert_eq!(of("container_network_receive_bytes_total"), Some("|/kubepods/podx||p1|ns|web|eth0".to_owned()));
}

#[test]
fn devices_without_a_name_are_told_apart_by_their_numbers() {
    let gone = "8:0 rbytes=1 wbytes=1 rios=1 wios=1\n7:0 rbytes=2 wbytes=2 rios=2 wios=2\n7:1 rbytes=3 wbytes=3 rios=3 wios=3\n";
    let mut known = facts();
    known.files.insert("io.stat".to_owned(), gone.to_owned());
    let all = told(CONTAINER, &known, &[]);
    let reads = all.iter().filter(|m| m.name == "container_fs_reads_total");
    assert_eq!(reads.map(|m| m.label_values.join("|")).collect::<Vec<_>>(), ["/dev/sda", "7:0", "7:1"]);
    let series: std::collections::BTreeSet<_> = all.iter().map(|m| (&m.name, &m.label_values)).collect();
    assert_eq!(series.len(), all.len(), "no series is told twice");
}

#[test]
fn what_is_not_known_is_not_told() {
    assert!(told(CONTAINER, &Facts::default(), &[]).is_empty());
    let short = Interface { name: "eth0".into(), counters: vec![1] };
    assert_eq!(told(INTERFACE, &short, &[]).len(), 1);
}
