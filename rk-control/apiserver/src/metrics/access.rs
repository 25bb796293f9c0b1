//! Who was let in: handshakes, attempts to authenticate and to be authorized, and how long client certificates still last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::help;
use super::histogram::{Figures, Histogram};

/// Upper bounds of the time that certificates last, in seconds; upstream's.
const EXPIRY_BOUNDS: &[f64] = &[
    0.0,
    1800.0,
    3600.0,
    7200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];

/// Upper bounds of the time to tell who asks, and whether they may, in seconds; upstream's.
const JUDGED_BOUNDS: &[f64] =
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

/// Authorizers that say yes, by type and name; none of them says no, which is where nobody says yes.
const DECIDERS: [(&str, &str); 2] = [("Node", "node"), ("RBAC", "rbac")];

/// Who let a request in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decider {
    /// The authorizer of nodes.
    Node,
    /// The roles.
    Rbac,
}

/// Users that are told by name, as upstream's; of all others only that they have an address for mail, or have none.
const USERS: [&str; 7] =
    ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default", "email_id", "other"];

/// Upper bounds of the time that a request needs to pass what it passes, in seconds; upstream's.
const FILTER_BOUNDS: &[f64] = &[0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0, 10.0, 15.0, 30.0];

/// Upstream's names of [`Filter`].
const FILTERS: [&str; 4] = ["authentication", "authorization", "impersonation", "priorityandfairness"];

/// What a request passes before it is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Who asks is known.
    Authentication,
    /// They may.
    Authorization,
    /// As whom they ask is known.
    Impersonation,
    /// The FlowSchema is found that means the request.
    Fairness,
}

/// Counts of what was asked and answered at the door.
pub struct Access {
    /// Let in, or refused for credentials that do not hold.
    authenticated: [Histogram; 2],
    users: [AtomicU64; USERS.len()],
    /// Allowed, without an opinion (which refuses), failed.
    authorized: [Histogram; 3],
    decided: [AtomicU64; DECIDERS.len()],
    /// Connections that never came to a request.
    handshakes: AtomicU64,
    expiry: Histogram,
    /// Requests that passed each filter.
    filters: [Histogram; FILTERS.len()],
}

impl Default for Access {
    fn default() -> Self {
        Self {
            authenticated: std::array::from_fn(|_| Histogram::new(JUDGED_BOUNDS)),
            users: Default::default(),
            authorized: std::array::from_fn(|_| Histogram::new(JUDGED_BOUNDS)),
            decided: Default::default(),
            handshakes: AtomicU64::new(0),
            expiry: Histogram::new(EXPIRY_BOUNDS),
            filters: std::array::from_fn(|_| Histogram::new(FILTER_BOUNDS)),
        }
    }
}

impl Access {
    /// A TLS handshake failed.
    pub fn handshake_failed(&self) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// Credentials were offered, or none were asked for, and looked at for so long.
    pub fn authenticated(&self, success: bool, took: Duration) {
        let [yes, no] = &self.authenticated;
        if success { yes } else { no }.observe(took.as_secs_f64());
        if success {
            self.passed(Filter::Authentication, took);
        }
    }

    /// Who was let in.
    pub fn user(&self, name: &str) {
        let [known @ .., mail, other] = &USERS;
        let shown = known.iter().find(|known| **known == name).unwrap_or(if name.contains('@') { mail } else { other });
        let place = USERS.iter().position(|user| user == shown).unwrap_or_default();
        if let Some(count) = self.users.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request was judged, for so long: allowed, refused, or not at all.
    pub fn authorized(&self, allowed: Option<bool>, took: Duration) {
        let [yes, no, failed] = &self.authorized;
        let count = match allowed {
            Some(true) => yes,
            Some(false) => no,
            None => failed,
        };
        count.observe(took.as_secs_f64());
        if allowed == Some(true) {
            self.passed(Filter::Authorization, took);
        }
    }

    /// A request passed a filter, which took so long.
    pub fn passed(&self, filter: Filter, took: Duration) {
        if let Some(own) = self.filters.get(filter as usize) {
            own.observe(took.as_secs_f64());
        }
    }

    /// Does what a filter does, which lets everybody pass.
    pub fn timed<T>(&self, filter: Filter, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.passed(filter, begun.elapsed());
        done
    }

    /// Something was allowed, whether it was a request or a question about one.
    pub fn decided(&self, by: Decider) {
        let [node, rbac] = &self.decided;
        let count = match by {
            Decider::Node => node,
            Decider::Rbac => rbac,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A request came with a certificate that is valid for so many seconds more.
    pub fn certificate(&self, seconds_left: i64) {
        self.expiry.observe(seconds_left as f64);
    }

    pub(super) fn render(&self, out: &mut String) {
        // Upstream calls credentials that do not hold an error: nobody who comes here fails otherwise.
        judged(
            out,
            ["authentication_attempts", "authentication_duration_seconds"],
            &["success", "error"],
            &self.authenticated,
        );
        let results = ["allowed", "no-opinion", "error"];
        judged(out, ["authorization_attempts_total", "authorization_duration_seconds"], &results, &self.authorized);
        let name = "apiserver_authorization_decisions_total";
        help(out, name, "counter", "What authorizers allowed.");
        for ((kind, own), count) in DECIDERS.iter().zip(&self.decided) {
            let labels = format!("decision=\"allowed\",name=\"{own}\",type=\"{kind}\"");
            out.push_str(&format!("{name}{{{labels}}} {}\n", count.load(Ordering::Relaxed)));
        }
        let name = "apiserver_request_filter_duration_seconds";
        help(out, name, "histogram", "Time that requests needed to pass what they pass before they are handled.");
        for (filter, own) in FILTERS.iter().zip(&self.filters) {
            own.render(out, name, &format!("filter=\"{filter}\""));
        }
        let name = "apiserver_tls_handshake_errors_total";
        help(out, name, "counter", "TLS handshakes that failed.");
        out.push_str(&format!("{name} {}\n", self.handshakes.load(Ordering::Relaxed)));
        let name = "authenticated_user_requests";
        help(out, name, "counter", "Requests by who sent them.");
        for (user, count) in USERS.iter().zip(&self.users) {
            out.push_str(&format!("{name}{{username=\"{user}\"}} {}\n", count.load(Ordering::Relaxed)));
        }
        let name = "apiserver_client_certificate_expiration_seconds";
        help(out, name, "histogram", "Time that the certificates of requests still last.");
        self.expiry.render(out, name, "");
    }
}

/// How many were judged, and for how long, by result.
fn judged(out: &mut String, [attempts, durations]: [&str; 2], results: &[&str], histograms: &[Histogram]) {
    let figures: Vec<Figures> = histograms.iter().map(Histogram::figures).collect();
    help(out, attempts, "counter", "Requests by what was found.");
    for (result, figures) in results.iter().zip(&figures) {
        out.push_str(&format!("{attempts}{{result=\"{result}\"}} {}\n", figures.total()));
    }
    help(out, durations, "histogram", "Time to find it.");
    for (result, figures) in results.iter().zip(&figures) {
        figures.render(out, durations, &format!("result=\"{result}\""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_by_their_result() {
        let access = Access::default();
        access.authenticated(true, Duration::from_millis(3));
        access.authenticated(false, Duration::from_millis(1));
        access.authorized(Some(false), Duration::from_millis(20));
        access.authorized(Some(true), Duration::from_millis(20));
        assert_eq!(access.timed(Filter::Fairness, || 7), 7);
        access.decided(Decider::Rbac);
        access.handshake_failed();
        for name in ["jane@example.com", "system:node:a", "kubelet", "email_id"] {
            access.user(name);
        }
        access.certificate(7000);
        let mut text = String::new();
        access.render(&mut text);
        for line in [
            "authentication_attempts{result=\"success\"} 1",
            "authentication_attempts{result=\"error\"} 1",
            "authentication_duration_seconds_bucket{result=\"success\",le=\"0.002\"} 0",
            "authentication_duration_seconds_bucket{result=\"success\",le=\"0.004\"} 1",
            "authorization_duration_seconds_bucket{result=\"no-opinion\",le=\"0.016\"} 0",
            "authorization_duration_seconds_count{result=\"no-opinion\"} 1",
            "authorization_attempts_total{result=\"allowed\"} 1",
            "apiserver_request_filter_duration_seconds_bucket{filter=\"authentication\",le=\"0.003\"} 1",
            "apiserver_request_filter_duration_seconds_count{filter=\"authentication\"} 1",
            "apiserver_request_filter_duration_seconds_count{filter=\"authorization\"} 1",
            "apiserver_request_filter_duration_seconds_count{filter=\"impersonation\"} 0",
            "apiserver_request_filter_duration_seconds_count{filter=\"priorityandfairness\"} 1",
            "apiserver_authorization_decisions_total{decision=\"allowed\",name=\"rbac\",type=\"RBAC\"} 1",
            "apiserver_authorization_decisions_total{decision=\"allowed\",name=\"node\",type=\"Node\"} 0",
            "apiserver_tls_handshake_errors_total 1",
            "authenticated_user_requests{username=\"kubelet\"} 1",
            "authenticated_user_requests{username=\"email_id\"} 1",
            "authenticated_user_requests{username=\"other\"} 2",
            "authenticated_user_requests{username=\"admin\"} 0",
            "authorization_attempts_total{result=\"no-opinion\"} 1",
            "apiserver_client_certificate_expiration_seconds_bucket{le=\"3600\"} 0",
            "apiserver_client_certificate_expiration_seconds_bucket{le=\"7200\"} 1",
            "apiserver_client_certificate_expiration_seconds_count 1",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }
}
