//! Whether the APIs that APIServices name can be used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use super::{escape, help};

/// What is known of each APIService. No more of them are told than there are, whatever their names were.
#[derive(Default)]
pub struct Aggregation(Mutex<Known>);

#[derive(Default)]
struct Known {
    unavailable: BTreeMap<String, bool>,
    /// How often each became unavailable, and why.
    lost: BTreeMap<(String, &'static str), u64>,
}

impl Aggregation {
    /// These are there. Those that are new can be used until something else is found; the others are forgotten.
    pub fn there_are(&self, names: &BTreeSet<String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.unavailable.retain(|name, _| names.contains(name));
        known.lost.retain(|(name, _), _| names.contains(name));
        for name in names {
            known.unavailable.entry(name.clone()).or_insert(false);
        }
    }

    /// One was looked at; `news` is why it cannot be used if that was not known before.
    pub fn judged(&self, name: &str, available: bool, news: Option<&'static str>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.unavailable.insert(name.to_owned(), !available);
        if let Some(reason) = news {
            *known.lost.entry((name.to_owned(), reason)).or_default() += 1;
        }
    }

    pub(super) fn render(&self, out: &mut String) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "aggregator_unavailable_apiservice";
        help(out, name, "gauge", "APIServices; 1 is unavailable.");
        for (service, unavailable) in &known.unavailable {
            let _ = writeln!(out, "{name}{{name=\"{}\"}} {}", escape(service), u8::from(*unavailable));
        }
        let name = "aggregator_unavailable_apiservice_total";
        help(out, name, "counter", "How often an APIService became unavailable, and why.");
        for ((service, reason), count) in &known.lost {
            let _ = writeln!(out, "{name}{{name=\"{}\",reason=\"{reason}\"}} {count}", escape(service));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_cannot_be_used_are_told_until_they_are_gone() {
        let aggregation = Aggregation::default();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let told = || {
            let mut text = String::new();
            aggregation.render(&mut text);
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        aggregation.there_are(&names(&["v1.", "v1.metrics"]));
        aggregation.judged("v1.metrics", false, Some("MissingEndpoints"));
        aggregation.judged("v1.metrics", false, None);
        assert_eq!(
            told(),
            [
                "aggregator_unavailable_apiservice{name=\"v1.\"} 0",
                "aggregator_unavailable_apiservice{name=\"v1.metrics\"} 1",
                "aggregator_unavailable_apiservice_total{name=\"v1.metrics\",reason=\"MissingEndpoints\"} 1",
            ]
        );
        aggregation.judged("v1.metrics", true, None);
        assert!(told().contains(&"aggregator_unavailable_apiservice{name=\"v1.metrics\"} 0".to_owned()));
        aggregation.there_are(&names(&["v1."]));
        assert_eq!(told(), ["aggregator_unavailable_apiservice{name=\"v1.\"} 0"]);
    }
}
