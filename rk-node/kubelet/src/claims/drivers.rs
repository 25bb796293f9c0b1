//! The DRA drivers that have registered on this node, each with its plugins: while a driver is replaced by a newer one, both are here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use rk_plugin_api::dra_health::DeviceHealth;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::health::{self, Known, Wellbeing};
use super::plugin::{Plugin, Service};
use super::{presence, slices};
use crate::meters::Meters;

/// How long a driver may be away before the node offers its devices no more; upstream's `defaultWipingDelay`.
const GRACE: Duration = Duration::from_secs(30);

/// A plugin, and whether somebody is behind its socket.
struct Instance {
    plugin: Plugin,
    here: bool,
    _watches: [AbortOnDropHandle<()>; 2],
}

#[derive(Default)]
struct State {
    /// By driver, in the order in which they came.
    instances: BTreeMap<String, Vec<Instance>>,
    /// What deletes the offers of drivers that are away, after a while.
    wipes: BTreeMap<String, AbortOnDropHandle<()>>,
    known: Known,
}

struct Inner {
    client: kube::Client,
    node: String,
    meters: Arc<Meters>,
    turned: Arc<Notify>,
    state: Mutex<State>,
}

/// All drivers; clones share them. What watches them goes with the last clone.
#[derive(Clone)]
pub struct Drivers(Arc<Inner>);

/// The one that is asked, of plugins in the order in which they came: the newest that is here, else the newest.
fn newest(here: impl DoubleEndedIterator<Item = bool> + ExactSizeIterator) -> Option<usize> {
    let last = here.len().checked_sub(1)?;
    here.enumerate().rev().find(|(_, here)| *here).map(|(index, _)| index).or(Some(last))
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the offers of a driver go some time if it is away, and stay if it is here.
    fn settle(&self, state: &mut State, driver: &str) {
        let here = state.instances.get(driver).is_some_and(|plugins| plugins.iter().any(|instance| instance.here));
        if here {
            state.wipes.remove(driver);
            return;
        }
        if state.wipes.get(driver).is_some_and(|wipe| !wipe.is_finished()) {
            return;
        }
        let (client, node, name) = (self.client.clone(), self.node.clone(), driver.to_owned());
        let wipe = async move {
            tokio::time::sleep(GRACE).await;
            tracing::info!(driver = %name, "a DRA driver is away: the node offers its devices no more");
            slices::wipe(client, node, Some(name)).await;
        };
        state.wipes.insert(driver.to_owned(), AbortOnDropHandle::new(tokio::spawn(wipe.boxed())));
    }

    /// Somebody is behind a plugin's socket, or nobody any more.
    fn seen(&self, driver: &str, endpoint: &Path, here: bool) {
        let mut state = self.state();
        let mut instances = state.instances.get_mut(driver).into_iter().flatten();
        let found = instances.find(|instance| instance.plugin.endpoint() == endpoint && instance.here != here);
        if let Some(instance) = found {
            instance.here = here;
            self.settle(&mut state, driver);
        }
    }

    /// A plugin tells how its devices are, or nothing any more.
    fn told(&self, driver: &str, devices: Option<Vec<DeviceHealth>>) {
        let changed = match devices {
            Some(devices) => self.state().known.take(driver, devices, Instant::now()),
            None => self.state().known.forget(driver),
        };
        if changed {
            self.turned.notify_one();
        }
    }
}

impl Drivers {
    /// None yet, on this node.
    pub(super) fn new(client: kube::Client, node: String, meters: Arc<Meters>) -> Self {
        let (turned, state) = (Arc::default(), Mutex::default());
        Self(Arc::new(Inner { client, node, meters, turned, state }))
    }

    /// Takes a plugin of a driver on, with the services that it has.
    ///
    /// # Errors
    /// Why not, in upstream's words.
    pub fn add(&self, driver: &str, endpoint: &Path, services: &[String]) -> Result<(), String> {
        let service = Service::choose(services).map_err(|problem| {
            let at = endpoint.display();
            format!("invalid supported gRPC versions of DRA driver plugin {driver} at endpoint {at}: {problem}")
        })?;
        let mut state = self.0.state();
        let instances = state.instances.entry(driver.to_owned()).or_default();
        if instances.iter().any(|instance| instance.plugin.endpoint() == endpoint) {
            return Err(format!("endpoint {} already registered for DRA driver plugin {driver}", endpoint.display()));
        }
        let plugin = Plugin::new(driver, endpoint, service, self.0.meters.clone());
        instances.push(Instance { _watches: self.watch(driver, &plugin), plugin, here: false });
        self.0.settle(&mut state, driver);
        self.0.turned.notify_one();
        Ok(())
    }

    /// What follows a plugin while it is registered: whether it is there, and how its devices are.
    fn watch(&self, driver: &str, plugin: &Plugin) -> [AbortOnDropHandle<()>; 2] {
        let drivers: Weak<Inner> = Arc::downgrade(&self.0);
        let (driver, endpoint) = (driver.to_owned(), plugin.endpoint().to_owned());
        let (of_presence, of_health) = ((drivers.clone(), driver.clone(), endpoint.clone()), (drivers, driver));
        let seen = move |here: bool| {
            let (drivers, driver, endpoint) = &of_presence;
            drivers.upgrade().map(|drivers| drivers.seen(driver, endpoint, here)).is_some()
        };
        let told = move |devices: Option<Vec<DeviceHealth>>| {
            let (drivers, driver) = &of_health;
            if let Some(drivers) = drivers.upgrade() {
                drivers.told(driver, devices);
            }
        };
        let presence = tokio::spawn(presence::watch(endpoint, seen).boxed());
        let health = tokio::spawn(health::follow(plugin.channel(), told).boxed());
        [presence, health].map(AbortOnDropHandle::new)
    }

    /// Forgets a plugin that has gone.
    pub fn remove(&self, driver: &str, endpoint: &Path) {
        let mut state = self.0.state();
        let Some(instances) = state.instances.get_mut(driver) else { return };
        instances.retain(|instance| instance.plugin.endpoint() != endpoint);
        if instances.is_empty() {
            state.instances.remove(driver);
            if state.known.forget(driver) {
                self.0.turned.notify_one();
            }
        }
        self.0.settle(&mut state, driver);
    }

    /// The plugin of a driver that is asked now.
    ///
    /// # Errors
    /// There is none, in upstream's words.
    pub(super) fn get(&self, driver: &str) -> Result<Plugin, String> {
        let state = self.0.state();
        let instances = state.instances.get(driver).map(Vec::as_slice).unwrap_or_default();
        let asked = newest(instances.iter().map(|instance| instance.here)).and_then(|index| instances.get(index));
        asked.map(|asked| asked.plugin.clone()).ok_or_else(|| format!("DRA driver {driver} is not registered"))
    }

    /// How a device is, as its driver told last.
    pub(super) fn health(&self, driver: &str, pool: &str, device: &str) -> Wellbeing {
        self.0.state().known.of(driver, pool, device, Instant::now())
    }

    /// Notified, for one who listens, when a driver has registered, or devices have become better or worse.
    pub(super) fn turned(&self) -> Arc<Notify> {
        self.0.turned.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    /// The drivers of node `n`, whose API notes what it is asked.
    fn drivers(asked: UnboundedSender<String>) -> Drivers {
        let api = tower::service_fn(move |request: http::Request<Body>| {
            let _ = asked.send(format!("{} {}", request.method(), request.uri()));
            let body = Body::from(br#"{"kind": "Status", "apiVersion": "v1", "status": "Success"}"#.to_vec());
            std::future::ready(Ok::<_, tower::BoxError>(http::Response::new(body)))
        });
        Drivers::new(kube::Client::new(api, "default"), "n".to_owned(), Arc::default())
    }

    #[test]
    fn the_newest_plugin_that_is_here_is_asked() {
        for (here, want) in [
            (&[] as &[bool], None),
            (&[false, false], Some(1)),
            (&[true, false], Some(0)),
            (&[true, true], Some(1)),
            (&[true, true, false], Some(1)),
        ] {
            assert_eq!(newest(here.iter().copied()), want, "{here:?}");
        }
    }

    #[tokio::test]
    async fn a_driver_that_is_replaced_is_registered_until_its_last_plugin_goes() {
        let (drivers, services) = (drivers(unbounded_channel().0), ["v1.DRAPlugin".to_owned()]);
        let [old, new] = ["/nowhere/old", "/nowhere/new"].map(Path::new);
        let asked = |drivers: &Drivers| drivers.get("d").map(|plugin| plugin.endpoint().to_owned());
        assert_eq!(asked(&drivers), Err("DRA driver d is not registered".to_owned()));
        drivers.add("d", old, &services).unwrap();
        let twice = drivers.add("d", old, &services);
        assert_eq!(twice, Err("endpoint /nowhere/old already registered for DRA driver plugin d".to_owned()));
        let refused = drivers.add("d", new, &[]).unwrap_err();
        let start = "invalid supported gRPC versions of DRA driver plugin d at endpoint /nowhere/new: empty list";
        assert!(refused.starts_with(start), "{refused}");
        drivers.add("d", new, &services).unwrap();
        assert_eq!(asked(&drivers).as_deref(), Ok(new));
        drivers.0.seen("d", old, true);
        assert_eq!(asked(&drivers).as_deref(), Ok(old), "the newer one is not there yet");
        drivers.remove("d", old);
        assert_eq!(asked(&drivers).as_deref(), Ok(new));
        drivers.remove("d", new);
        assert!(asked(&drivers).is_err());
    }

    #[tokio::test]
    async fn the_offers_of_a_driver_go_while_it_is_away_and_stay_while_it_is_here() {
        let (drivers, at) = (drivers(unbounded_channel().0), Path::new("/nowhere/d"));
        let due = |drivers: &Drivers| drivers.0.state().wipes.contains_key("d");
        drivers.add("d", at, &["v1beta1.DRAPlugin".to_owned()]).unwrap();
        assert!(due(&drivers), "nobody has been seen behind its socket");
        drivers.0.seen("d", at, true);
        assert!(!due(&drivers));
        drivers.0.seen("d", at, false);
        assert!(due(&drivers));
        drivers.0.seen("d", at, true);
        drivers.remove("d", at);
        assert!(due(&drivers));
    }

    #[tokio::test(start_paused = true)]
    async fn who_listens_hears_that_nothing_is_known_any_more_of_a_driver_that_has_gone() {
        let (drivers, at) = (drivers(unbounded_channel().0), Path::new("/nowhere/d"));
        let turned = drivers.turned();
        drivers.add("d", at, &["v1.DRAPlugin".to_owned()]).unwrap();
        turned.notified().await;
        drivers.0.told("d", Some(vec![DeviceHealth::default()]));
        turned.notified().await;
        drivers.remove("d", at);
        tokio::time::timeout(GRACE / 2, turned.notified()).await.expect("nobody is told");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_driver_offers_goes_half_a_minute_after_it_does() {
        let (asked, mut heard) = unbounded_channel();
        let drivers = drivers(asked);
        let begun = tokio::time::Instant::now();
        drivers.add("d", Path::new("/nowhere/d"), &["v1.DRAPlugin".to_owned()]).unwrap();
        let asked = heard.recv().await.unwrap();
        assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
        let of = |part: &str| asked.contains(part);
        assert!(of("DELETE /apis/resource.k8s.io/v1/resourceslices?"), "{asked}");
        assert!(of("fieldSelector=spec.driver%3Dd%2Cspec.nodeName%3Dn"), "{asked}");
    }
}
