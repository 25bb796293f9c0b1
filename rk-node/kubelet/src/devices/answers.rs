//! What plugins have answered for containers, in memory and on disk: containers begin again by it, also when this kubelet has begun anew and
//! the plugin is not back yet. What was answered before the machine started is forgotten: what the plugin did for it went with the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use rk_cri_api::v1 as cri;
use rk_plugin_api::device as api;
use serde::{Deserialize, Serialize};

use super::plugin::Plugin;
use super::state::Holder;
use crate::disk::{read_json, write_atomically};
use crate::numa::NodeMask;

/// What a plugin has answered for one container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// The devices that it is about.
    pub(super) ids: BTreeSet<String>,
    /// The memory nodes that these belong to, of those that have any.
    pub(super) places: BTreeMap<String, NodeMask>,
    /// The plugin hears of each beginning: without it there is none.
    pub(super) heard: bool,
    /// What the container needs.
    pub(super) needs: api::ContainerAllocateResponse,
}

/// All answers.
pub(super) type Answers = BTreeMap<Holder, Answer>;

/// An answer as the file has it.
#[derive(Serialize, Deserialize)]
struct Record {
    pod: String,
    container: String,
    resource: String,
    ids: BTreeSet<String>,
    places: BTreeMap<String, u64>,
    heard: bool,
    /// The message in base64.
    needs: String,
}

/// Answers of one boot.
#[derive(Serialize, Deserialize)]
struct Saved {
    boot: String,
    answers: Vec<Record>,
}

impl Answer {
    /// From a plugin, about these devices.
    pub(super) fn of(plugin: &Plugin, ids: &BTreeSet<String>, needs: api::ContainerAllocateResponse) -> Self {
        let place = |id: &String| Some((id.clone(), *plugin.places.get(id).filter(|place| place.count() > 0)?));
        let places = ids.iter().filter_map(place).collect();
        Self { ids: ids.clone(), places, heard: plugin.options.pre_start_required, needs }
    }

    /// Adds what the container needs to its configuration.
    pub(super) fn add_to(self, config: &mut cri::ContainerConfig) {
        let needs = self.needs;
        config.envs.extend(needs.envs.into_iter().map(|(key, value)| cri::KeyValue { key, value: value.into_bytes() }));
        config.annotations.extend(needs.annotations);
        config.mounts.extend(needs.mounts.into_iter().map(|m| cri::Mount {
            container_path: m.container_path,
            host_path: m.host_path,
            readonly: m.read_only,
            ..Default::default()
        }));
        config.devices.extend(needs.devices.into_iter().map(|d| cri::Device {
            container_path: d.container_path,
            host_path: d.host_path,
            permissions: d.permissions,
        }));
        config.cdi_devices.extend(needs.cdi_devices.into_iter().map(|d| cri::CdiDevice { name: d.name }));
    }

    fn record(&self, (pod, container, resource): &Holder) -> Record {
        Record {
            pod: pod.clone(),
            container: container.clone(),
            resource: resource.clone(),
            ids: self.ids.clone(),
            places: self.places.iter().map(|(id, place)| (id.clone(), place.0)).collect(),
            heard: self.heard,
            needs: STANDARD.encode(self.needs.encode_to_vec()),
        }
    }
}

impl Record {
    /// `None` for one that was not written by [`Answer::record`].
    fn answer(self) -> Option<(Holder, Answer)> {
        let needs = STANDARD.decode(&self.needs).ok()?;
        let needs = api::ContainerAllocateResponse::decode(needs.as_slice()).ok()?;
        let places = self.places.into_iter().map(|(id, place)| (id, NodeMask(place))).collect();
        let answer = Answer { ids: self.ids, places, heard: self.heard, needs };
        Some(((self.pod, self.container, self.resource), answer))
    }
}

/// The memory nodes of a device, as they were when a container got it.
pub(super) fn place(answers: &Answers, resource: &str, id: &str) -> Option<NodeMask> {
    let mut of_resource = answers.iter().filter(|((.., of), _)| of == resource);
    of_resource.find_map(|(_, answer)| answer.places.get(id)).copied()
}

/// The answers of this boot; none when they cannot be read, since a plugin may be asked again.
pub(super) fn read(path: &Path, boot: &str) -> Answers {
    match read_json::<Saved>(path) {
        Ok(Some(saved)) if saved.boot == boot => saved.answers.into_iter().filter_map(Record::answer).collect(),
        Ok(_) => Answers::new(),
        Err(error) => {
            tracing::warn!("the answers of device plugins cannot be read, they are asked anew: {error}");
            Answers::new()
        }
    }
}

/// Replaces what is on disk.
pub(super) fn write(path: &Path, boot: &str, answers: &Answers) -> io::Result<()> {
    let answers = answers.iter().map(|(holder, answer)| answer.record(holder)).collect();
    let text = serde_json::to_vec(&Saved { boot: boot.to_owned(), answers }).map_err(io::Error::other)?;
    // What plugins want in environments may be secret.
    write_atomically(path, &text, 0o600)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::super::manager::{ANSWERS, CHECKPOINT, Devices, RESOURCES};
    use super::*;
    use crate::node::boot_id;
    use crate::pod::spec;

    const LAMP: &str = "example.com/lamp";

    fn answer(heard: bool) -> (Holder, Answer) {
        let device = api::DeviceSpec {
            container_path: "/dev/lamp".into(),
            host_path: "/dev/a".into(),
            permissions: "rw".into(),
        };
        let needs = api::ContainerAllocateResponse {
            envs: [("LAMP".to_owned(), "a".to_owned())].into(),
            devices: vec![device],
            ..Default::default()
        };
        let answer =
            Answer { ids: ["a".to_owned()].into(), places: [("a".to_owned(), NodeMask(2))].into(), heard, needs };
        (("old".to_owned(), "c".to_owned(), LAMP.to_owned()), answer)
    }

    #[test]
    fn answers_outlive_the_kubelet_and_not_the_boot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ANSWERS);
        assert_eq!(read(&path, "this"), Answers::new());
        let answers = Answers::from([answer(true)]);
        write(&path, "this", &answers).unwrap();
        assert_eq!(read(&path, "this"), answers);
        assert_eq!(read(&path, "the next"), Answers::new());
        assert_eq!(place(&answers, LAMP, "a"), Some(NodeMask(2)));
        assert_eq!((place(&answers, LAMP, "b"), place(&answers, "other", "a")), (None, None));
        std::fs::write(&path, b"{\"boot\": \"th").unwrap();
        assert_eq!(read(&path, "this"), Answers::new(), "plugins are asked anew");
    }

    #[tokio::test]
    async fn a_container_begins_again_by_what_its_plugin_answered_before_the_kubelet_began_anew() {
        let container = json!({"name": "c", "resources": {"limits": {LAMP: "1"}}});
        let pod = json!({"metadata": {"uid": "old"}, "spec": {"containers": [container]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        for (holds, heard, begins) in [("a", false, true), ("a", true, false), ("b", false, false)] {
            let dir = tempfile::tempdir().unwrap();
            let own = dir.path().join("device-plugins");
            std::fs::create_dir(&own).unwrap();
            std::fs::write(own.join(RESOURCES), json!([LAMP]).to_string()).unwrap();
            std::fs::write(own.join(CHECKPOINT), json!({"old": {"c": {LAMP: [holds]}}}).to_string()).unwrap();
            write(&own.join(ANSWERS), &boot_id(), &Answers::from([answer(heard)])).unwrap();
            let devices = Devices::open(dir.path());
            assert_eq!(devices.place(LAMP, "a"), NodeMask(2), "told though the plugin is away");
            let mut config = cri::ContainerConfig::default();
            let begun = devices.provide(&pod, &spec::app_containers(&pod)[0], &mut config).await;
            assert_eq!(
                (begun.is_ok(), config.devices.len()),
                (begins, usize::from(begins)),
                "{holds} {heard} {begun:?}"
            );
            devices.keep(&BTreeSet::new());
            assert_eq!(read(&own.join(ANSWERS), &boot_id()), Answers::new(), "the pod has gone");
        }
    }
}
