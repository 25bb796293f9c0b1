//! Who was let in: attempts to authenticate and to be authorized, and how long client certificates still last.

use std::sync::atomic::{AtomicU64, Ordering};

use super::help;
use super::histogram::Histogram;

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

/// Users that are told by name, as upstream's; of all others only that they have an address for mail, or have none.
const USERS: [&str; 7] =
    ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default", "email_id", "other"];

/// Counts of what was asked and answered at the door.
pub struct Access {
    authenticated: [AtomicU64; 2],
    users: [AtomicU64; USERS.len()],
    /// Allowed, without an opinion (which refuses), failed.
    authorized: [AtomicU64; 3],
    expiry: Histogram,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            authenticated: Default::default(),
            users: Default::default(),
            authorized: Default::default(),
            expiry: Histogram::new(EXPIRY_BOUNDS),
        }
    }
}

impl Access {
    /// Credentials were offered, or none were asked for.
    pub fn authenticated(&self, success: bool) {
        let [yes, no] = &self.authenticated;
        if success { yes } else { no }.fetch_add(1, Ordering::Relaxed);
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

    /// A request was judged: allowed, refused, or not at all.
    pub fn authorized(&self, allowed: Option<bool>) {
        let [yes, no, failed] = &self.authorized;
        let count = match allowed {
            Some(true) => yes,
            Some(false) => no,
            None => failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A request came with a certificate that is valid for so many seconds more.
    pub fn certificate(&self, seconds_left: i64) {
        self.expiry.observe(seconds_left as f64);
    }

    pub(super) fn render(&self, out: &mut String) {
        let line = |out: &mut String, name: &str, text: &str, results: &[&str], counts: &[AtomicU64]| {
            help(out, name, "counter", text);
            for (result, count) in results.iter().zip(counts) {
                out.push_str(&format!("{name}{{result=\"{result}\"}} {}\n", count.load(Ordering::Relaxed)));
            }
        };
        let (name, text) = ("authentication_attempts", "Requests by what became of their credentials.");
        line(out, name, text, &["success", "failure"], &self.authenticated);
        let (name, text) = ("authorization_attempts_total", "Requests by what the authorizers said.");
        line(out, name, text, &["allowed", "no-opinion", "error"], &self.authorized);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_by_their_result() {
        let access = Access::default();
        access.authenticated(true);
        access.authorized(Some(false));
        for name in ["jane@example.com", "system:node:a", "kubelet", "email_id"] {
            access.user(name);
        }
        access.certificate(7000);
        let mut text = String::new();
        access.render(&mut text);
        for line in [
            "authentication_attempts{result=\"success\"} 1",
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
