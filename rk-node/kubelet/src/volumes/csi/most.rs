//! How many volumes of a driver the node takes, asked anew where its object wants that (KEP-4876).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::storage::v1::CSIDriver;
use kube::Client;
use rk_watch::{Event, Selection, follow};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::drivers::Drivers;
use super::node_object::NodeObject;

/// How often the clock is looked at while any driver wants to be asked.
const PERIOD: Duration = Duration::from_secs(1);

/// Who wants to be asked, how often, and when that was done last.
#[derive(Default)]
struct Asked {
    periods: BTreeMap<String, Duration>,
    last: BTreeMap<String, Instant>,
}

impl Asked {
    fn note(&mut self, name: &str, seconds: Option<i64>) {
        match seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0) {
            Some(seconds) => {
                self.periods.insert(name.to_owned(), Duration::from_secs(seconds));
            }
            None => self.forget(name),
        }
    }

    fn forget(&mut self, name: &str) {
        self.periods.remove(name);
        self.last.remove(name);
    }

    /// Takes an event over.
    fn hear(&mut self, event: &Event<CSIDriver>) {
        match event {
            Event::Listed(driver) | Event::Applied(driver) => {
                let name = driver.metadata.name.as_deref().unwrap_or_default();
                self.note(name, driver.spec.node_allocatable_update_period_seconds);
            }
            Event::Deleted(driver) => self.forget(driver.metadata.name.as_deref().unwrap_or_default()),
            Event::Vanished(key) => self.forget(&key.name),
            Event::Begin => self.periods.clear(),
            Event::Complete => self.last.retain(|name, _| self.periods.contains_key(name)),
            Event::Unread(_) => {}
        }
    }

    /// Those that are to be asked now; one that is new has just told when it registered. `full` ones are asked at once.
    fn due(&mut self, full: impl Fn(&str) -> bool, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        for (name, period) in &self.periods {
            let last = self.last.entry(name.clone()).or_insert(now);
            if full(name) || now.duration_since(*last) >= *period {
                *last = now;
                due.push(name.clone());
            }
        }
        due
    }
}

/// Keeps the node's object true for ever.
pub async fn most_loop(client: Client, drivers: Drivers, object: NodeObject) {
    let mut events = follow::<CSIDriver>(client, Selection::default());
    let (mut asked, mut ticks, mut unsaid) = (Asked::default(), interval(PERIOD), false);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => asked.hear(&event),
                None => return,
            },
            _ = ticks.tick(), if !asked.periods.is_empty() => {
                let full = drivers.take_full();
                let due = asked.due(|name| full.contains(name), Instant::now());
                unsaid = ask(&drivers, &object, &due, unsaid).await;
            }
        }
    }
}

/// Asks those drivers and says what is news, or was not said before: true while that cannot be said.
async fn ask(drivers: &Drivers, object: &NodeObject, due: &[String], mut unsaid: bool) -> bool {
    for name in due {
        // Most are not on this node.
        if drivers.get(name).is_err() {
            continue;
        }
        match drivers.ask_most(name).await {
            Ok(news) => unsaid |= news,
            Err(problem) => {
                tracing::warn!(driver = %name, "how many volumes the node takes is not known anew: {problem}");
            }
        }
    }
    if !unsaid || due.is_empty() {
        return unsaid;
    }
    let told = object.write().await;
    told.inspect_err(|problem| tracing::warn!("how many volumes the node takes is not told: {problem}")).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rk_watch::ObjectKey;
    use serde_json::json;

    #[tokio::test]
    async fn drivers_are_asked_at_the_pace_that_their_objects_want() {
        let driver = |seconds: Option<i64>| -> CSIDriver {
            let spec = json!({"nodeAllocatableUpdatePeriodSeconds": seconds});
            serde_json::from_value(json!({"metadata": {"name": "d"}, "spec": spec})).unwrap()
        };
        let (mut asked, begin) = (Asked::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        asked.hear(&Event::Listed(driver(None)));
        assert!(asked.due(|_| true, at(1000)).is_empty());
        asked.hear(&Event::Applied(driver(Some(10))));
        let mut due = |seconds: u64, full: bool| asked.due(|_| full, at(seconds)).len();
        assert_eq!([due(0, false), due(9, false), due(10, false), due(11, false)], [0, 0, 1, 0]);
        assert_eq!([due(12, true), due(20, false), due(22, false)], [1, 0, 1]);
        for end in [Event::Vanished(ObjectKey::cluster("d")), Event::Deleted(driver(Some(10))), Event::Begin] {
            asked.hear(&Event::Applied(driver(Some(10))));
            asked.hear(&end);
            assert!(asked.due(|_| true, at(1000)).is_empty(), "{end:?}");
        }
    }

    #[tokio::test]
    async fn what_could_not_be_said_is_said_when_a_driver_is_asked_again() {
        let (sender, mut calls) = tokio::sync::mpsc::unbounded_channel();
        let api = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let _ = sender.send(request.uri().path().to_owned());
            std::future::ready(Err::<http::Response<kube::client::Body>, tower::BoxError>("nobody is there".into()))
        });
        let drivers = Drivers::default();
        let object = NodeObject::new(Client::new(api, "default"), "n".to_owned(), drivers.clone());
        let due = ["elsewhere".to_owned()];
        assert!(!ask(&drivers, &object, &due, false).await);
        assert!(ask(&drivers, &object, &[], true).await, "it is not time yet");
        assert!(calls.try_recv().is_err());
        assert!(ask(&drivers, &object, &due, true).await);
        assert_eq!(calls.try_recv().as_deref(), Ok("/api/v1/nodes/n"));
    }
}
