//! Histograms of durations and sizes.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the size of answers, in bytes; upstream's.
pub(super) const SIZE_BOUNDS: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Upper bounds of the time to answer requests, in seconds; upstream's.
pub(super) const REQUEST_BOUNDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// How many took up to how long; counted by many at once without waiting for each other.
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// Those up to each bound and above the one before; the last are above all.
    counts: Box<[AtomicU64]>,
    /// The bits of a floating point number.
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // It never declines, so it never fails.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// The figures as of now. Those who count do not wait, so the sum may be ahead of the counts by an instant.
    pub(crate) fn figures(&self) -> Figures {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Figures { bounds: self.bounds, counts, sum: f64::from_bits(self.sum.load(Ordering::Relaxed)) }
    }

    pub(crate) fn render(&self, out: &mut String, name: &str, labels: &str) {
        self.figures().render(out, name, labels);
    }
}

/// What a histogram has counted.
#[derive(Clone)]
pub(crate) struct Figures {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Figures {
    /// How many there were.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Takes in what another histogram of the same bounds has counted.
    pub(super) fn add(&mut self, other: &Figures) {
        self.sum += other.sum;
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own += more;
        }
    }

    /// The same without the first bounds: what they kept is kept by the next.
    pub(super) fn without_first(mut self, skipped: usize) -> Self {
        let Some(bounds) = self.bounds.get(skipped..) else { return self };
        let kept: u64 = self.counts.drain(..skipped).sum();
        if let Some(next) = self.counts.first_mut() {
            *next += kept;
        }
        self.bounds = bounds;
        self
    }

    pub(crate) fn render(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut up_to = 0;
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            up_to += count;
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{}\"}} {up_to}", written(*bound));
        }
        let total = self.total();
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {total}");
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(out, "{name}_sum{braced} {}", self.sum);
        let _ = writeln!(out, "{name}_count{braced} {total}");
    }
}

/// A bound as Go writes it: those from a million on by their power. It is a label, which readers compare letter by letter.
fn written(bound: f64) -> String {
    if bound < 1e6 { bound.to_string() } else { format!("{bound:e}").replace('e', "e+0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_at_most_its_bound() {
        let histogram = Histogram::new(SIZE_BOUNDS);
        for value in [0.0, 1e3, 1001.0, 1e9, 2e9] {
            histogram.observe(value);
        }
        let mut figures = histogram.figures();
        figures.add(&histogram.figures());
        let mut text = String::new();
        figures.render(&mut text, "x", "");
        for line in [
            "x_bucket{le=\"1000\"} 4",
            "x_bucket{le=\"10000\"} 6",
            "x_bucket{le=\"1e+09\"} 8",
            "x_bucket{le=\"+Inf\"} 10",
            "x_count 10",
            "x_sum 6000004002",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
        text.clear();
        figures.without_first(2).render(&mut text, "x", "");
        assert!(text.starts_with("x_bucket{le=\"100000\"} 6\n") && text.ends_with("x_count 10\n"), "{text}");
        assert_eq!([2_592_000.0, 1e6, 1.25, 604_800.0].map(written), ["2.592e+06", "1e+06", "1.25", "604800"]);
    }
}
