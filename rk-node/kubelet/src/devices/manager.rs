//! The devices of the node and their allocation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_cri_api::v1 as cri;
use rk_plugin_api::device as api;
use tokio::sync::Notify;

use super::answers::{self, Answer, Answers};
use super::draft::DeviceDraft;
use super::health::{DeviceHealth, of_containers};
use super::plugin::Plugin;
use super::state::{State, holder, wants};
use super::table::{Held, Table, none_healthy, passing};
use crate::disk::{read_or_default, write_atomically};
use crate::node::boot_id;
use crate::numa::NodeMask;
use crate::pod::spec;

/// Where allocations are kept, beside the plugins' sockets.
pub(super) const CHECKPOINT: &str = "rk_allocations.json";
/// Which resources plugins have brought before: until they are back, nobody can have one.
pub(super) const RESOURCES: &str = "rk_resources.json";
/// What plugins have answered for containers.
pub(super) const ANSWERS: &str = "rk_answers.json";

/// All devices; clones share them.
#[derive(Clone)]
pub struct Devices {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
    /// Notified when devices have begun or ceased to work.
    turned: Arc<Notify>,
}

/// Whether a name is that of an extended resource, which plugins may bring.
pub fn is_extended(resource: &str) -> bool {
    resource.contains('/')
        && !resource.starts_with("requests.")
        && !resource.split('/').next().is_some_and(|d| d.ends_with("kubernetes.io"))
}

impl Devices {
    /// The devices of the plugins below `kubelet`, with the allocations of before.
    pub fn open(kubelet: &Path) -> Self {
        let dir = kubelet.join("device-plugins");
        let table = read_or_default(&dir.join(CHECKPOINT), "plugins are asked anew");
        let known = read_or_default(&dir.join(RESOURCES), "plugins tell anew what they bring");
        let answers = answers::read(&dir.join(ANSWERS), &boot_id());
        let state = State { table, known, answers, begun: Some(Instant::now()), ..Default::default() };
        Self { dir, state: Arc::new(Mutex::new(state)), turned: Arc::default() }
    }

    /// The directory of the plugins' sockets.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a plugin on and answers it with its generation.
    pub fn register(
        &self,
        resource: &str,
        channel: tonic::transport::Channel,
        options: api::DevicePluginOptions,
    ) -> Plugin {
        let mut state = self.state();
        state.registrations += 1;
        let plugin = Plugin::new(state.registrations, channel, options, state.plugins.get(resource));
        state.plugins.insert(resource.to_owned(), plugin.clone());
        if state.known.insert(resource.to_owned()) {
            let saved = serde_json::to_vec(&state.known).map_err(std::io::Error::other);
            let saved = saved.and_then(|text| write_atomically(&self.dir.join(RESOURCES), &text, 0o600));
            if let Err(error) = saved {
                tracing::warn!(resource, "the resource of a plugin is not noted: {error}");
            }
        }
        plugin
    }

    /// Takes a list of devices; false when another plugin has the resource by now.
    pub fn update(&self, resource: &str, generation: u64, devices: Vec<api::Device>) -> bool {
        let mut state = self.state();
        let Some(plugin) = state.plugins.get_mut(resource).filter(|p| p.generation == generation) else { return false };
        let before = std::mem::take(&mut plugin.devices);
        plugin.take(devices);
        if plugin.devices != before {
            self.turned.notify_one();
        }
        true
    }

    /// A plugin has gone: its devices do not work, and after a while they are not counted any more.
    pub fn gone(&self, resource: &str, generation: u64) {
        if let Some(plugin) = self.state().plugins.get_mut(resource).filter(|p| p.generation == generation) {
            plugin.go(Instant::now());
            self.turned.notify_one();
        }
    }

    /// Notified, for one who listens, when devices have begun or ceased to work.
    pub fn turned(&self) -> Arc<Notify> {
        self.turned.clone()
    }

    /// How the devices are that the containers of a pod hold. One that no plugin tells of is taken to work.
    pub fn health(&self, uid: &str) -> DeviceHealth {
        let state = self.state();
        let works = |resource: &str, id: &str| {
            state.plugins.get(resource).and_then(|plugin| plugin.devices.get(id)).copied().unwrap_or(true)
        };
        state.table.pod(uid).map(|held| of_containers(held, works)).unwrap_or_default()
    }

    /// Devices of each resource: all of them, and those that work.
    pub fn amounts(&self) -> BTreeMap<String, (usize, usize)> {
        self.state().amounts(Instant::now())
    }

    /// Resources whose plugins are away for good and of which nobody holds anything: the node has none of them.
    pub fn lapsed(&self) -> BTreeSet<String> {
        self.state().lapsed(Instant::now())
    }

    /// Whether the devices are there that a pod asks for which comes now. With `aligned`, those that have places are left to
    /// [`Self::draft`].
    ///
    /// # Errors
    /// Why not, in upstream's words.
    pub fn could(&self, pod: &Pod, aligned: bool) -> Result<(), String> {
        self.state().could(pod, aligned, Instant::now())
    }

    /// Adds the devices to the capacity of the node and to what pods may use.
    pub fn add_to(&self, capacity: &mut BTreeMap<String, Quantity>, allocatable: &mut BTreeMap<String, Quantity>) {
        for (name, (all, healthy)) in self.amounts() {
            capacity.insert(name.clone(), Quantity(all.to_string()));
            allocatable.insert(name, Quantity(healthy.to_string()));
        }
    }

    /// Devices that work, by resource.
    pub fn healthy(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.state().plugins.iter().map(|(name, plugin)| (name.clone(), plugin.healthy())).collect()
    }

    /// The memory nodes that a device belongs to; none when its plugin does not tell, or is away and the device nobody's.
    pub fn place(&self, resource: &str, id: &str) -> NodeMask {
        let state = self.state();
        let told = state.plugins.get(resource).and_then(|plugin| plugin.places.get(id)).copied();
        told.or_else(|| answers::place(&state.answers, resource, id)).unwrap_or_default()
    }

    /// What a pod is to get of the devices that have a place, to be thought over.
    pub fn draft(&self, nodes: NodeMask) -> DeviceDraft {
        let state = self.state();
        let placed = state.plugins.iter().map(|(name, plugin)| (name.clone(), plugin.placed())).collect();
        DeviceDraft::new(placed, nodes, state.table.clone())
    }

    /// Holds what was drafted for a pod; an error when somebody else took it meanwhile.
    pub fn commit(&self, pod: &str, draft: DeviceDraft) -> Result<(), String> {
        let (table, held) = draft.parts();
        let mut state = self.state();
        for (container, resource) in &held {
            let ids = table.of(pod, container, resource).cloned().unwrap_or_default();
            if state.table.taken_besides(pod, resource).iter().any(|taken| ids.contains(*taken)) {
                return Err(format!("devices of {resource} are in use by now"));
            }
            state.table.hold(pod, container, resource, ids);
            state.unasked.insert((pod.to_owned(), container.clone(), resource.clone()));
        }
        if held.is_empty() { Ok(()) } else { self.save(&state.table) }
    }

    /// What the containers of a pod hold.
    pub fn of_pod(&self, uid: &str) -> BTreeMap<String, Held> {
        self.state().table.pod(uid).cloned().unwrap_or_default()
    }

    fn holds(&self, pod: &Pod, container: &Container, resource: &str) -> bool {
        self.state().table.of(spec::uid(pod), &container.name, resource).is_some()
    }

    /// Gives the containers of a pod the devices that they ask for, before anything of it begins, and asks the plugins what is needed to
    /// use them. Containers that hold theirs while the plugin has not come back wait for it when they begin.
    ///
    /// # Errors
    /// There are too few, or a plugin is not here or does not give them.
    pub async fn allocate(&self, pod: &Pod) -> Result<(), String> {
        for container in spec::init_containers(pod).iter().chain(spec::app_containers(pod)) {
            for (resource, wanted) in wants(pod, container) {
                let plugin = match self.plugin(resource) {
                    // It was given devices before this kubelet began, and waits for their plugin as what runs does.
                    Err(_) if self.holds(pod, container, resource) => continue,
                    found => found.map_err(|_| none_healthy(resource))?,
                };
                let Some(plugin) = plugin else { continue };
                let ids = self.hold(pod, container, resource, &plugin, wanted).await?;
                self.answer((pod, container, resource), &plugin, &ids).await?;
            }
        }
        Ok(())
    }

    /// Adds to the configuration of a container what it needs to use the devices that it asks for, and tells their plugins that it begins.
    pub async fn provide(
        &self,
        pod: &Pod,
        container: &Container,
        config: &mut cri::ContainerConfig,
    ) -> Result<(), String> {
        for (resource, wanted) in wants(pod, container) {
            let plugin = match self.plugin(resource) {
                Err(away) => {
                    self.kept(pod, container, resource).ok_or(away)?.add_to(config);
                    continue;
                }
                Ok(None) => continue,
                Ok(Some(plugin)) => plugin,
            };
            let ids = self.hold(pod, container, resource, &plugin, wanted).await?;
            let of_plugin = |problem: String| format!("device plugin of {resource}: {problem}");
            let answer = self.answer((pod, container, resource), &plugin, &ids).await.map_err(of_plugin)?;
            let failed = |problem: String| format!("device plugin PreStartContainer rpc failed with err: {problem}");
            plugin.pre_start(&ids).await.map_err(failed)?;
            answer.add_to(config);
        }
        Ok(())
    }

    /// The plugin of a resource; what the operator advertises by hand has none.
    fn plugin(&self, resource: &str) -> Result<Option<Plugin>, String> {
        let state = self.state();
        match state.plugins.get(resource) {
            None if state.known.contains(resource) => {
                Err(format!("the device plugin of {resource} has not registered yet"))
            }
            plugin => Ok(plugin.cloned()),
        }
    }

    /// What a container needs to use its devices: asked of the plugin once, however often the container or the kubelet begins.
    async fn answer(
        &self,
        (pod, container, resource): (&Pod, &Container, &str),
        plugin: &Plugin,
        ids: &BTreeSet<String>,
    ) -> Result<Answer, String> {
        let holder = holder(pod, container, resource);
        let known = self.state().answers.get(&holder).filter(|known| known.ids == *ids).cloned();
        if let Some(answer) = known {
            return Ok(answer);
        }
        let answer = Answer::of(plugin, ids, plugin.allocate(ids).await?);
        let mut state = self.state();
        state.answers.insert(holder, answer.clone());
        self.save_answers(&state.answers);
        Ok(answer)
    }

    /// What is known of what a container needs while its plugin is away; nothing when that is to hear of each beginning.
    fn kept(&self, pod: &Pod, container: &Container, resource: &str) -> Option<Answer> {
        let state = self.state();
        let known = state.answers.get(&holder(pod, container, resource)).filter(|known| !known.heard)?;
        let held = state.table.of(spec::uid(pod), &container.name, resource)?;
        (known.ids == *held).then(|| known.clone())
    }

    async fn hold(
        &self,
        pod: &Pod,
        container: &Container,
        resource: &str,
        plugin: &Plugin,
        wanted: usize,
    ) -> Result<BTreeSet<String>, String> {
        let turn = self.state().turns.entry(resource.to_owned()).or_default().clone();
        let _turn = turn.lock().await;
        let uid = spec::uid(pod);
        let (held, unasked, again) = {
            let mut state = self.state();
            let key = holder(pod, container, resource);
            let again = state.table.reusable(uid, &container.name, resource, &passing(pod));
            (state.table.of(uid, &container.name, resource).cloned(), state.unasked.remove(&key), again)
        };
        let mut healthy = plugin.healthy();
        match &held {
            Some(held) if !unasked => return Ok(held.clone()),
            Some(held) => {
                // Only devices of the same places are as good as those that it has.
                let place = |id: &String| plugin.places.get(id).copied().unwrap_or_default();
                let places = NodeMask::of(held.iter().flat_map(|id| place(id).nodes()));
                healthy.retain(|id| held.contains(id) || (place(id).count() > 0 && places.holds(place(id))));
            }
            None => {}
        }
        let free: Vec<String> = {
            let state = self.state();
            let taken = state.table.taken(resource);
            let own = |id: &String| held.as_ref().is_some_and(|held| held.contains(id));
            healthy.iter().filter(|id| own(id) || again.contains(*id) || !taken.contains(id)).cloned().collect()
        };
        let kept: Vec<String> = again.iter().filter(|id| healthy.contains(*id)).take(wanted).cloned().collect();
        let preferred = match kept.len() == wanted {
            true => Vec::new(),
            false => plugin.preferred(free, kept, wanted).await?,
        };
        let mut state = self.state();
        if let Some(held) = held {
            if preferred.is_empty() {
                return Ok(held);
            }
            state.table.hold(uid, &container.name, resource, BTreeSet::new());
        }
        let ids = state.table.choose(resource, &healthy, wanted, &preferred, &again)?;
        state.table.hold(uid, &container.name, resource, ids.clone());
        self.save(&state.table)?;
        Ok(ids)
    }

    /// Takes the devices of all other pods back.
    pub fn keep(&self, pods: &BTreeSet<String>) {
        let mut state = self.state();
        let before = state.answers.len();
        state.answers.retain(|(pod, ..), _| pods.contains(pod));
        if state.answers.len() != before {
            self.save_answers(&state.answers);
        }
        state.unasked.retain(|(pod, ..)| pods.contains(pod));
        if state.table.keep(pods)
            && let Err(problem) = self.save(&state.table)
        {
            tracing::warn!("{problem}");
        }
    }

    fn save(&self, table: &Table) -> Result<(), String> {
        let text = serde_json::to_vec(table).map_err(|e| e.to_string())?;
        write_atomically(&self.dir.join(CHECKPOINT), &text, 0o600)
            .map_err(|e| format!("writing the allocations of devices: {e}"))
    }

    /// Without what is on disk a plugin is asked again when the kubelet begins anew, no more.
    fn save_answers(&self, answers: &Answers) {
        if let Err(error) = answers::write(&self.dir.join(ANSWERS), &boot_id(), answers) {
            tracing::warn!("the answers of device plugins are not noted: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LAMP: &str = "example.com/lamp";

    #[tokio::test]
    async fn who_holds_devices_waits_for_their_plugin_when_the_machine_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("device-plugins");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join(RESOURCES), json!([LAMP]).to_string()).unwrap();
        std::fs::write(own.join(CHECKPOINT), json!({"old": {"c": {LAMP: ["a"]}}}).to_string()).unwrap();
        let devices = Devices::open(dir.path());
        let container = json!({"name": "c", "resources": {"limits": {LAMP: "1"}}});
        for (uid, want) in [("old", Ok(())), ("new", Err(none_healthy(LAMP)))] {
            let pod = json!({"metadata": {"uid": uid}, "spec": {"containers": [container]}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(devices.could(&pod, false), want, "{uid}");
            assert_eq!(devices.allocate(&pod).await, want, "{uid}");
            let mut config = cri::ContainerConfig::default();
            let begun = devices.provide(&pod, &spec::app_containers(&pod)[0], &mut config).await;
            assert!(begun.unwrap_err().contains("has not registered yet"), "{uid}");
        }
    }

    #[test]
    fn nothing_is_known_of_who_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let devices = Devices::open(dir.path());
        let holder = |uid: &str| (uid.to_owned(), "c".to_owned(), LAMP.to_owned());
        devices.state().unasked.extend([holder("here"), holder("gone")]);
        devices.keep(&BTreeSet::from(["here".to_owned()]));
        assert_eq!(devices.state().unasked, BTreeSet::from([holder("here")]));
    }
}
