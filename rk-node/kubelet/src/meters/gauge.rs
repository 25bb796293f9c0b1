//! A number that is as it was set last.

use std::sync::{Mutex, PoisonError};

/// One metric.
pub struct Gauge {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    value: Mutex<Option<f64>>,
}

impl Gauge {
    /// Not known yet.
    pub fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, value: Mutex::default() }
    }

    /// It is this from now on.
    pub fn set(&self, value: f64) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// What it is, if that is known.
    pub fn read(&self) -> Option<f64> {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
