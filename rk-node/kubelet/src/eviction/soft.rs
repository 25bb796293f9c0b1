//! Thresholds that pods may cross for a while. Values only: the clock comes in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::node::Signal;

/// Since when each signal is short.
#[derive(Debug, Default)]
pub struct Patience(BTreeMap<Signal, Instant>);

impl Patience {
    /// The signals that are short now and were so for their whole grace period, most urgent first.
    pub fn over(&mut self, short: &[Signal], now: Instant, grace: &BTreeMap<Signal, Duration>) -> Vec<Signal> {
        self.0.retain(|signal, _| short.contains(signal));
        for signal in short {
            self.0.entry(*signal).or_insert(now);
        }
        let long = |(signal, since): &(&Signal, &Instant)| {
            grace.get(signal).is_some_and(|grace| now.saturating_duration_since(**since) >= *grace)
        };
        self.0.iter().filter(long).map(|(signal, _)| *signal).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_borne_for_its_grace_period_and_forgotten_when_it_ends() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let grace =
            BTreeMap::from([(Signal::Memory, Duration::from_secs(60)), (Signal::Disk, Duration::from_secs(90))]);
        let mut patience = Patience::default();
        for (seconds, short, want) in [
            (0, vec![Signal::Memory], vec![]),
            (59, vec![Signal::Memory, Signal::Disk], vec![]),
            (60, vec![Signal::Memory, Signal::Disk], vec![Signal::Memory]),
            (70, vec![Signal::Disk], vec![]),
            (80, vec![Signal::Memory, Signal::Disk], vec![]),
            (149, vec![Signal::Memory, Signal::Disk], vec![Signal::Memory, Signal::Disk]),
            // A signal without a grace period never tells a pod to go.
            (500, vec![Signal::Pids], vec![]),
            (900, vec![Signal::Pids], vec![]),
        ] {
            assert_eq!(patience.over(&short, at(seconds), &grace), want, "after {seconds} s");
        }
    }
}
