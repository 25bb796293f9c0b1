//! Cluster IPs and node ports of Services.
//!
//! What is taken is read from the Services in the cache; what is chosen but not yet stored is held in memory by a [`Reservation`].
//! Beside them every address has its IPAddress object ([`records`]), whose creation is atomic where several servers share a store;
//! [`keeper`] repairs these objects and looks after the ServiceCIDRs that the ranges come from ([`ranges`]).

mod addresses;
mod families;
mod keeper;
mod ports;
mod ranges;
mod records;
mod service;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use ipnet::IpNet;
use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::status::Status;
use serde_json::Value;

use crate::config::Config;
use crate::server::Core;

pub use keeper::{default_range, run as run_keeper, settle};
use records::{Owner, owner_of};

/// How often a choice is repeated because another server took the address at the same moment.
const ATTEMPTS: usize = 32;

/// What is taken: by stored Services or by reservations.
#[derive(Debug, Default)]
struct Taken {
    addresses: HashSet<IpAddr>,
    ports: HashSet<u16>,
}

/// What was chosen for changes that are not stored yet. Those of one Service that race hold the same: each for itself, so that none of
/// them lets go for the others.
#[derive(Debug, Default)]
struct Pending {
    last: u64,
    held: HashMap<u64, Holding>,
    /// Addresses whose records belong to changes that came to nothing.
    returned: Vec<(Owner, HashSet<IpAddr>)>,
}

/// What one change holds.
#[derive(Debug)]
struct Holding {
    own: Taken,
    /// Addresses whose records are made, or found, for it: those of them that the Service did not have.
    claimed: HashSet<IpAddr>,
}

impl Pending {
    fn hold(&mut self, own: Taken, claimed: HashSet<IpAddr>) -> u64 {
        self.last += 1;
        self.held.insert(self.last, Holding { own, claimed });
        self.last
    }

    /// Lets go of what a change holds; returns the addresses that it claimed.
    fn release(&mut self, id: u64) -> HashSet<IpAddr> {
        self.held.remove(&id).map(|held| held.claimed).unwrap_or_default()
    }

    /// Every address that is claimed.
    fn claimed(&self) -> HashSet<IpAddr> {
        self.held.values().flat_map(|held| held.claimed.iter().copied()).collect()
    }

    fn all(&self) -> Taken {
        let mut all = Taken::default();
        for held in self.held.values() {
            all.addresses.extend(&held.own.addresses);
            all.ports.extend(&held.own.ports);
        }
        all
    }
}

/// Gives out cluster IPs and node ports.
pub struct ServiceAllocator {
    /// The ranges of the server's own settings.
    own_ranges: Vec<IpNet>,
    node_ports: RangeInclusive<u16>,
    /// Addresses that only the server itself may take: the DNS Service's until it exists.
    held_back: HashSet<IpAddr>,
    /// One allocation at a time.
    gate: tokio::sync::Mutex<()>,
    pending: Mutex<Pending>,
    /// That the default ServiceCIDR is not what the settings say was told.
    mismatch_told: AtomicBool,
}

/// Addresses and ports that were chosen for a Service that is not stored yet; free again when dropped.
#[derive(Default)]
#[must_use]
pub struct Reservation(Option<Held>);

struct Held {
    core: Arc<Core>,
    owner: Owner,
    /// Under which it is pending.
    id: u64,
    /// Addresses that the Service gives up when it is stored.
    given_up: HashSet<IpAddr>,
}

fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reservation {
    /// The Service is stored: from now on the cache tells what it holds.
    pub async fn keep(mut self) {
        let Some(Held { core, owner, id, given_up }) = self.0.take() else { return };
        lock(&core.services.pending).release(id);
        if !given_up.is_empty() {
            let _gate = core.services.gate.lock().await;
            core.services.give_up(&core, given_up, &owner).await;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(Held { core, owner, id, .. }) = self.0.take() else { return };
        let mut pending = lock(&core.services.pending);
        let claimed = pending.release(id);
        if claimed.is_empty() {
            return;
        }
        // The write failed, or its caller is gone. Whoever has the gate next takes them back, and somebody has it soon.
        pending.returned.push((owner, claimed));
        drop(pending);
        let task = async move {
            let _gate = core.services.gate.lock().await;
            core.services.take_back(&core).await;
        };
        tokio::spawn(task.boxed());
    }
}

/// Whether a resource is that of Services.
pub fn is_service(hub: &Resource) -> bool {
    hub.gvk.group.is_empty() && hub.plural == "services"
}

impl ServiceAllocator {
    /// An allocator for the configured ranges.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            own_ranges: config.service_cidrs.clone(),
            node_ports: config.node_ports.clone(),
            held_back: config.dns_ip.into_iter().collect(),
            gate: tokio::sync::Mutex::default(),
            pending: Mutex::default(),
            mismatch_told: AtomicBool::default(),
        }
    }

    /// Completes a Service on its way to the store: families, cluster IPs and node ports. Other kinds pass untouched. A dry run
    /// records and holds nothing.
    ///
    /// # Errors
    /// 422 when what was asked for is taken or out of range, 500 when nothing is left to choose.
    pub async fn reserve(
        &self,
        core: &Arc<Core>,
        hub: &Resource,
        object: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Reservation, Status> {
        if !is_service(hub) {
            return Ok(Reservation::default());
        }
        if old.is_none() {
            check_name(hub, object)?;
        }
        let usable =
            ranges::usable(&core.objects("networking.k8s.io", "v1", "servicecidrs", "").await?, &self.own_ranges);
        let cluster = service::Cluster::new(&self.own_ranges, usable, self.node_ports.clone());
        // Order matters: a reservation that is gone from `pending` by now belongs to a write that `fresh` waits for.
        let _gate = self.gate.lock().await;
        self.take_back(core).await;
        let mut taken = lock(&self.pending).all();
        core.storage.fresh().await?;
        // Had only now: a cache from before may have ended meanwhile, and never has what was waited for.
        let cache = core.cache("", "v1", "services").await?;
        let owner = owner_of(object);
        for service in cache.snapshot("", 0, |_| true).objects {
            // A new one of a name that is taken is another Service.
            let own = old.is_some() && (&*service.namespace, &*service.name) == (owner.0.as_str(), owner.1.as_str());
            if !own {
                taken.add(service.addressing());
            }
        }
        if owner.0 != "kube-system" {
            taken.addresses.extend(&self.held_back);
        }
        if let Some(old) = old {
            // What the Service has may be held by another change of it that is under way.
            taken.forget(old);
        }
        let before: HashSet<IpAddr> = old.map(addresses::of).unwrap_or_default().into_iter().collect();
        for _ in 0..ATTEMPTS {
            let mut candidate = object.clone();
            let own = service::complete(&mut candidate, old, &cluster, &taken)?;
            let fresh: Vec<IpAddr> = own.addresses.difference(&before).copied().collect();
            if dry_run {
                *object = candidate;
                return Ok(Reservation::default());
            }
            let given_up = before.difference(&own.addresses).copied().collect();
            // Held before it is claimed, so that what was claimed by then is returned if this ends early.
            let id = lock(&self.pending).hold(own, fresh.iter().copied().collect());
            let reservation = Reservation(Some(Held { core: Arc::clone(core), owner: owner.clone(), id, given_up }));
            let Some(lost) = claim(core, &fresh, &owner).await? else {
                *object = candidate;
                return Ok(reservation);
            };
            taken.addresses.insert(lost);
            drop(reservation);
            self.take_back(core).await;
        }
        Err(Status::internal("no address of the Service ranges could be claimed; others take them faster"))
    }

    /// Removes the records of what was returned. To be done with the gate in hand, before anything is chosen.
    async fn take_back(&self, core: &Core) {
        loop {
            let Some((owner, claimed)) = lock(&self.pending).returned.pop() else { return };
            self.give_up(core, claimed, &owner).await;
        }
    }

    /// Removes the records of addresses, but for those that the Service, or another one of its name, has by now or is about to have. To be
    /// done with the gate in hand.
    async fn give_up(&self, core: &Core, addresses: HashSet<IpAddr>, owner: &Owner) {
        let mut kept = lock(&self.pending).claimed();
        match records::addresses_of(core, owner).await {
            Ok(stored) => kept.extend(stored),
            Err(status) => return tracing::warn!(%status, "records of addresses stay until they are repaired"),
        }
        records::release(core, &addresses - &kept, owner).await;
    }

    /// A Service is gone: so are the records of its addresses. Other kinds pass.
    pub async fn release(&self, core: &Core, hub: &Resource, object: &Value) {
        if is_service(hub) {
            let _gate = self.gate.lock().await;
            self.give_up(core, addresses::of(object).into_iter().collect(), &owner_of(object)).await;
        }
    }
}

/// A name that is none is told before an address is written down for it, and alone: upstream's server as well asks for it first.
fn check_name(hub: &Resource, service: &Value) -> Result<(), Status> {
    let mut errors = rk_api::validate::metadata(hub, service);
    errors.0.retain(|error| error.path == "metadata.name");
    if errors.is_empty() || !service::takes_addresses(service) {
        return Ok(());
    }
    Err(Status::invalid("", "Service", meta::name(service), &errors.0))
}

/// Records addresses for a Service; answers the first that another one holds.
async fn claim(core: &Core, addresses: &[IpAddr], owner: &Owner) -> Result<Option<IpAddr>, Status> {
    for address in addresses {
        if !records::claim(core, *address, owner).await? {
            return Ok(Some(*address));
        }
    }
    Ok(None)
}

impl Taken {
    /// Counts what a stored Service holds.
    fn add(&mut self, service: &Value) {
        self.addresses.extend(addresses::of(service));
        self.ports.extend(ports::of(service));
    }

    /// Leaves out what a stored Service holds.
    fn forget(&mut self, service: &Value) {
        for address in addresses::of(service) {
            self.addresses.remove(&address);
        }
        for port in ports::of(service) {
            self.ports.remove(&port);
        }
    }
}

#[cfg(test)]
mod tests {
    use rk_api::resources::Registry;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_asked_for_its_name_before_it_gets_an_address() {
        let registry = Registry::builtin();
        let services = registry.get("", "v1", "services").unwrap();
        let missing = "Service \"\" is invalid: metadata.name: Required value: name or generateName is required";
        for (name, spec, want) in [
            ("a", json!({}), None),
            ("1-a", json!({}), None),
            ("", json!({}), Some(missing)),
            (
                "a.b",
                json!({}),
                Some("Service \"a.b\" is invalid: metadata.name: Invalid value: \"a.b\": must not contain dots"),
            ),
            // These are told of it with all else.
            ("a.b", json!({"clusterIP": "None"}), None),
            ("a.b", json!({"type": "ExternalName"}), None),
        ] {
            let service = json!({"metadata": {"name": name}, "spec": spec});
            let told = check_name(services, &service).err().map(|status| status.message);
            assert_eq!(told.as_deref(), want, "{service}");
        }
    }

    #[test]
    fn what_several_changes_hold_is_held_until_the_last_of_them_is_over() {
        let own = || Taken { addresses: HashSet::from(["10.96.0.9".parse().unwrap()]), ports: HashSet::from([30080]) };
        let mut pending = Pending::default();
        let claimed = own().addresses;
        let (one, other) = (pending.hold(own(), HashSet::new()), pending.hold(own(), claimed.clone()));
        assert!(pending.release(one).is_empty(), "what the Service had stays with it");
        assert_eq!(pending.claimed(), claimed);
        assert_eq!((pending.all().addresses, pending.all().ports), (own().addresses, own().ports));
        assert_eq!(pending.release(other), claimed);
        assert!(pending.all().addresses.is_empty() && pending.all().ports.is_empty() && pending.held.is_empty());
    }

    #[test]
    fn what_a_service_has_is_not_taken_from_it() {
        let ports = json!([{"port": 80, "nodePort": 30080}, {"port": 81, "protocol": "UDP", "nodePort": 30081}]);
        let service =
            json!({"spec": {"clusterIPs": ["10.96.0.9", "fd00::9"], "ports": ports, "healthCheckNodePort": 30082}});
        let other = json!({"spec": {"clusterIPs": ["10.96.0.8"], "ports": [{"port": 80, "nodePort": 30083}]}});
        let mut taken = Taken::default();
        taken.add(&service);
        taken.add(&other);
        assert_eq!((taken.addresses.len(), taken.ports.len()), (3, 4));
        taken.forget(&service);
        assert_eq!(taken.addresses, HashSet::from(["10.96.0.8".parse().unwrap()]));
        assert_eq!(taken.ports, HashSet::from([30083]));
    }
}
