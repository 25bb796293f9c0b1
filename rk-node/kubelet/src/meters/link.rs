//! The kubelet's ties to the API server: requests, and certificates that are not renewed.

use std::time::Duration;

use super::{Counter, Timing};

/// Bounds for answers of the API server, seconds; upstream's.
const ANSWERS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// What a request came to that had no answer.
const NO_ANSWER: &str = "<error>";

/// Counters of one link.
pub struct LinkMeters {
    requests: Counter,
    answers: Timing,
    /// Failures to renew the client certificate.
    pub client_failures: Counter,
    /// Failures to renew the serving certificate.
    pub server_failures: Counter,
}

impl Default for LinkMeters {
    fn default() -> Self {
        let failures = |name| Counter::new(name, "Counter of certificate renewal errors.", &[]);
        Self {
            requests: Counter::new(
                "rest_client_requests_total",
                "Number of HTTP requests, partitioned by status code, method, and host.",
                &["code", "host", "method"],
            ),
            answers: Timing::new(
                "rest_client_request_duration_seconds",
                "Time of the API server to answer, watches aside, by verb and host.",
                &["host", "verb"],
                ANSWERS,
            ),
            client_failures: failures("kubelet_certificate_manager_client_expiration_renew_errors"),
            server_failures: failures("kubelet_server_expiration_renew_errors"),
        }
    }
}

impl LinkMeters {
    /// A request to a host was answered with this code, or not at all. How soon a watch begins says nothing.
    pub fn called(&self, host: &str, method: &str, code: Option<u16>, is_watch: bool, took: Duration) {
        let code = code.map_or_else(|| NO_ANSWER.to_owned(), |code| code.to_string());
        self.requests.add(&[code.as_str(), host, method]);
        if !is_watch {
            self.answers.observe(&[host, method], took);
        }
    }

    /// The counters of `/metrics`.
    pub fn counters(&self) -> [&Counter; 3] {
        [&self.requests, &self.client_failures, &self.server_failures]
    }

    /// The timings of `/metrics`.
    pub fn timings(&self) -> [&Timing; 1] {
        [&self.answers]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_their_answer_and_watches_are_not_timed() {
        let meters = LinkMeters::default();
        meters.called("h:6443", "GET", Some(200), false, Duration::from_millis(50));
        meters.called("h:6443", "GET", Some(200), true, Duration::from_millis(50));
        meters.called("h:6443", "POST", None, false, Duration::from_secs(5));
        let counts: Vec<(String, u64)> =
            meters.requests.read().into_iter().map(|(labels, count)| (labels.join(" "), count)).collect();
        assert_eq!(counts, [("200 h:6443 GET".to_owned(), 2), ("<error> h:6443 POST".to_owned(), 1)]);
        let key = vec!["h:6443".to_owned(), "GET".to_owned()];
        assert_eq!(meters.answers.read().get(&key).map(|spread| spread.count), Some(1));
    }
}
