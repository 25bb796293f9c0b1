//! How long admission takes: each plugin, each webhook, and the two halves of the chain.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use super::{SERIES, escape, help};

/// Upper bounds for plugins and halves of the chain, in seconds; upstream's.
const PLUGIN_BOUNDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
/// Most plugins of the chain.
pub const STEPS: usize = 31;
/// The operations of admission, as the label `operation` names them.
const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];
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

/// What came of a question to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Came {
    /// The change may be made.
    Allowed,
    /// It may not, with this HTTP code.
    Refused(u16),
    /// There was no answer, which refuses the change.
    Failed,
    /// There was no answer, and the change may be made all the same.
    Ignored,
}

impl Came {
    fn is_refusal(self) -> bool {
        matches!(self, Self::Refused(_) | Self::Failed)
    }

    /// The HTTP code; who does not answer counts as unavailable.
    fn code(self) -> u16 {
        match self {
            Self::Allowed => 200,
            Self::Refused(code) => code,
            Self::Failed | Self::Ignored => 503,
        }
    }
}

/// Questions to webhooks: name, half, operation and what came of them.
type Question = (String, Half, &'static str, Came);

/// Operation, half, and whether it ended in a refusal.
type Key = (&'static str, Half, bool);

/// Durations of one plugin, or of a whole half: by operation, half, and whether it ended in a refusal.
#[derive(Default)]
struct Step {
    name: OnceLock<&'static str>,
    durations: [[[OnceLock<Histogram>; 2]; 2]; OPERATIONS.len()],
}

impl Step {
    fn observe(&self, operation: usize, half: Half, refused: bool, took: Duration) {
        let own = self.durations.get(operation).map(|halves| match half {
            Half::Admit => &halves[0],
            Half::Validate => &halves[1],
        });
        let Some([let_in, refusals]) = own else { return };
        let histogram = if refused { refusals } else { let_in };
        histogram.get_or_init(|| Histogram::new(PLUGIN_BOUNDS)).observe(took.as_secs_f64());
    }

    /// What was counted, with its labels.
    fn told(&self) -> Vec<(Key, &Histogram)> {
        let mut told = Vec::new();
        for (operation, halves) in OPERATIONS.into_iter().zip(&self.durations) {
            for (half, results) in [Half::Admit, Half::Validate].into_iter().zip(halves) {
                let results = [false, true].into_iter().zip(results);
                told.extend(results.filter_map(|(refused, own)| Some(((operation, half, refused), own.get()?))));
            }
        }
        told
    }
}

/// Durations of admission.
#[derive(Default)]
pub struct Admission {
    halves: Step,
    /// By their place in the chain.
    plugins: [Step; STEPS],
    webhooks: Mutex<BTreeMap<(String, Key), Histogram>>,
    questions: Mutex<BTreeMap<Question, u64>>,
}

/// One pass of the chain, counted when dropped.
pub struct Pass<'a> {
    all: &'a Admission,
    half: Half,
    operation: usize,
    started: Instant,
    last: Instant,
    refused: bool,
}

impl Pass<'_> {
    /// The plugin at this place of the chain ran since the last one did.
    pub fn ran(&mut self, place: usize, plugin: &'static str, refused: bool) {
        let now = Instant::now();
        if let Some(step) = self.all.plugins.get(place) {
            step.name.get_or_init(|| plugin);
            step.observe(self.operation, self.half, refused, now - self.last);
        }
        self.last = now;
        self.refused |= refused;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.all.halves.observe(self.operation, self.half, self.refused, self.last - self.started);
    }
}

impl Admission {
    /// Begins a pass of the chain.
    #[must_use]
    pub fn pass(&self, half: Half, operation: &'static str) -> Pass<'_> {
        let now = Instant::now();
        // An operation that is none of these has no place, and is not counted.
        let operation = OPERATIONS.iter().position(|own| *own == operation).unwrap_or(OPERATIONS.len());
        Pass { all: self, half, operation, started: now, last: now, refused: false }
    }

    /// A webhook answered, or failed to.
    pub fn webhook(&self, name: &str, half: Half, operation: &'static str, came: Came, took: Duration) {
        self.question((name.to_owned(), half, operation, came));
        let mut webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), (operation, half, came.is_refusal()));
        // Names are the administrators' own; there are as many as there ever were configurations.
        if webhooks.len() >= SERIES && !webhooks.contains_key(&key) {
            return;
        }
        webhooks.entry(key).or_insert_with(|| Histogram::new(WEBHOOK_BOUNDS)).observe(took.as_secs_f64());
    }

    fn question(&self, question: Question) {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if questions.len() < SERIES || questions.contains_key(&question) {
            *questions.entry(question).or_default() += 1;
        }
    }

    /// The questions under upstream's three names, each with the labels that it has.
    fn render_questions(&self, out: &mut String) {
        let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut all, mut refusals, mut ignored) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for ((name, half, operation, came), count) in &*questions {
            let add = |counts: &mut BTreeMap<String, u64>, labels: String| *counts.entry(labels).or_default() += count;
            let (name, kind, code) = (escape(name), half.of_webhooks(), came.code());
            let rejected = came.is_refusal();
            let asked = format!("name=\"{name}\",operation=\"{operation}\"");
            add(&mut all, format!("code=\"{code}\",{asked},rejected=\"{rejected}\",type=\"{kind}\""));
            if rejected {
                let error = if *came == Came::Failed { "calling_webhook_error" } else { "no_error" };
                let labels = format!("error_type=\"{error}\",{asked},rejection_code=\"{code}\",type=\"{kind}\"");
                add(&mut refusals, labels);
            }
            if *came == Came::Ignored {
                add(&mut ignored, format!("name=\"{name}\",type=\"{kind}\""));
            }
        }
        for (name, text, counts) in [
            ("apiserver_admission_webhook_request_total", "Questions to admission webhooks.", all),
            ("apiserver_admission_webhook_rejection_count", "Refusals by admission webhooks.", refusals),
            ("apiserver_admission_webhook_fail_open_count", "Changes let in that a webhook failed to judge.", ignored),
        ] {
            help(out, name, "counter", text);
            for (labels, count) in counts {
                out.push_str(&format!("{name}{{{labels}}} {count}\n"));
            }
        }
    }

    pub(super) fn render(&self, out: &mut String) {
        self.render_questions(out);
        let name = "apiserver_admission_step_admission_duration_seconds";
        help(out, name, "histogram", "Time of a half of the admission chain.");
        for (key, histogram) in self.halves.told() {
            histogram.render(out, name, &labels(key, key.1.name()));
        }
        let name = "apiserver_admission_controller_admission_duration_seconds";
        help(out, name, "histogram", "Time of one admission plugin.");
        for step in &self.plugins {
            let plugin = step.name.get().copied().unwrap_or_default();
            for (key, histogram) in step.told() {
                histogram.render(out, name, &format!("name=\"{plugin}\",{}", labels(key, key.1.name())));
            }
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
        pass.ran(5, "PodSecurity", false);
        pass.ran(STEPS - 1, "ResourceQuota", true);
        drop(pass);
        let webhook = |came| all.webhook("a.example.com", Half::Validate, "UPDATE", came, Duration::from_millis(30));
        [Came::Allowed, Came::Refused(403), Came::Refused(503), Came::Failed].into_iter().for_each(webhook);
        all.webhook("b.example.com", Half::Admit, "CREATE", Came::Ignored, Duration::from_millis(30));
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
            "apiserver_admission_webhook_request_total{code=\"200\",name=\"a.example.com\",operation=\"UPDATE\",rejected=\"false\",\
             type=\"validating\"} 1",
            "apiserver_admission_webhook_request_total{code=\"503\",name=\"a.example.com\",operation=\"UPDATE\",rejected=\"true\",\
             type=\"validating\"} 2",
            "apiserver_admission_webhook_rejection_count{error_type=\"no_error\",name=\"a.example.com\",operation=\"UPDATE\",\
             rejection_code=\"403\",type=\"validating\"} 1",
            "apiserver_admission_webhook_rejection_count{error_type=\"calling_webhook_error\",name=\"a.example.com\",\
             operation=\"UPDATE\",rejection_code=\"503\",type=\"validating\"} 1",
            "apiserver_admission_webhook_fail_open_count{name=\"b.example.com\",type=\"admit\"} 1",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }
}
