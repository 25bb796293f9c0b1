//! The loop: watch, plan what changed, apply.

use rk_lenient::Lenient;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, stream::BoxStream};
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Service as KubeService, discovery::v1::EndpointSlice};
use kube::{Client, ResourceExt};
use rk_watch::{Event, ObjectKey, Selection, follow};
use tokio::sync::watch;

use crate::{
    conntrack::Frontends,
    health::HealthServers,
    kernel::Kernel,
    model::{HEADLESS, PROXY_NAME, Service, ServiceKey, Slice},
    plan::{Node, Plan, plan},
    state::{Changes, State},
    status::{self, Pace},
};

/// How often the tables are looked at, in case somebody else changed them.
const RESYNC: Duration = Duration::from_secs(60);
/// Wait after a transaction that the kernel refused.
const RETRY: Duration = Duration::from_secs(2);
/// Events taken into one transaction; more than this and the first ones would wait too long.
const MAX_COALESCED: usize = 10_000;

/// Settings of the proxy.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// This node's name.
    pub node_name: String,
    /// This node's addresses.
    pub node_ips: Vec<IpAddr>,
    /// Pods' networks of the whole cluster.
    pub pod_cidrs: Vec<IpNet>,
    /// ClusterIPs that are served otherwise: the cluster DNS address.
    pub skip: Vec<IpAddr>,
}

/// The label of a node that names its zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// What the API says of this node; it may change at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Its zone ([`ZONE`]), if any.
    pub zone: Option<String>,
    /// It is being deleted, or marked for that: load balancers hear that it takes no new connections.
    pub leaving: bool,
}

/// Why the proxy ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// nftables cannot be used at all.
    #[error("nftables is not usable on this node")]
    Nftables(#[from] rk_nft::Error),
}

/// Runs until it is dropped, and goes by `place` as it changes. API failures are retried for ever; rules stay as they are meanwhile, and
/// also after a drop.
pub async fn run(client: Client, config: Config, place: watch::Receiver<Place>) -> Result<(), Error> {
    let only_ours = Selection::labels(format!("!{HEADLESS},!{PROXY_NAME}"));
    let services = follow(client.clone(), only_ours.clone());
    let slices = follow(client, only_ours);
    let mut proxy = Proxy::new(config.clone(), Kernel::open(config.pod_cidrs)?);
    let _told = status::start(proxy.pace.subscribe());
    proxy.run(services, slices, place).await
}

type Watch<K> = BoxStream<'static, Event<K>>;

struct Proxy {
    node: Node,
    node_ips: Vec<IpAddr>,
    kernel: Kernel,
    services: Mirror<Service>,
    /// By namespace and name of the slice.
    slices: Mirror<Slice>,
    slices_of: HashMap<ServiceKey, BTreeSet<ServiceKey>>,
    dirty: HashSet<ServiceKey>,
    state: State,
    health: HealthServers,
    pace: watch::Sender<Pace>,
    /// The tables are known to hold the state.
    synced: bool,
}

impl Proxy {
    fn new(config: Config, kernel: Kernel) -> Self {
        let Config { node_name, node_ips, pod_cidrs, skip } = config;
        let pace = watch::Sender::new(Pace::default());
        Self {
            node: Node { name: node_name, zone: None, pod_cidrs, skip },
            node_ips,
            kernel,
            services: Mirror::default(),
            slices: Mirror::default(),
            slices_of: HashMap::new(),
            dirty: HashSet::new(),
            state: State::default(),
            health: HealthServers::new(pace.subscribe()),
            pace,
            synced: false,
        }
    }

    async fn run(
        &mut self,
        mut services: Watch<Lenient<KubeService>>,
        mut slices: Watch<EndpointSlice>,
        mut place: watch::Receiver<Place>,
    ) -> Result<(), Error> {
        place.mark_changed();
        let mut resync = tokio::time::interval(RESYNC);
        let mut retry = None;
        loop {
            let wait = async {
                match retry {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(event) = services.next() => self.service_event(event),
                Some(event) = slices.next() => self.slice_event(event),
                // Once nobody tells any more, what was told last holds.
                Ok(()) = place.changed() => self.moved(place.borrow_and_update().clone()),
                _ = resync.tick() => self.look(),
                () = wait => {}
            }
            // Whatever has arrived meanwhile goes into the same transaction.
            for _ in 0..MAX_COALESCED {
                if let Some(Some(event)) = services.next().now_or_never() {
                    self.service_event(event);
                } else if let Some(Some(event)) = slices.next().now_or_never() {
                    self.slice_event(event);
                } else {
                    break;
                }
            }
            retry = None;
            if self.services.complete
                && self.slices.complete
                && let Err(error) = self.sync()
            {
                tracing::warn!(%error, cause = ?std::error::Error::source(&error), "service rules could not be applied; will replace them all");
                self.synced = false;
                retry = Some(tokio::time::Instant::now() + RETRY);
            }
        }
    }

    /// Hints of zones are read anew where the node is in another one.
    fn moved(&mut self, place: Place) {
        self.pace.send_modify(|pace| pace.leaving = place.leaving);
        if self.node.zone != place.zone {
            self.node.zone = place.zone;
            self.dirty.extend(self.services.objects.keys().cloned());
        }
    }

    fn look(&mut self) {
        if self.synced && !self.kernel.intact(&self.state).unwrap_or(false) {
            tracing::warn!("service rules were changed by somebody else; replacing them");
            self.synced = false;
        }
    }

    /// Plans what is dirty and applies the difference.
    fn sync(&mut self) -> Result<(), rk_nft::Error> {
        if self.synced && self.dirty.is_empty() {
            return Ok(());
        }
        // Before the kernel is asked: it may take its time, or fail.
        self.pace.send_modify(|pace| pace.wait(Instant::now()));
        let mut changes = Changes::default();
        let (mut udp, mut health) = (!self.synced, !self.synced);
        for key in std::mem::take(&mut self.dirty) {
            let new = self.services.objects.get(&key).map(|service| self.plan(service));
            let udp_of = |plan: Option<&Plan>| plan.map(|p| (p.v4.udp.clone(), p.v6.udp.clone())).unwrap_or_default();
            udp |= udp_of(self.state.plan(&key)) != udp_of(new.as_ref());
            health |=
                self.state.plan(&key).and_then(|p| p.health.as_ref()) != new.as_ref().and_then(|p| p.health.as_ref());
            self.state.set(&key, new, &mut changes);
        }
        if self.synced {
            self.kernel.apply(changes)?;
        } else {
            self.kernel.replace(&self.state)?;
            self.synced = true;
            tracing::info!(services = self.services.objects.len(), "service rules are in place");
        }
        if health {
            self.health.sync(&self.state);
        }
        if udp {
            self.kernel.forget_stale(&Frontends::new(&self.state, &self.node_ips))?;
        }
        self.pace.send_modify(|pace| pace.done(Timestamp::now()));
        Ok(())
    }

    fn plan(&self, service: &Service) -> Plan {
        let names = self.slices_of.get(&service.key).into_iter().flatten();
        let slices: Vec<&Slice> = names.filter_map(|name| self.slices.objects.get(name)).collect();
        plan(service, &slices, &self.node)
    }

    fn service_event(&mut self, event: Event<Lenient<KubeService>>) {
        let changed = self.services.event(event, |service| Service::read(service));
        self.dirty.extend(changed.into_iter().map(|(key, _)| key));
    }

    fn slice_event(&mut self, event: Event<EndpointSlice>) {
        for (name, old) in self.slices.event(event, Slice::read) {
            if let Some(Slice { service, .. }) = old {
                if let Some(names) = self.slices_of.get_mut(&service) {
                    names.remove(&name);
                    if names.is_empty() {
                        self.slices_of.remove(&service);
                    }
                }
                self.dirty.insert(service);
            }
            if let Some(slice) = self.slices.objects.get(&name) {
                self.slices_of.entry(slice.service.clone()).or_default().insert(name);
                self.dirty.insert(slice.service.clone());
            }
        }
    }
}

/// The objects of one watch, reduced.
struct Mirror<V> {
    objects: HashMap<ServiceKey, V>,
    /// Names seen since a list began.
    listed: Option<HashSet<ServiceKey>>,
    /// A list has been read to its end.
    complete: bool,
}

impl<V> Default for Mirror<V> {
    fn default() -> Self {
        Self { objects: HashMap::new(), listed: None, complete: false }
    }
}

impl<V: PartialEq> Mirror<V> {
    /// Takes an event in; answers with what changed and how it was before.
    fn event<O: ResourceExt>(&mut self, event: Event<O>, read: fn(&O) -> Option<V>) -> Vec<(ServiceKey, Option<V>)> {
        match event {
            Event::Applied(object) => self.apply(&object, read).into_iter().collect(),
            Event::Listed(object) => {
                self.listed.get_or_insert_default().insert(key(&object));
                self.apply(&object, read).into_iter().collect()
            }
            Event::Deleted(object) => self.gone(key(&object)),
            Event::Vanished(key) => self.gone(named(key)),
            Event::Unread(key) => {
                self.listed.iter_mut().for_each(|listed| listed.extend([named(key.clone())]));
                Vec::new()
            }
            Event::Begin => {
                self.listed = Some(HashSet::new());
                Vec::new()
            }
            Event::Complete => {
                self.complete = true;
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<ServiceKey> = self.objects.keys().filter(|key| !listed.contains(key)).cloned().collect();
                gone.into_iter().map(|key| (key.clone(), self.objects.remove(&key))).collect()
            }
        }
    }

    fn gone(&mut self, key: ServiceKey) -> Vec<(ServiceKey, Option<V>)> {
        self.objects.remove(&key).map(|old| (key, Some(old))).into_iter().collect()
    }

    fn apply<O: ResourceExt>(&mut self, object: &O, read: fn(&O) -> Option<V>) -> Option<(ServiceKey, Option<V>)> {
        let key = key(object);
        let new = read(object);
        if self.objects.get(&key) == new.as_ref() {
            return None;
        }
        let old = match new {
            Some(new) => self.objects.insert(key.clone(), new),
            None => self.objects.remove(&key),
        };
        Some((key, old))
    }
}

fn named(key: ObjectKey) -> ServiceKey {
    ServiceKey { namespace: key.namespace, name: key.name }
}

fn key<O: ResourceExt>(object: &O) -> ServiceKey {
    ServiceKey { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}
