//! Pods that were told to go, between who tells them and their workers.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::watch;

use crate::pod::status::EVICTED;
use crate::shutdown::{TERMINATED, TERMINATED_MESSAGE};

/// Why a pod is to go, and how soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Reason for its status.
    pub reason: String,
    /// Message for its status.
    pub message: String,
    /// Longest time that it has to end, seconds; `None` leaves it its own.
    pub grace: Option<i64>,
    /// What it is counted as once it is taken: the signal or limit of an eviction.
    pub signal: Option<&'static str>,
    /// Whether an event of the pod tells of it.
    pub event: bool,
    /// What that event tells programs.
    pub annotations: BTreeMap<String, String>,
    /// Whether the pod begins again with its machine, rather than fail.
    pub again: bool,
}

impl Order {
    /// One for the sake of another pod, which waits until this one has ended in its own time.
    pub fn in_favour(reason: &str, message: String) -> Self {
        Self { reason: reason.to_owned(), message, grace: None, event: true, ..Self::of_shutdown(0) }
    }

    /// One because the node is short of something, or the pod is beyond a limit of its own: `signal` says of what.
    pub fn of_eviction(signal: &'static str, message: String, grace: i64) -> Self {
        let reason = EVICTED.to_owned();
        Self { reason, message, grace: Some(grace), signal: Some(signal), event: true, ..Self::of_shutdown(grace) }
    }

    /// One because the machine goes down; the node's own event tells of that.
    pub fn of_shutdown(grace: i64) -> Self {
        let (reason, message) = (TERMINATED.to_owned(), TERMINATED_MESSAGE.to_owned());
        let (grace, annotations) = (Some(grace), BTreeMap::new());
        Self { reason, message, grace, signal: None, event: false, annotations, again: false }
    }

    /// Whether the pod goes for something that is none of its own doing: one beyond a limit that it set itself does not.
    pub fn disrupts(&self) -> bool {
        !self.signal.is_some_and(|signal| signal.ends_with(".limit"))
    }

    /// One to rest while the machine is off.
    pub fn to_rest(grace: i64) -> Self {
        Self { again: true, ..Self::of_shutdown(grace) }
    }
}

/// Orders by UID. Clones share them.
#[derive(Clone)]
pub struct Orders(watch::Sender<HashMap<String, Order>>);

impl Default for Orders {
    fn default() -> Self {
        Self(watch::Sender::new(HashMap::new()))
    }
}

impl Orders {
    /// Tells a pod to go.
    pub fn give(&self, uid: &str, order: Order) {
        self.0.send_modify(|orders| drop(orders.insert(uid.to_owned(), order)));
    }

    /// The order for a pod that is to go; it is taken once.
    pub fn take(&self, uid: &str) -> Option<Order> {
        let mut taken = None;
        self.0.send_if_modified(|orders| {
            taken = orders.remove(uid);
            // Nobody waits for an order to go.
            false
        });
        taken
    }

    /// Resolves when there is an order for the pod.
    pub async fn given(&self, uid: &str) {
        self.until(|orders| orders.contains_key(uid)).await;
    }

    /// Resolves when there is an order that leaves the pod less than these seconds: any other would only begin its end anew.
    pub async fn hurries(&self, uid: &str, grace: i64) {
        let leaves_less = |order: &Order| order.grace.is_some_and(|longest| longest < grace);
        self.until(|orders| orders.get(uid).is_some_and(leaves_less)).await;
    }

    async fn until(&self, is_so: impl FnMut(&HashMap<String, Order>) -> bool) {
        let mut orders = self.0.subscribe();
        if orders.wait_for(is_so).await.is_err() {
            // Not while this sender is there.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_pod_beyond_its_own_limit_is_not_disrupted() {
        let of = |signal| Order { signal, ..Order::of_shutdown(1) };
        assert!(of(None).disrupts() && of(Some("memory.available")).disrupts());
        assert!(!of(Some("emptydirfs.limit")).disrupts() && !of(Some("ephemeralpodfs.limit")).disrupts());
    }

    #[test]
    fn an_order_is_heard_by_its_pod_alone_and_taken_once() {
        let orders = Orders::default();
        let mut one = std::pin::pin!(orders.given("1"));
        let mut other = std::pin::pin!(orders.given("2"));
        assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        orders.clone().give("1", Order::of_shutdown(3));
        assert!(one.as_mut().now_or_never().is_some());
        assert!(other.as_mut().now_or_never().is_none());
        assert_eq!(orders.take("1").map(|order| order.grace), Some(Some(3)));
        assert_eq!(orders.take("1"), None);
        assert!(orders.given("1").now_or_never().is_none());
    }

    #[test]
    fn only_an_order_that_leaves_less_time_hurries_what_ends_already() {
        for (longest, hurries) in [(Some(29), true), (Some(30), false), (Some(40), false), (None, false)] {
            let orders = Orders::default();
            orders.give("1", Order { grace: longest, ..Order::of_shutdown(0) });
            assert_eq!(orders.hurries("1", 30).now_or_never().is_some(), hurries, "{longest:?}");
            assert!(orders.hurries("2", 30).now_or_never().is_none() && orders.take("1").is_some());
        }
    }
}
