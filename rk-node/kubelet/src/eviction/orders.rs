//! Pods that were told to go, between who tells them and their workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a pod is to go, and how soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Reason for its status.
    pub reason: String,
    /// Message for its status.
    pub message: String,
    /// Longest time that it has to end, seconds.
    pub grace: i64,
    /// What it is counted as once it is taken: the signal or limit of an eviction.
    pub signal: Option<&'static str>,
}

impl Order {
    /// One that leaves no time.
    pub fn now(reason: &str, message: String) -> Self {
        Self { reason: reason.to_owned(), message, grace: 0, signal: None }
    }
}

/// Orders by UID. Clones share them.
#[derive(Clone, Default)]
pub struct Orders(Arc<Mutex<HashMap<String, Order>>>);

impl Orders {
    /// Tells a pod to go.
    pub fn give(&self, uid: &str, order: Order) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), order);
    }

    /// The order for a pod that is to go; it is taken once.
    pub fn take(&self, uid: &str) -> Option<Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid)
    }
}
