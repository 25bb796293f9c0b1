//! How long admission takes: each plugin, each webhook, and the two halves of the chain.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use super::{SERIES, escape, help};

/// Upper bounds for plugins and halves of the chain, in seconds; upstream's.
const PLUGIN_BOUNDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
/// Upper bounds for webhooks; upstream's.
const WEBHOOK_BOUNDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

/// Which half of admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Half {
    /// Changes objects.
    Admit,
    /// Judges them.
    Validate,
}

impl Half {
    /// The word of the label `type`.
    fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Validate => "validate",
        }
    }

    /// The word of the label `type` of webhooks.
    fn of_webhooks(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Validate => "validating",
        }
    }
}

/// Operation, half, and whether it ended in a refusal.
type Key = (&'static str, Half, bool);

/// Durations of admission.
#[derive(Default)]
pub struct Admission {
    /// By plugin; the empty name is the whole half.
    plugins: Mutex<BTreeMap<(&'static str, Key), Histogram>>,
    webhooks: Mutex<BTreeMap<(String, Key), Histogram>>,
}

/// One pass of the chain, counted when dropped.
pub struct Pass<'a> {
    all: &'a Admission,
    half: Half,
    operation: &'static str,
    started: Instant,
    last: Instant,
    taken: Vec<(&'static str, Duration, bool)>,
}

impl Pass<'_> {
    /// The plugin that ran since the last one did.
    pub fn ran(&mut self, plugin: &'static str, refused: bool) {
        let now = Instant::now();
        self.taken.push((plugin, now - self.last, refused));
        self.last = now;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let refused = self.taken.iter().any(|(.., refused)| *refused);
        self.taken.push(("", self.last - self.started, refused));
        let mut plugins = self.all.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        for (plugin, took, refused) in self.taken.drain(..) {
            let key = (plugin, (self.operation, self.half, refused));
            plugins.entry(key).or_insert_with(|| Histogram::new(PLUGIN_BOUNDS)).observe(took.as_secs_f64());
        }
    }
}

impl Admission {
    /// Begins a pass of the chain.
    #[must_use]
    pub fn pass(&self, half: Half, operation: &'static str) -> Pass<'_> {
        let now = Instant::now();
        Pass { all: self, half, operation, started: now, last: now, taken: Vec::with_capacity(24) }
    }

    /// A webhook answered, or failed to.
    pub fn webhook(&self, name: &str, half: Half, operation: &'static str, refused: bool, took: Duration) {
        let mut webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), (operation, half, refused));
        // Names are the administrators' own; there are as many as there ever were configurations.
        if webhooks.len() >= SERIES && !webhooks.contains_key(&key) {
            return;
        }
        webhooks.entry(key).or_insert_with(|| Histogram::new(WEBHOOK_BOUNDS)).observe(took.as_secs_f64());
    }

    pub(super) fn render(&self, out: &mut String) {
        let plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "apiserver_admission_step_admission_duration_seconds";
        help(out, name, "histogram", "Time of a half of the admission chain.");
        for ((_, key), histogram) in plugins.iter().filter(|((plugin, _), _)| plugin.is_empty()) {
            histogram.render(out, name, &labels(*key, key.1.name()));
        }
        let name = "apiserver_admission_controller_admission_duration_seconds";
        help(out, name, "histogram", "Time of one admission plugin.");
        for ((plugin, key), histogram) in plugins.iter().filter(|((plugin, _), _)| !plugin.is_empty()) {
            histogram.render(out, name, &format!("name=\"{plugin}\",{}", labels(*key, key.1.name())));
        }
        let webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "apiserver_admission_webhook_admission_duration_seconds";
        help(out, name, "histogram", "Time of one admission webhook to answer.");
        for ((hook, key), histogram) in &*webhooks {
            let labels = format!("name=\"{}\",{}", escape(hook), labels(*key, key.1.of_webhooks()));
            histogram.render(out, name, &labels);
        }
    }
}

fn labels((operation, _, refused): Key, kind: &str) -> String {
    format!("operation=\"{operation}\",rejected=\"{refused}\",type=\"{kind}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_halves_and_webhooks_are_told_apart() {
        let all = Admission::default();
        let mut pass = all.pass(Half::Validate, "CREATE");
        pass.ran("PodSecurity", false);
        pass.ran("ResourceQuota", true);
        drop(pass);
        all.webhook("a.example.com", Half::Validate, "UPDATE", false, Duration::from_millis(30));
        let mut text = String::new();
        all.render(&mut text);
        for line in [
            "apiserver_admission_step_admission_duration_seconds_count{operation=\"CREATE\",rejected=\"true\",type=\"validate\"} 1",
            "apiserver_admission_controller_admission_duration_seconds_count{name=\"PodSecurity\",operation=\"CREATE\",\
             rejected=\"false\",type=\"validate\"} 1",
            "apiserver_admission_controller_admission_duration_seconds_count{name=\"ResourceQuota\",operation=\"CREATE\",\
             rejected=\"true\",type=\"validate\"} 1",
            "apiserver_admission_webhook_admission_duration_seconds_bucket{name=\"a.example.com\",operation=\"UPDATE\",\
             rejected=\"false\",type=\"validating\",le=\"0.1\"} 1",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }
}
