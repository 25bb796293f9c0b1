//! Cluster IPs and node ports of Services.
//!
//! Nothing is recorded beside the Services themselves: what is taken is read from the cache, so there is nothing to repair after
//! a crash, and what is chosen but not yet stored is held in memory by a [`Reservation`].

mod addresses;
mod families;
mod ports;
mod service;

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use rk_api::resources::Resource;
use rk_api::status::Status;
use serde_json::Value;

use crate::config::Config;
use crate::server::Core;

/// What is taken: by stored Services or by reservations.
#[derive(Debug, Default, Clone)]
struct Taken {
    addresses: HashSet<IpAddr>,
    ports: HashSet<(String, u16)>,
}

/// Gives out cluster IPs and node ports.
pub struct ServiceAllocator {
    ranges: Vec<IpNet>,
    node_ports: RangeInclusive<u16>,
    /// Addresses that only the server itself may take: the DNS Service's until it exists.
    held_back: HashSet<IpAddr>,
    /// One allocation at a time.
    gate: tokio::sync::Mutex<()>,
    pending: Arc<Mutex<Taken>>,
}

/// Addresses and ports that were chosen for a Service that is not stored yet; free again when dropped.
#[derive(Default)]
#[must_use]
pub struct Reservation {
    pending: Option<Arc<Mutex<Taken>>>,
    own: Taken,
}

fn lock(pending: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reservation {
    /// The Service is stored: from now on the cache tells what it holds.
    pub fn keep(self) {}
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(pending) = &self.pending {
            let mut pending = lock(pending);
            for address in &self.own.addresses {
                pending.addresses.remove(address);
            }
            for port in &self.own.ports {
                pending.ports.remove(port);
            }
        }
    }
}

impl ServiceAllocator {
    /// An allocator for the configured ranges.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            ranges: config.service_cidrs.clone(),
            node_ports: config.node_ports.clone(),
            held_back: config.dns_ip.into_iter().collect(),
            gate: tokio::sync::Mutex::default(),
            pending: Arc::default(),
        }
    }

    /// Completes a Service on its way to the store: families, cluster IPs and node ports. Other kinds pass untouched.
    ///
    /// # Errors
    /// 422 when what was asked for is taken, out of range or used up.
    pub async fn reserve(
        &self,
        core: &Core,
        hub: &Resource,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<Reservation, Status> {
        if !hub.gvk.group.is_empty() || hub.plural != "services" {
            return Ok(Reservation::default());
        }
        let cache = core.cache("", "v1", "services").await?;
        // Order matters: a reservation that is gone from `pending` by now belongs to a write that `fresh` waits for.
        let _gate = self.gate.lock().await;
        let pending = lock(&self.pending).clone();
        let floor = core.storage.fresh().await?;
        let mut taken = pending;
        let own_key = (rk_api::meta::namespace(object).to_owned(), rk_api::meta::name(object).to_owned());
        for service in cache.snapshot("", floor, |_| true).objects {
            if (&*service.namespace, &*service.name) != (own_key.0.as_str(), own_key.1.as_str()) {
                taken.add(&service.select);
            }
        }
        if own_key.0 != "kube-system" {
            taken.addresses.extend(&self.held_back);
        }
        let own = service::complete(object, old, &self.ranges, self.node_ports.clone(), &taken)?;
        let mut pending = lock(&self.pending);
        pending.addresses.extend(&own.addresses);
        pending.ports.extend(own.ports.iter().cloned());
        Ok(Reservation { pending: Some(Arc::clone(&self.pending)), own })
    }
}

impl Taken {
    /// Counts what a stored Service holds.
    fn add(&mut self, service: &Value) {
        self.addresses.extend(addresses::of(service));
        self.ports.extend(ports::of(service));
    }
}
