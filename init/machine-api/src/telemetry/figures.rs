//! Figures of the machine in Prometheus' text format 0.0.4, under the names that the node exporter made common.

use crate::facts::{self, line, text, value};
use rk_config::STATE_DIR;
use rk_machine_proto::v1::PullsReply;
use rk_supervise::control::Status;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The kernel counts time to user space in hundredths of a second on this architecture.
const TICKS: f64 = 100.0;
/// `/proc/diskstats` counts in these, whatever a disk's own are.
const SECTOR: f64 = 512.0;
/// Larger than any of these files is.
const MOST: u64 = 1 << 20;
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

/// The texts that figures are made of.
#[derive(Debug, Default)]
pub struct Sources {
    stat: String,
    meminfo: String,
    loadavg: String,
    diskstats: String,
    netdev: String,
    boots: String,
    hostname: String,
    kernel: String,
}

impl Sources {
    /// As they are now.
    pub fn read() -> Sources {
        Sources {
            stat: text("/proc/stat", MOST),
            meminfo: text("/proc/meminfo", MOST),
            loadavg: line("/proc/loadavg"),
            diskstats: text("/proc/diskstats", MOST),
            netdev: text("/proc/net/dev", MOST),
            boots: line(format!("{STATE_DIR}/boots")),
            hostname: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
        }
    }
}

/// A text that grows family by family.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (n, (key, value)) in labels.iter().enumerate() {
            let open = if n == 0 { '{' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{open}{key}=\"{value}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.family(name, kind, help);
            self.sample(name, &[], value);
        }
    }
}

/// The page.
pub fn page(sources: &Sources, status: &Status) -> String {
    let mut page = Page::default();
    page.family("rk_info", "gauge", "Version of rk and of its kernel.");
    let labels =
        [("version", env!("CARGO_PKG_VERSION")), ("kernel", &sources.kernel), ("hostname", sources.hostname.as_str())];
    page.sample("rk_info", &labels, 1.0);
    page.single(
        "rk_boots_total",
        "counter",
        "Starts of this machine since its state was made.",
        number(&sources.boots),
    );
    services(&mut page, status);
    processor(&mut page, sources);
    memory(&mut page, &sources.meminfo);
    disks(&mut page, &sources.diskstats);
    network(&mut page, &sources.netdev);
    page.0
}

/// With what `statvfs` says of the file systems that matter.
pub fn file_systems() -> String {
    let mut page = Page::default();
    let seen: Vec<_> = facts::mounts::read()
        .into_iter()
        .filter(|mount| mount.size_bytes > 0 && ["/var", "/run/rk/state", "/"].contains(&mount.target.as_str()))
        .collect();
    for (name, size) in [("node_filesystem_size_bytes", true), ("node_filesystem_avail_bytes", false)] {
        page.family(name, "gauge", "File systems of the machine itself.");
        for mount in &seen {
            let labels = [("device", mount.source.as_str()), ("fstype", &mount.r#type), ("mountpoint", &mount.target)];
            page.sample(name, &labels, if size { mount.size_bytes } else { mount.available_bytes } as f64);
        }
    }
    page.0
}

/// What the node agent tells of pulls of images.
pub fn pulls(now: &PullsReply) -> String {
    let mut page = Page::default();
    let images: BTreeSet<&str> = now.layers.iter().map(|layer| layer.image.as_str()).collect();
    let help = "Images that are pulled at present.";
    page.single("rk_in_progress_image_pulls", "gauge", help, Some(images.len() as f64));
    let totals = now.totals.unwrap_or_default();
    page.family("rk_image_pulls_total", "counter", "Pulls of images since the node agent started.");
    for (status, count) in [("success", totals.succeeded), ("failure", totals.failed)] {
        page.sample("rk_image_pulls_total", &[("status", status)], count as f64);
    }
    let help = "Bytes of layers that came from registries and archives.";
    page.single("rk_image_pulls_bytes_total", "counter", help, Some(totals.bytes as f64));
    let help = "Bytes of layers that a pull before had left, and that need not come again.";
    page.single("rk_image_pulls_skipped_bytes_total", "counter", help, Some(totals.resumed_bytes as f64));
    page.0
}

fn services(page: &mut Page, status: &Status) {
    page.family("rk_service_up", "gauge", "Whether a service of the machine runs.");
    for service in &status.services {
        page.sample("rk_service_up", &[("service", &service.name)], f64::from(u8::from(service.state == "running")));
    }
    page.family("rk_service_starts_total", "counter", "Starts of a service since the machine's start.");
    for service in &status.services {
        page.sample("rk_service_starts_total", &[("service", &service.name)], f64::from(service.starts));
    }
}

fn processor(page: &mut Page, sources: &Sources) {
    page.family("node_cpu_seconds_total", "counter", "Seconds that a processor spent in a mode.");
    for row in sources.stat.lines() {
        let mut words = row.split_whitespace();
        let Some(cpu) = words.next().and_then(|word| word.strip_prefix("cpu")).filter(|cpu| !cpu.is_empty()) else {
            continue;
        };
        for (mode, ticks) in MODES.iter().zip(words) {
            let seconds = number(ticks).unwrap_or(0.0) / TICKS;
            page.sample("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], seconds);
        }
    }
    let count = |key: &str| value(&sources.stat, key).map(|count| count as f64);
    page.single("node_boot_time_seconds", "gauge", "When the machine started.", count("btime "));
    page.single("node_context_switches_total", "counter", "Context switches.", count("ctxt "));
    page.single("node_forks_total", "counter", "Processes made.", count("processes "));
    for (name, word) in ["node_load1", "node_load5", "node_load15"].iter().zip(sources.loadavg.split_whitespace()) {
        page.single(name, "gauge", "Load average.", number(word));
    }
}

/// `MemTotal:  2048 kB` becomes `node_memory_MemTotal_bytes`.
fn memory(page: &mut Page, meminfo: &str) {
    for row in meminfo.lines() {
        let Some((name, rest)) = row.split_once(':') else { continue };
        let name: String = name.chars().filter(|c| *c != ')').map(|c| if c == '(' { '_' } else { c }).collect();
        let mut words = rest.split_whitespace();
        let (value, unit) = (words.next().and_then(number), words.next());
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if let (Some(value), true) = (value, plain) {
            let (name, value) = match unit {
                Some("kB") => (format!("node_memory_{name}_bytes"), value * 1024.0),
                _ => (format!("node_memory_{name}"), value),
            };
            page.single(&name, "gauge", "As /proc/meminfo tells it.", Some(value));
        }
    }
}

/// A family is a column of a table with a row per device.
type Column = (&'static str, usize, f64);

fn disks(page: &mut Page, diskstats: &str) {
    const COLUMNS: [Column; 5] = [
        ("node_disk_reads_completed_total", 3, 1.0),
        ("node_disk_read_bytes_total", 5, SECTOR),
        ("node_disk_writes_completed_total", 7, 1.0),
        ("node_disk_written_bytes_total", 9, SECTOR),
        ("node_disk_io_time_seconds_total", 12, 0.001),
    ];
    let rows: Vec<Vec<&str>> = diskstats.lines().map(|row| row.split_whitespace().collect()).collect();
    for (name, column, factor) in COLUMNS {
        page.family(name, "counter", "As /proc/diskstats tells it.");
        for row in &rows {
            let device = row.get(2).filter(|device| !device.starts_with("loop") && !device.starts_with("ram"));
            if let (Some(device), Some(value)) = (device, row.get(column).and_then(|word| number(word))) {
                page.sample(name, &[("device", device)], value * factor);
            }
        }
    }
}

fn network(page: &mut Page, netdev: &str) {
    const COLUMNS: [Column; 8] = [
        ("node_network_receive_bytes_total", 0, 1.0),
        ("node_network_receive_packets_total", 1, 1.0),
        ("node_network_receive_errs_total", 2, 1.0),
        ("node_network_receive_drop_total", 3, 1.0),
        ("node_network_transmit_bytes_total", 8, 1.0),
        ("node_network_transmit_packets_total", 9, 1.0),
        ("node_network_transmit_errs_total", 10, 1.0),
        ("node_network_transmit_drop_total", 11, 1.0),
    ];
    let rows: Vec<(&str, Vec<&str>)> = netdev
        .lines()
        .filter_map(|row| row.split_once(':'))
        .map(|(name, rest)| (name.trim(), rest.split_whitespace().collect()))
        .collect();
    for (name, column, factor) in COLUMNS {
        page.family(name, "counter", "As /proc/net/dev tells it.");
        for (device, row) in &rows {
            if let Some(value) = row.get(column).and_then(|word| number(word)) {
                page.sample(name, &[("device", device)], value * factor);
            }
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rk_supervise::control::ServiceStatus;

    fn sources() -> Sources {
        Sources {
            stat: "cpu  300 0 0 0\ncpu0 100 0 50 850 5 0 0 0 0 0\nctxt 77\nbtime 1700000000\nprocesses 9\n".to_owned(),
            meminfo: "MemTotal:  2048 kB\nActive(anon):  1 kB\nHugePages_Total:  3\n".to_owned(),
            loadavg: "0.50 0.25 0.10 1/99 1234".to_owned(),
            diskstats: " 253 0 vda 10 0 16 5 20 0 8 5 0 250 10\n 7 0 loop0 1 0 1 1 1 1 1 1 1 1 1\n".to_owned(),
            netdev: "Inter-| Receive\n face |bytes\n  eth0: 5 1 0 2 0 0 0 0 7 3 0 0 0 0 0 0\n".to_owned(),
            boots: "4".to_owned(),
            hostname: "w\"1".to_owned(),
            kernel: "6.12".to_owned(),
        }
    }

    #[test]
    fn figures_have_the_names_and_units_that_dashboards_know() {
        let service = |name: &str, state: &str, starts| ServiceStatus {
            name: name.to_owned(),
            state: state.to_owned(),
            starts,
            ..ServiceStatus::default()
        };
        let status = Status {
            services: vec![service("node", "running", 2), service("netd", "waiting", 1)],
            ..Status::default()
        };
        let page = page(&sources(), &status);
        for wanted in [
            "node_cpu_seconds_total{cpu=\"0\",mode=\"system\"} 0.5\n",
            "node_memory_MemTotal_bytes 2097152\n",
            "node_memory_Active_anon_bytes 1024\n",
            "node_memory_HugePages_Total 3\n",
            "node_load5 0.25\n",
            "node_boot_time_seconds 1700000000\n",
            "node_disk_written_bytes_total{device=\"vda\"} 4096\n",
            "node_disk_io_time_seconds_total{device=\"vda\"} 0.25\n",
            "node_network_transmit_bytes_total{device=\"eth0\"} 7\n",
            "node_network_receive_drop_total{device=\"eth0\"} 2\n",
            "rk_boots_total 4\n",
            "rk_service_starts_total{service=\"node\"} 2\n",
            "rk_service_up{service=\"netd\"} 0\n",
            "hostname=\"w\\\"1\"} 1\n",
        ] {
            assert!(page.contains(wanted), "{wanted} is not in\n{page}");
        }
        assert!(!page.contains("loop0"));
    }

    #[test]
    fn pulls_are_counted_by_images_and_by_outcome() {
        use rk_machine_proto::v1::{LayerPull, PullTotals};
        let row = |image: &str| LayerPull { image: image.to_owned(), ..LayerPull::default() };
        let totals = Some(PullTotals { succeeded: 2, failed: 1, bytes: 30, resumed_bytes: 4 });
        let page = pulls(&PullsReply { layers: vec![row("a"), row("a"), row("b")], totals });
        for wanted in [
            "rk_in_progress_image_pulls 2\n",
            "rk_image_pulls_total{status=\"success\"} 2\n",
            "rk_image_pulls_total{status=\"failure\"} 1\n",
            "rk_image_pulls_bytes_total 30\n",
            "rk_image_pulls_skipped_bytes_total 4\n",
        ] {
            assert!(page.contains(wanted), "{wanted} is not in\n{page}");
        }
    }

    #[test]
    fn every_sample_belongs_to_a_family_that_comes_once_and_noise_makes_none() {
        let page = page(&sources(), &Status::default());
        let families: Vec<&str> =
            page.lines().filter_map(|row| row.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let mut unique = families.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), families.len());
        for row in page.lines().filter(|row| !row.starts_with('#')) {
            let name = row.split(['{', ' ']).next().unwrap();
            assert!(families.contains(&name), "{row}");
            assert!(row.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{row}");
        }
        let noise = "\u{0}: x\n::\n 1 2\ncpu\n".to_owned();
        let torn = Sources {
            stat: noise.clone(),
            meminfo: noise.clone(),
            netdev: noise.clone(),
            diskstats: noise,
            ..Sources::default()
        };
        super::page(&torn, &Status::default());
    }
}
