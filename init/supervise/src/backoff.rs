//! Delays that double.

use crate::Millis;

/// A doubling delay between bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Millis,
    most: Millis,
    next: Millis,
}

impl Backoff {
    /// Starts at `first` and never exceeds `most`.
    pub fn new(first: Millis, most: Millis) -> Backoff {
        Backoff { first, most, next: first }
    }

    /// The delay to wait now; the one after it is twice as long.
    pub fn take(&mut self) -> Millis {
        let now = self.next.min(self.most);
        self.next = now.saturating_mul(2).min(self.most);
        now
    }

    /// Back to the first delay.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_bound_and_start_over() {
        let mut backoff = Backoff::new(250, 1500);
        assert_eq!([(); 5].map(|()| backoff.take()), [250, 500, 1000, 1500, 1500]);
        backoff.reset();
        assert_eq!(backoff.take(), 250);
    }
}
