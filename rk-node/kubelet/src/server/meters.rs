//! The kubelet's own counters as text.

use super::metrics::Text;
use crate::meters::{Counter, Gauge, LinkMeters, Meters, Timing};

fn labels<'a>(keys: &'static [&'static str], values: &'a [String]) -> Vec<(&'static str, &'a str)> {
    keys.iter().copied().zip(values.iter().map(String::as_str)).collect()
}

fn counter(text: &mut Text, of: &Counter) {
    text.head(of.name, of.help, "counter");
    for (values, count) in of.read() {
        text.sample(of.name, &labels(of.keys, &values), count as f64);
    }
}

fn timing(text: &mut Text, of: &Timing) {
    text.head(of.name, of.help, "histogram");
    let [bucket, sum, count] = ["bucket", "sum", "count"].map(|part| format!("{}_{part}", of.name));
    for (values, spread) in of.read() {
        let own = labels(of.keys, &values);
        let bounds = of.bounds.iter().map(ToString::to_string).zip(spread.within.iter().copied());
        for (bound, within) in bounds.chain([("+Inf".to_owned(), spread.count)]) {
            let mut all = own.clone();
            all.push(("le", bound.as_str()));
            text.sample(&bucket, &all, within as f64);
        }
        text.sample(&sum, &own, spread.sum);
        text.sample(&count, &own, spread.count as f64);
    }
}

fn gauge(text: &mut Text, of: &Gauge) {
    if let Some(value) = of.read() {
        text.head(of.name, of.help, "gauge");
        text.sample(of.name, &[], value);
    }
}

/// Those of `/metrics`.
pub(super) fn write(text: &mut Text, meters: &Meters) {
    gauge(text, &meters.last_relist);
    meters.counters().for_each(|of| counter(text, of));
    meters.timings().for_each(|of| timing(text, of));
}

/// Those of the ties to the API server.
pub(super) fn link(text: &mut Text, meters: &LinkMeters) {
    meters.counters().into_iter().for_each(|of| counter(text, of));
    meters.timings().into_iter().for_each(|of| timing(text, of));
}

/// Those of `/metrics/probes`.
pub(super) fn probes(text: &mut Text, meters: &Meters) {
    counter(text, &meters.probes);
    timing(text, &meters.probe_durations);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_timing_is_told_by_its_bounds_its_sum_and_its_count() {
        let of = Timing::new("t", "Told.", &["k"], &[0.5, 1.0]);
        of.observe(&["v"], Duration::from_secs(1));
        let mut text = Text::default();
        timing(&mut text, &of);
        let want = [
            "# HELP t Told.",
            "# TYPE t histogram",
            "t_bucket{k=\"v\",le=\"0.5\"} 0",
            "t_bucket{k=\"v\",le=\"1\"} 1",
            "t_bucket{k=\"v\",le=\"+Inf\"} 1",
            "t_sum{k=\"v\"} 1",
            "t_count{k=\"v\"} 1",
        ];
        assert_eq!(text.as_str().lines().collect::<Vec<_>>(), want);
    }

    #[test]
    fn a_gauge_is_told_once_it_is_known() {
        let meters = Meters::default();
        let told = || {
            let mut text = Text::default();
            write(&mut text, &meters);
            text.as_str().lines().find(|line| line.starts_with("kubelet_pleg_last_seen_seconds")).map(str::to_owned)
        };
        assert_eq!(told(), None);
        meters.last_relist.set(1_700_000_000.0);
        assert_eq!(told().as_deref(), Some("kubelet_pleg_last_seen_seconds 1700000000"));
    }

    #[test]
    fn every_counter_without_labels_is_told_from_the_start() {
        let mut text = Text::default();
        write(&mut text, &Meters::default());
        link(&mut text, &LinkMeters::default());
        for line in [
            "kubelet_started_pods_total 0",
            "kubelet_certificate_manager_client_expiration_renew_errors 0",
            "kubelet_server_expiration_renew_errors 0",
            "kubelet_pod_start_duration_seconds_count 0",
            "kubelet_pod_start_sli_duration_seconds_count 0",
            "kubelet_pod_start_total_duration_seconds_count 0",
            "kubelet_cpu_manager_pinning_requests_total 0",
            "kubelet_memory_manager_pinning_errors_total 0",
            "kubelet_topology_manager_admission_requests_total 0",
            "kubelet_topology_manager_admission_duration_ms_bucket{le=\"819.2\"} 0",
        ] {
            assert!(text.as_str().lines().any(|told| told == line), "{line}");
        }
    }
}
