//! Keys of how often, how long and how much at once, with upstream's rules (`pkg/kubelet/apis/config/validation`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Reader;
use super::read::duration;
use crate::Pace;
use crate::options::{ImageGc, Options};

impl Reader {
    /// Takes over one of these keys; answers whether it is one.
    pub(super) fn limit(&mut self, options: &mut Options, key: &str, value: &Value) -> bool {
        match key {
            // Read together.
            "serializeImagePulls" | "maxParallelImagePulls" => {}
            "nodeStatusUpdateFrequency" | "nodeStatusReportFrequency" => {}
            "imageMaximumGCAge" => self.duration(key, value, &mut options.image_gc.oldest),
            "evictionMinimumReclaim" => self.thresholds(key, value, &mut options.minimum_reclaim),
            "registryPullQPS" => self.number(key, value, 0, &mut options.pace.pulls.per_second),
            "registryBurst" => self.positive(key, value, &mut options.pace.pulls.burst),
            "eventRecordQPS" => self.number(key, value, 0, &mut options.pace.events.per_second),
            "eventBurst" => self.positive(key, value, &mut options.pace.events.burst),
            "streamingConnectionIdleTimeout" => self.duration(key, value, &mut options.pace.stream_idle),
            "resolvConf" => self.set(key, value, &mut options.dirs.resolv_conf),
            "nodeStatusMaxImages" => match value.as_i64() {
                Some(-1) => options.pace.status_images = usize::MAX,
                Some(most @ 0..) => options.pace.status_images = usize::try_from(most).unwrap_or(usize::MAX),
                _ => self.warn(key, &format!("{value} must be -1 or greater: left out")),
            },
            "staticPodURL" => self.pod_url(key, value, &mut options.static_pod_url.url),
            "staticPodURLHeader" => self.headers(key, value, &mut options.static_pod_url.headers),
            "httpCheckFrequency" => self.duration(key, value, &mut options.static_pod_url.every),
            "providerID" => self.set(key, value, &mut options.provider_id),
            "podsPerCore" => self.number(key, value, 0, &mut options.pace.pods_per_core),
            "nodeLeaseDurationSeconds" => self.positive(key, value, &mut options.pace.lease_seconds),
            "crashLoopBackOff" => self.restarts(key, value, &mut options.pace.longest_restart),
            "containerLogMaxWorkers" => self.number(key, value, 1, &mut options.logs.workers),
            "containerLogMonitorInterval" => match value.as_str().and_then(duration) {
                Some(interval) if interval >= Duration::from_secs(3) => options.logs.monitor = interval,
                _ => self.warn(key, "must be a positive time duration greater than or equal to 3s: left out"),
            },
            _ => return false,
        }
        true
    }

    /// A number that is at least so large.
    fn number(&mut self, key: &str, value: &Value, least: u32, into: &mut u32) {
        match value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number >= least) {
            Some(number) => *into = number,
            None => self.warn(key, &format!("{value} must be a number greater than or equal to {least}: left out")),
        }
    }

    /// A number of which none is the default, as upstream's.
    pub(super) fn positive(&mut self, key: &str, value: &Value, into: &mut u32) {
        if value.as_u64() != Some(0) {
            self.number(key, value, 1, into);
        }
    }

    fn restarts(&mut self, key: &str, value: &Value, into: &mut Duration) {
        for (name, value) in value.as_object().into_iter().flatten() {
            let key = format!("{key}.{name}");
            let bounds = Duration::from_secs(1)..=Duration::from_secs(300);
            match value.as_str().and_then(duration).filter(|period| bounds.contains(period)) {
                _ if name != "maxContainerRestartPeriod" => self.warn(&key, "is not supported by this node: left out"),
                Some(period) => *into = period,
                None => self.warn(&key, &format!("{value} must be set between 1s and 300s: left out")),
            }
        }
    }

    /// Where static pods are asked for.
    fn pod_url(&mut self, key: &str, value: &Value, into: &mut String) {
        let usable = |text: &&str| {
            let parsed = text.parse::<http::Uri>().ok();
            text.is_empty()
                || parsed.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
        };
        match value.as_str().filter(usable) {
            Some(text) => *into = text.to_owned(),
            // Not by its value, which may hold a secret.
            None => self.warn(key, "is no address such as https://HOST/PATH: left out"),
        }
    }

    /// What is sent along. Values are secrets.
    fn headers(&mut self, key: &str, value: &Value, into: &mut BTreeMap<String, Vec<String>>) {
        if !value.is_object() && !value.is_null() {
            self.warn(key, "is no mapping of headers: left out");
        }
        for (name, values) in value.as_object().into_iter().flatten() {
            let fits = |text: &&str| http::HeaderValue::try_from(*text).is_ok();
            let texts =
                values.as_array().and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<&str>>>());
            let texts = texts.filter(|texts| http::HeaderName::try_from(name).is_ok() && texts.iter().all(fits));
            match texts {
                Some(texts) => drop(into.insert(name.clone(), texts.into_iter().map(str::to_owned).collect())),
                None => self.warn(&format!("{key}[{name}]"), "is no header with a list of values: left out"),
            }
        }
    }

    /// How many pulls there are at the same time.
    pub(super) fn pulls(&mut self, pace: &mut Pace, document: &Map<String, Value>) {
        let mut serial = false;
        if let Some(value) = document.get("serializeImagePulls") {
            self.set("serializeImagePulls", value, &mut serial);
        }
        if serial {
            pace.parallel_pulls = 1;
        }
        let Some(value) = document.get("maxParallelImagePulls") else { return };
        match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
            Some(number) if number > 1 && serial => {
                self.warn(
                    "maxParallelImagePulls",
                    "cannot be larger than 1 unless serializeImagePulls is false: left out",
                );
            }
            Some(number) if number > 0 => pace.parallel_pulls = number,
            _ => self.warn("maxParallelImagePulls", &format!("{value} must be a positive number: left out")),
        }
    }

    /// How often the node's status is compared and written. Who compares otherwise writes as often, unless told.
    pub(super) fn frequencies(&mut self, pace: &mut Pace, document: &Map<String, Value>) {
        let mut told = |key: &str| {
            let mut read = Duration::ZERO;
            if let Some(value) = document.get(key) {
                self.duration(key, value, &mut read);
            }
            Some(read).filter(|read| !read.is_zero())
        };
        let (update, report) = (told("nodeStatusUpdateFrequency"), told("nodeStatusReportFrequency"));
        pace.status_update = update.unwrap_or(pace.status_update);
        pace.status_report = report.or(update).unwrap_or(pace.status_report);
    }

    /// Images that nobody uses must be allowed to become as old as the youngest that go.
    pub(super) fn oldest_image(&mut self, gc: &mut ImageGc) {
        if !gc.oldest.is_zero() && gc.oldest <= gc.youngest {
            let problem = format!("{:?} must be greater than imageMinimumGCAge {:?}: left out", gc.oldest, gc.youngest);
            self.warn("imageMaximumGCAge", &problem);
            gc.oldest = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::configure;
    use super::*;
    use crate::options::PodUrl;
    use crate::{Amount, Cluster, Rate, Thresholds};
    use serde_json::json;

    fn read(document: Value) -> (Options, Vec<String>) {
        let mut options = Options::new("n", Cluster::default());
        let warnings = configure(&mut options, &document);
        (options, warnings)
    }

    #[test]
    fn bounds_are_taken_over() {
        let (options, warnings) = read(json!({
            "serializeImagePulls": false, "maxParallelImagePulls": 9, "podsPerCore": 10, "nodeLeaseDurationSeconds": 20,
            "nodeStatusUpdateFrequency": "20s", "crashLoopBackOff": {"maxContainerRestartPeriod": "20s"},
            "imageMaximumGCAge": "24h", "evictionMinimumReclaim": {"nodefs.available": "500Mi", "imagefs.available": "2%"}, "containerLogMaxWorkers": 3, "containerLogMonitorInterval": "5s",
            "registryPullQPS": 2, "registryBurst": 3, "eventRecordQPS": 0, "eventBurst": 7, "streamingConnectionIdleTimeout": "5m", "resolvConf": "/run/resolv.conf",
            "nodeStatusMaxImages": 7, "providerID": "lab://one",
        }));
        assert!(warnings.is_empty(), "{warnings:?}");
        let want = Pace {
            status_update: Duration::from_secs(20),
            status_report: Duration::from_secs(20),
            lease_seconds: 20,
            longest_restart: Duration::from_secs(20),
            parallel_pulls: 9,
            pods_per_core: 10,
            pulls: Rate { per_second: 2, burst: 3 },
            events: Rate { per_second: 0, burst: 7 },
            stream_idle: Duration::from_secs(300),
            status_images: 7,
        };
        assert_eq!(options.provider_id, "lab://one");
        assert_eq!(read(json!({"nodeStatusMaxImages": -1})).0.pace.status_images, usize::MAX);
        assert_eq!(options.dirs.resolv_conf.to_str(), Some("/run/resolv.conf"));
        assert_eq!(options.pace, want);
        let reclaim =
            Thresholds { disk: Amount::Units(500 << 20), image_disk: Amount::Share(200), ..Thresholds::none() };
        assert_eq!(options.minimum_reclaim, reclaim);
        assert_eq!(
            (options.image_gc.oldest.as_secs(), options.logs.workers, options.logs.monitor.as_secs()),
            (86_400, 3, 5)
        );
        assert_eq!(read(json!({"serializeImagePulls": true})).0.pace.parallel_pulls, 1);
        let both = read(json!({"nodeStatusUpdateFrequency": "20s", "nodeStatusReportFrequency": "1m"})).0.pace;
        assert_eq!((both.status_update.as_secs(), both.status_report.as_secs()), (20, 60));
        assert_eq!(read(json!({"nodeStatusUpdateFrequency": "0s"})).0.pace, Pace::default());
    }

    #[test]
    fn none_is_the_default_as_upstream_s() {
        let (options, warnings) = read(json!({
            "maxPods": 0, "evictionPressureTransitionPeriod": "0s", "imageMinimumGCAge": "0s", "imageMaximumGCAge": "0s",
            "streamingConnectionIdleTimeout": "0s", "nodeStatusReportFrequency": "0s", "nodeLeaseDurationSeconds": 0,
            "registryBurst": 0, "eventBurst": 0, "containerLogMaxSize": "", "registryPullQPS": null, "eventRecordQPS": null,
            "serializeImagePulls": null, "maxParallelImagePulls": null, "podPidsLimit": null, "shutdownGracePeriod": null,
        }));
        assert!(warnings.is_empty(), "{warnings:?}");
        let told =
            |of: &Options| (of.max_pods, of.pressure_transition.as_secs(), of.image_gc.youngest.as_secs(), of.pace);
        assert_eq!(told(&options), (110, 300, 120, Pace::default()));
        let machine = Options::new("n", Cluster::default());
        assert_eq!((options.logs.size, options.shutdown), (machine.logs.size, machine.shutdown));
    }

    #[test]
    fn static_pods_may_come_from_an_address_with_headers_that_nobody_sees() {
        let (options, warnings) = read(json!({
            "staticPodURL": "https://h:8443/pods", "staticPodURLHeader": {"X-Token": ["hidden", "b"]}, "httpCheckFrequency": "5s",
        }));
        assert!(warnings.is_empty(), "{warnings:?}");
        let from = options.static_pod_url;
        assert_eq!(
            (from.url.as_str(), from.every.as_secs(), from.headers["X-Token"].len()),
            ("https://h:8443/pods", 5, 2)
        );
        assert!(!format!("{from:?}").contains("hidden"));
        assert_eq!(read(json!({"staticPodURL": "", "httpCheckFrequency": "0s"})).0.static_pod_url, PodUrl::default());
        for (document, key) in [
            (json!({"staticPodURL": "ftp://h/hidden"}), "staticPodURL: "),
            (json!({"staticPodURL": 7}), "staticPodURL: "),
            (json!({"staticPodURLHeader": {"a b": ["hidden"]}}), "staticPodURLHeader[a b]: "),
            (json!({"staticPodURLHeader": {"a": "hidden"}}), "staticPodURLHeader[a]: "),
            (json!({"staticPodURLHeader": {"a": ["hidden", 1]}}), "staticPodURLHeader[a]: "),
            (json!({"staticPodURLHeader": "hidden"}), "staticPodURLHeader: "),
            (json!({"staticPodURLHeader": {"a": ["hid\nden"]}}), "staticPodURLHeader[a]: "),
        ] {
            let (options, warnings) = read(document.clone());
            assert!(warnings.len() == 1 && warnings[0].starts_with(key), "{document}: {warnings:?}");
            assert!(!warnings[0].contains("hidden"));
            assert_eq!(options.static_pod_url, PodUrl::default());
        }
    }

    #[test]
    fn what_upstream_refuses_is_named_and_left_out() {
        for (document, key) in [
            (json!({"serializeImagePulls": true, "maxParallelImagePulls": 2}), "maxParallelImagePulls"),
            (json!({"maxParallelImagePulls": 0}), "maxParallelImagePulls"),
            (json!({"evictionMinimumReclaim": {"nodefs.pears": "1"}}), "evictionMinimumReclaim[nodefs.pears]"),
            (json!({"podsPerCore": -1}), "podsPerCore"),
            (json!({"registryPullQPS": -1}), "registryPullQPS"),
            (json!({"nodeStatusMaxImages": -2}), "nodeStatusMaxImages"),
            (json!({"eventBurst": "many"}), "eventBurst"),
            (json!({"streamingConnectionIdleTimeout": 5}), "streamingConnectionIdleTimeout"),
            (json!({"nodeLeaseDurationSeconds": -1}), "nodeLeaseDurationSeconds"),
            (
                json!({"crashLoopBackOff": {"maxContainerRestartPeriod": "301s"}}),
                "crashLoopBackOff.maxContainerRestartPeriod",
            ),
            (json!({"crashLoopBackOff": {"pears": "1s"}}), "crashLoopBackOff.pears"),
            (json!({"imageMaximumGCAge": "1m"}), "imageMaximumGCAge"),
            (json!({"containerLogMaxWorkers": 0}), "containerLogMaxWorkers"),
            (json!({"containerLogMonitorInterval": "2s"}), "containerLogMonitorInterval"),
        ] {
            let (options, warnings) = read(document.clone());
            assert!(warnings.len() == 1 && warnings[0].starts_with(&format!("{key}: ")), "{document}: {warnings:?}");
            assert_eq!(options.image_gc.oldest, Duration::ZERO);
            let serial = Pace { parallel_pulls: options.pace.parallel_pulls, ..Pace::default() };
            assert_eq!(options.pace, serial, "{document}");
        }
    }
}
