//! The claims of the node's pods: prepared before anything of a pod begins, handed to its containers, taken back after its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::Api;
use rk_cri_api::v1 as cri;
use rk_plugin_api::dra::v1 as api;
use tokio::sync::{Notify, OwnedMutexGuard};

use super::drivers::Drivers;
use super::names::{self, Named};
use super::plugin::{Plugin, done};
use super::statuses::statuses;
use super::table::{Claim, Device, Table, key};
use crate::api_error;
use crate::devices::DeviceHealth;
use crate::disk::{read_or_default, write_atomically};
use crate::meters::Meters;
use crate::pod::spec;

#[cfg(test)]
mod tests;

/// Upstream's name of the checkpoint.
const CHECKPOINT: &str = "dra_manager_state";
/// Longest question about a claim.
const ASK: Duration = Duration::from_secs(30);

/// What is asked of one driver: its plugin, and the claims.
type Batches = BTreeMap<String, (Plugin, Vec<api::Claim>)>;

#[derive(Default)]
struct State {
    table: Table,
    /// Who prepares a claim or takes it back does that alone.
    turns: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
}

/// All claims; clones share them.
#[derive(Clone)]
pub struct Claims {
    path: PathBuf,
    client: kube::Client,
    drivers: Drivers,
    meters: Arc<Meters>,
    state: Arc<Mutex<State>>,
}

/// A claim of a container, as monitors are told of it.
pub struct Told {
    /// The claim's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its devices, each with its driver.
    pub devices: Vec<(String, Device)>,
}

/// A claim that a pod is to have, and the plugins of its drivers.
struct Wanted {
    claim: Claim,
    plugins: BTreeMap<String, Plugin>,
}

/// A claim as plugins are asked for it.
fn asked(claim: &Claim) -> api::Claim {
    api::Claim { namespace: claim.namespace.clone(), uid: claim.uid.clone(), name: claim.name.clone() }
}

fn device(device: api::Device) -> Device {
    Device {
        pool_name: device.pool_name,
        device_name: device.device_name,
        share: device.share_id,
        request_names: device.request_names,
        cdi_ids: device.cdi_device_ids,
    }
}

/// Notes that a pod has these claims; what is to be asked for those that are not prepared, and what names them.
fn refer(table: &mut Table, pod: &str, wanted: Vec<Wanted>) -> Result<(Batches, BTreeSet<String>), String> {
    let (mut batches, mut unprepared) = (Batches::new(), BTreeSet::new());
    for Wanted { claim, plugins } in wanted {
        let (key, request) = (claim.key(), asked(&claim));
        if !table.refer(pod, claim)? {
            continue;
        }
        unprepared.insert(key);
        for (driver, plugin) in plugins {
            batches.entry(driver).or_insert_with(|| (plugin, Vec::new())).1.push(request.clone());
        }
    }
    Ok((batches, unprepared))
}

impl Claims {
    /// The claims of a node's pods, with what was prepared before. `kubelet` is the kubelet's directory.
    pub fn open(kubelet: &Path, client: kube::Client, node: &str, meters: Arc<Meters>) -> Self {
        let path = kubelet.join(CHECKPOINT);
        let drivers = Drivers::new(client.clone(), node.to_owned(), meters.clone());
        let state = State { table: read_or_default(&path, "claims are prepared anew"), ..Default::default() };
        Self { path, client, drivers, meters, state: Arc::new(Mutex::new(state)) }
    }

    /// The drivers that prepare them.
    pub fn drivers(&self) -> &Drivers {
        &self.drivers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table, and keeps the change once it is on disk.
    fn change<T>(&self, change: impl FnOnce(&mut Table) -> Result<T, String>) -> Result<T, String> {
        let mut state = self.state();
        let mut table = state.table.clone();
        let done = change(&mut table)?;
        let text = serde_json::to_vec(&table).map_err(|error| error.to_string())?;
        let saved = write_atomically(&self.path, &text, 0o600);
        saved.map_err(|error| format!("checkpoint ResourceClaim state: {error}"))?;
        state.table = table;
        Ok(done)
    }

    /// Waits until nobody else is at these claims. Whoever wants several takes them in the same order.
    async fn turns(&self, keys: &BTreeSet<String>) -> Vec<OwnedMutexGuard<()>> {
        let mut held = Vec::new();
        for key in keys {
            let turn = self.state().turns.entry(key.clone()).or_default().clone();
            held.push(turn.lock_owned().await);
        }
        held
    }

    /// Has the claims of a pod prepared, those that are not. That the pod has them is known before a driver is asked.
    ///
    /// # Errors
    /// The pod cannot have one of them, or not now; in upstream's words.
    pub async fn prepare(&self, pod: &Pod) -> Result<(), String> {
        let begun = Instant::now();
        let named = names::all(pod);
        if named.as_ref().is_ok_and(BTreeSet::is_empty) {
            return Ok(());
        }
        let prepared = match named {
            Ok(named) => self.prepare_all(pod, named).await,
            Err(problem) => Err(problem),
        };
        self.meters.claims.operated("PrepareResources", prepared.is_ok(), begun.elapsed());
        prepared.map_err(|problem| format!("prepare dynamic resources: {problem}"))
    }

    async fn prepare_all(&self, pod: &Pod, named: BTreeSet<Named>) -> Result<(), String> {
        let mut wanted = Vec::new();
        // Nothing is noted before all are known to be possible: a pod that cannot have them ends without a question to a driver.
        for named in named {
            wanted.push(self.want(pod, named).await?);
        }
        let keys: BTreeSet<String> = wanted.iter().map(|wanted| wanted.claim.key()).collect();
        let _turns = self.turns(&keys).await;
        let (batches, unprepared) = self.change(|table| refer(table, spec::uid(pod), wanted))?;
        let mut prepared = Vec::new();
        for (driver, (plugin, claims)) in batches {
            let mut answers = plugin.prepare(claims.clone()).await?;
            let told = answers.iter().map(|(uid, answer)| (uid.as_str(), answer.error.as_str()));
            done("NodePrepareResources", &claims, told)?;
            for claim in claims {
                let devices = answers.remove(&claim.uid).map(|answer| answer.devices).unwrap_or_default();
                let devices: Vec<Device> = devices.into_iter().map(device).collect();
                prepared.push((key(&claim.namespace, &claim.name), driver.clone(), devices));
            }
        }
        if unprepared.is_empty() {
            return Ok(());
        }
        self.change(|table| {
            prepared.into_iter().for_each(|(key, driver, devices)| table.note(&key, &driver, devices));
            table.prepared(unprepared.iter());
            Ok(())
        })
    }

    /// A claim as the API has it, if the pod may have it, and the plugins of its drivers.
    async fn want(&self, pod: &Pod, named: Named) -> Result<Wanted, String> {
        let (namespace, name) = (spec::namespace(pod), named.name.as_str());
        let api: Api<ResourceClaim> = Api::namespaced(self.client.clone(), namespace);
        let found = match tokio::time::timeout(ASK, api.get(name)).await {
            Ok(found) => found.map_err(|error| api_error::text(&error)),
            Err(_) => Err(format!("no answer within {ASK:?}")),
        };
        let found = found.map_err(|problem| format!("fetch ResourceClaim {name}: {problem}"))?;
        let mut plugins = BTreeMap::new();
        for driver in names::drivers(pod, &named, &found)? {
            let plugin = self.drivers.get(&driver)?;
            plugins.insert(driver, plugin);
        }
        let claim = Claim {
            uid: found.metadata.uid.unwrap_or_default(),
            name: named.name,
            namespace: namespace.to_owned(),
            drivers: plugins.keys().map(|driver| (driver.clone(), Vec::new())).collect(),
            ..Default::default()
        };
        Ok(Wanted { claim, plugins })
    }

    /// Has drivers take back what this pod is the last one on the node to have.
    ///
    /// # Errors
    /// A driver does not, or is not here; in upstream's words.
    pub async fn unprepare(&self, pod: &str) -> Result<(), String> {
        let keys = self.state().table.of_pod(pod);
        if keys.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let done = self.take_back(pod, &keys).await;
        self.meters.claims.operated("UnprepareResources", done.is_ok(), begun.elapsed());
        done.map_err(|problem| format!("unprepare dynamic resources: {problem}"))
    }

    async fn take_back(&self, pod: &str, keys: &BTreeSet<String>) -> Result<(), String> {
        let turns = self.turns(keys).await;
        // Whoever shares one of them later has it prepared anew, if this fails halfway.
        self.state().table.doubt_last_of(pod);
        let mut batches: BTreeMap<String, Vec<api::Claim>> = BTreeMap::new();
        for claim in self.state().table.last_of(pod) {
            for driver in claim.drivers.keys() {
                batches.entry(driver.clone()).or_default().push(asked(claim));
            }
        }
        for (driver, claims) in batches {
            let answers = self.drivers.get(&driver)?.unprepare(claims.clone()).await?;
            let told = answers.iter().map(|(uid, answer)| (uid.as_str(), answer.error.as_str()));
            done("NodeUnprepareResources", &claims, told)?;
        }
        self.change(|table| {
            table.leave(pod);
            Ok(())
        })?;
        drop(turns);
        let mut state = self.state();
        let State { table, turns } = &mut *state;
        // Whoever waits for a turn has it in hand.
        turns.retain(|key, turn| Arc::strong_count(turn) > 1 || table.has(key));
        Ok(())
    }

    /// Whether this pod has all of its claims already, and all of their devices are known.
    pub fn are_held(&self, pod: &Pod) -> bool {
        let (state, uid) = (self.state(), spec::uid(pod));
        let is_held = |named: &Named| {
            let claim = state.table.get(spec::namespace(pod), &named.name);
            claim.is_some_and(|claim| claim.whole && claim.pods.contains(uid))
        };
        names::all(pod).is_ok_and(|named| named.iter().all(is_held))
    }

    /// Whether drivers have yet to take something back of this pod.
    pub fn has_any(&self, pod: &str) -> bool {
        self.state().table.all().any(|claim| claim.pods.contains(pod))
    }

    /// Adds to the configuration of a container the devices of the claims that it uses, as far as it uses them.
    ///
    /// # Errors
    /// A claim was not prepared.
    pub fn provide(&self, pod: &Pod, container: &Container, config: &mut cri::ContainerConfig) -> Result<(), String> {
        let namespace = spec::namespace(pod);
        for (name, requests) in names::used_by(pod, container)? {
            let state = self.state();
            let claim = state.table.get(namespace, &name).filter(|claim| claim.whole).ok_or_else(|| {
                format!("internal error: unable to get claim info for ResourceClaim {name} in namespace {namespace}")
            })?;
            let used = claim.devices().filter(|(_, device)| requests.iter().any(|request| device.is_for(request)));
            for id in used.flat_map(|(_, device)| &device.cdi_ids) {
                if !config.cdi_devices.iter().any(|known| known.name == *id) {
                    config.cdi_devices.push(cri::CdiDevice { name: id.clone() });
                }
            }
        }
        Ok(())
    }

    /// The claims that a container uses.
    pub fn told(&self, pod: &Pod, container: &Container) -> Vec<Told> {
        let namespace = spec::namespace(pod);
        let (state, names) = (self.state(), names::used_by(pod, container).unwrap_or_default());
        let told = |claim: &Claim| Told {
            name: claim.name.clone(),
            namespace: claim.namespace.clone(),
            devices: claim.devices().map(|(driver, device)| (driver.to_owned(), device.clone())).collect(),
        };
        names.keys().filter_map(|name| state.table.get(namespace, name)).map(told).collect()
    }

    /// Adds how the devices of claims are that the containers of a pod use.
    pub fn add_health(&self, pod: &Pod, health: &mut DeviceHealth) {
        if !self.has_any(spec::uid(pod)) {
            return;
        }
        let state = self.state();
        for container in spec::app_containers(pod) {
            let told = statuses(pod, container, &state.table, |driver, device| {
                self.drivers.health(driver, &device.pool_name, &device.device_name)
            });
            if !told.is_empty() {
                health.entry(container.name.clone()).or_default().extend(told);
            }
        }
    }

    /// Notified, for one who listens, when a driver has registered, or devices have become better or worse.
    pub fn turned(&self) -> Arc<Notify> {
        self.drivers.turned()
    }

    /// The pods that have claims.
    pub fn holders(&self) -> BTreeSet<String> {
        self.state().table.all().flat_map(|claim| claim.pods.iter().cloned()).collect()
    }

    /// How many claims pods have, by the drivers of their devices, and under `<any>` altogether.
    pub fn in_use(&self) -> BTreeMap<String, usize> {
        self.state().table.in_use()
    }
}
