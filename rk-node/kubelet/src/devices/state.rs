//! What is known of plugins and of who holds what, and what a new pod may have of it now. Values only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::answers::Answers;
use super::draft::wanted;
use super::manager::is_extended;
use super::plugin::Plugin;
use super::table::{Table, passing};
use crate::pod::spec;

/// How long the devices of a plugin that has gone are still counted; upstream's `endpointStopGracePeriod`.
const GRACE: Duration = Duration::from_secs(5 * 60);

/// Who holds devices of a resource: pod, container, resource.
pub(super) type Holder = (String, String, String);

/// The holder that a container is of a resource.
pub(super) fn holder(pod: &Pod, container: &Container, resource: &str) -> Holder {
    (spec::uid(pod).to_owned(), container.name.clone(), resource.to_owned())
}

/// Plugins and what is held of them.
#[derive(Default)]
pub(super) struct State {
    pub(super) plugins: BTreeMap<String, Plugin>,
    pub(super) table: Table,
    pub(super) registrations: u64,
    /// Resources that plugins have brought, also before this kubelet began.
    pub(super) known: BTreeSet<String>,
    /// When this kubelet began.
    pub(super) begun: Option<Instant>,
    /// One allocation of a resource at a time: choosing asks its plugin in between, which may take its time.
    pub(super) turns: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
    /// Held when the pod was admitted, before the plugin was asked which it prefers.
    pub(super) unasked: BTreeSet<Holder>,
    /// What plugins have answered for containers, which begin again by it.
    pub(super) answers: Answers,
}

/// What a container asks for that plugins may bring, and how much of it.
pub(super) fn wants<'a>(pod: &Pod, container: &'a Container) -> Vec<(&'a str, usize)> {
    let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
    let names = limits.into_iter().flat_map(|limits| limits.keys()).map(String::as_str);
    names
        .filter(|name| is_extended(name))
        .map(|name| (name, wanted(pod, container, name)))
        .filter(|want| want.1 > 0)
        .collect()
}

impl State {
    /// Whether the plugin of a resource has been away for so long that its devices count no more. One that has not come since this
    /// kubelet began went then.
    fn has_lapsed(&self, resource: &str, now: Instant) -> bool {
        let gone = self.plugins.get(resource).map_or(self.begun, |plugin| plugin.gone);
        gone.is_some_and(|since| now.saturating_duration_since(since) > GRACE)
    }

    /// Devices of each resource: all of them, and those that work.
    pub(super) fn amounts(&self, now: Instant) -> BTreeMap<String, (usize, usize)> {
        let of = |name: &String| match self.plugins.get(name).filter(|_| !self.has_lapsed(name, now)) {
            Some(plugin) => (plugin.devices.len(), plugin.healthy().len()),
            None => (0, 0),
        };
        self.known.iter().map(|name| (name.clone(), of(name))).collect()
    }

    /// Resources whose plugins are away for good and of which nobody holds anything: no device manager knows them any more.
    pub(super) fn lapsed(&self, now: Instant) -> BTreeSet<String> {
        let lapsed = self.known.iter().filter(|name| self.has_lapsed(name, now) && self.table.taken(name).is_empty());
        lapsed.cloned().collect()
    }

    /// Whether the devices are there that the containers of a pod ask for; containers that hold theirs are not asked again. With
    /// `aligned`, devices that have places are left to who thinks them over with the pod's CPUs and memory.
    ///
    /// # Errors
    /// Why not, in upstream's words.
    pub(super) fn could(&self, pod: &Pod, aligned: bool, now: Instant) -> Result<(), String> {
        let mut table = self.table.clone();
        for container in spec::init_containers(pod).iter().chain(spec::app_containers(pod)) {
            for want in wants(pod, container) {
                let left = aligned && self.plugins.get(want.0).is_some_and(Plugin::is_placed);
                if !left && self.known.contains(want.0) {
                    self.take(&mut table, (pod, container), want, now)?;
                }
            }
        }
        Ok(())
    }

    /// Takes what a container asks for of one resource from the table.
    fn take(
        &self,
        table: &mut Table,
        (pod, container): (&Pod, &Container),
        (resource, wanted): (&str, usize),
        now: Instant,
    ) -> Result<(), String> {
        let uid = spec::uid(pod);
        if table.of(uid, &container.name, resource).is_some() {
            return Ok(());
        }
        if self.has_lapsed(resource, now) {
            // Without a holder it is a resource like any other, of which the node has none.
            let held = !self.table.taken(resource).is_empty();
            return if held { Err(format!("cannot allocate unregistered device {resource}")) } else { Ok(()) };
        }
        let again = table.reusable(uid, &container.name, resource, &passing(pod));
        let healthy = self.plugins.get(resource).map(Plugin::healthy).unwrap_or_default();
        let ids = table.choose(resource, &healthy, wanted, &[], &again)?;
        table.hold(uid, &container.name, resource, ids);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rk_plugin_api::device as api;
    use serde_json::json;

    const LAMP: &str = "example.com/lamp";

    fn pod(uid: &str, of_init: usize, of_app: usize) -> Pod {
        let asks =
            |name: &str, number: usize| json!({"name": name, "resources": {"limits": {LAMP: number.to_string()}}});
        let spec = json!({"initContainers": [asks("i", of_init)], "containers": [asks("c", of_app)]});
        serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": spec})).unwrap()
    }

    fn plugin(devices: &[(&str, &str)], nodes: &[i64]) -> Plugin {
        let nodes: Vec<_> = nodes.iter().map(|id| api::NumaNode { id: *id }).collect();
        let topology = Some(api::TopologyInfo { nodes }).filter(|topology| !topology.nodes.is_empty());
        let device = |(id, health): &(&str, &str)| api::Device {
            id: (*id).to_owned(),
            health: (*health).to_owned(),
            topology: topology.clone(),
        };
        let mut plugin = Plugin::new(1, rk_cri_api::connect("/nowhere"), api::DevicePluginOptions::default(), None);
        plugin.take(devices.iter().map(device).collect());
        plugin
    }

    fn state(plugin: Option<Plugin>, begun: Instant) -> State {
        let plugins = plugin.into_iter().map(|plugin| (LAMP.to_owned(), plugin)).collect();
        State { plugins, known: [LAMP.to_owned()].into(), begun: Some(begun), ..Default::default() }
    }

    #[tokio::test]
    async fn a_new_pod_has_devices_that_work_and_of_a_plugin_that_is_here() {
        let (begun, two) = (Instant::now(), [("a", "Healthy"), ("b", "Healthy"), ("c", "Unhealthy")]);
        let none = Err("no healthy devices present; cannot allocate unhealthy devices example.com/lamp".to_owned());
        let few = |wanted: usize, left: usize| {
            let what = "requested number of devices unavailable for example.com/lamp.";
            Err(format!("{what} Requested: {wanted}, Available: {left}"))
        };
        for (plugin, of_init, of_app, want) in [
            (None, 0, 1, none.clone()),
            (None, 0, 0, Ok(())),
            (Some(plugin(&[("a", "Unhealthy")], &[])), 0, 1, none),
            (Some(plugin(&two, &[])), 0, 2, Ok(())),
            (Some(plugin(&two, &[])), 2, 2, Ok(())),
            (Some(plugin(&two, &[])), 1, 3, few(3, 2)),
        ] {
            let shown = format!("{plugin:?} {of_init} {of_app}");
            assert_eq!(state(plugin, begun).could(&pod("p", of_init, of_app), false, begun), want, "{shown}");
        }
        let mut held = state(Some(plugin(&two, &[])), begun);
        held.table.hold("other", "c", LAMP, ["a".to_owned()].into());
        assert_eq!(held.could(&pod("p", 0, 2), false, begun), few(2, 1));
        held.table.hold("p", "c", LAMP, ["a".to_owned(), "b".to_owned()].into());
        held.plugins.clear();
        assert_eq!(held.could(&pod("p", 0, 2), false, begun), Ok(()), "it has what it asks for, and may run");
        let placed = state(Some(plugin(&two, &[0])), begun);
        let judged = [false, true].map(|aligned| placed.could(&pod("p", 0, 3), aligned, begun));
        assert_eq!(judged, [few(3, 2), Ok(())]);
        let mapping = json!({"containerName": "c", "resourceName": LAMP, "requestName": "r"});
        let mut claimed = pod("p", 0, 3);
        let status = json!({"extendedResourceClaimStatus": {"resourceClaimName": "p-x", "requestMappings": [mapping]}});
        claimed.status = Some(serde_json::from_value(status).unwrap());
        assert_eq!(placed.could(&claimed, false, begun), Ok(()), "its driver has given them");
        let unknown = State::default();
        assert_eq!(unknown.could(&pod("p", 0, 1), false, begun), Ok(()), "what others advertise");
    }

    #[tokio::test]
    async fn devices_of_a_plugin_that_has_gone_are_counted_for_five_minutes() {
        let gone = Instant::now();
        let (soon, late) = (gone + GRACE, gone + GRACE + Duration::from_secs(1));
        let mut away = plugin(&[("a", "Healthy")], &[]);
        away.go(gone);
        for (plugin, all) in [(Some(away), 1), (None, 0)] {
            let mut state = state(plugin, gone);
            let counted = |state: &State, now: Instant| state.amounts(now).get(LAMP).copied();
            assert_eq!((counted(&state, soon), counted(&state, late)), (Some((all, 0)), Some((0, 0))));
            assert!(state.lapsed(soon).is_empty() && state.lapsed(late).contains(LAMP));
            assert!(state.could(&pod("p", 0, 1), false, soon).unwrap_err().starts_with("no healthy devices present"));
            assert_eq!(state.could(&pod("p", 0, 1), false, late), Ok(()), "there are none of it to be counted");
            state.table.hold("other", "c", LAMP, ["a".to_owned()].into());
            let unregistered = Err("cannot allocate unregistered device example.com/lamp".to_owned());
            assert_eq!(state.could(&pod("p", 0, 1), false, late), unregistered);
            assert!(state.lapsed(late).is_empty());
        }
    }

    #[tokio::test]
    async fn a_plugin_that_registers_again_has_its_devices_until_it_tells_others() {
        let mut former = plugin(&[("a", "Healthy")], &[1]);
        former.go(Instant::now());
        let (channel, options) = (rk_cri_api::connect("/nowhere"), api::DevicePluginOptions::default());
        let again = Plugin::new(2, channel, options, Some(&former));
        assert_eq!((again.devices.get("a"), again.gone), (Some(&false), None));
        assert_eq!(again.places, former.places);
    }
}
