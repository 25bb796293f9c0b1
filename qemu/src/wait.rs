//! Waiting for conditions, never for luck.

use crate::{Error, Result};
use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(100);

/// Looks every 100 ms until `look` answers `Ok`. Its `Err` says what was seen; the last one is told when `limit` has passed.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T> {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(seen) if start.elapsed() >= limit => {
                return Err(Error::Timeout { what: what.to_owned(), waited: limit, seen });
            }
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_observation_is_told_when_time_is_up() {
        let mut n = 0;
        let error = until("the moon", Duration::from_millis(250), || {
            n += 1;
            Err::<(), _>(format!("cloud {n}"))
        });
        let text = error.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains("the moon") && text.contains(&format!("cloud {n}")), "{text}");
    }

    #[test]
    fn a_condition_that_holds_is_returned_at_once() {
        assert_eq!(until("now", Duration::ZERO, || Ok::<_, String>(7)).ok(), Some(7));
    }
}
