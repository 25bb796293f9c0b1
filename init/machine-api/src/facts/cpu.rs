//! Processors: model, count, load, time spent.

use super::text;
use rk_machine_proto::v1::CpuReply;

/// The kernel counts time to user space in hundredths of a second on this architecture.
const TICKS: f64 = 100.0;

/// Reads `/proc`.
pub fn read() -> CpuReply {
    parse(
        &text("/proc/stat", 1 << 20),
        &text("/proc/loadavg", 4096),
        &text("/proc/cpuinfo", 1 << 20),
        &text("/proc/uptime", 4096),
    )
}

fn parse(stat: &str, load: &str, info: &str, uptime: &str) -> CpuReply {
    let loads: Vec<f64> = load.split_whitespace().take(3).filter_map(|word| word.parse().ok()).collect();
    let cpu = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks: Vec<f64> = cpu.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let seconds = |at: usize| ticks.get(at).copied().unwrap_or(0.0) / TICKS;
    let cores = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':'));
    CpuReply {
        model: model.map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        load_1: loads.first().copied().unwrap_or(0.0),
        load_5: loads.get(1).copied().unwrap_or(0.0),
        load_15: loads.get(2).copied().unwrap_or(0.0),
        user_seconds: seconds(0) + seconds(1),
        system_seconds: seconds(2) + seconds(5) + seconds(6),
        idle_seconds: seconds(3),
        wait_seconds: seconds(4),
        uptime_seconds: uptime.split('.').next().and_then(|word| word.parse().ok()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_in_seconds_and_torn_files_as_nothing() {
        let reply = parse(
            "cpu  100 50 200 1000 25 25 25 0 0 0\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\n",
            "0.50 0.25 0.10 1/99 1234\n",
            "processor\t: 0\nmodel name\t: Test CPU\n",
            "1234.56 99.0\n",
        );
        assert_eq!((reply.cores, reply.user_seconds, reply.system_seconds), (2, 1.5, 2.5));
        assert_eq!((reply.model.as_str(), reply.load_5, reply.uptime_seconds), ("Test CPU", 0.25, 1234));
        assert_eq!(parse("", "", "", ""), CpuReply::default());
    }
}
