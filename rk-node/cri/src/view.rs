//! Records as CRI messages, and filters over them.

use std::collections::HashMap;

use rk_cri_api::v1::{
    Container, ContainerFilter, ContainerResources, ContainerState, ContainerStatus, ContainerUser, ImageSpec,
    LinuxContainerUser, LinuxPodSandboxStatus, Namespace, PodIp, PodSandbox, PodSandboxFilter, PodSandboxNetworkStatus,
    PodSandboxState, PodSandboxStatus, Signal,
};

use crate::record::{ContainerRecord, Phase, SandboxRecord};
use crate::signal;

pub(crate) fn sandbox_state(record: &SandboxRecord) -> PodSandboxState {
    if record.phase == Phase::Ready { PodSandboxState::SandboxReady } else { PodSandboxState::SandboxNotready }
}

pub(crate) fn sandbox_status(record: &SandboxRecord) -> PodSandboxStatus {
    let options = record
        .config
        .linux
        .as_ref()
        .and_then(|l| l.security_context.as_ref())
        .and_then(|s| s.namespace_options.clone());
    let mut ips = record.ips.iter().map(ToString::to_string);
    PodSandboxStatus {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: sandbox_state(record).into(),
        created_at: record.created_at,
        network: Some(PodSandboxNetworkStatus {
            ip: ips.next().unwrap_or_default(),
            additional_ips: ips.map(|ip| PodIp { ip }).collect(),
        }),
        linux: Some(LinuxPodSandboxStatus { namespaces: Some(Namespace { options }) }),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.runtime_handler.clone(),
    }
}

pub(crate) fn sandbox_item(record: &SandboxRecord) -> PodSandbox {
    PodSandbox {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: sandbox_state(record).into(),
        created_at: record.created_at,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.runtime_handler.clone(),
    }
}

/// The image by a name that people know, where it has one: a kubelet asks for it by its ID, and shows what it is told here.
fn named_image(record: &ContainerRecord) -> Option<ImageSpec> {
    let mut image = record.config.image.clone();
    if let Some(told) = image.as_mut().filter(|_| !record.image_tag.is_empty()) {
        told.image.clone_from(&record.image_tag);
    }
    image
}

pub(crate) fn container_status(record: &ContainerRecord) -> ContainerStatus {
    let ended = record.ended.clone().unwrap_or_default();
    let user = &record.user;
    ContainerStatus {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: record.state().into(),
        created_at: record.created_at,
        started_at: record.started_at,
        finished_at: ended.finished_at,
        exit_code: ended.code,
        image: named_image(record),
        image_ref: record.image_ref.clone(),
        image_id: record.image_id.clone(),
        reason: ended.reason,
        message: ended.message,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        mounts: record.config.mounts.clone(),
        log_path: record.log_path.as_ref().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default(),
        resources: Some(ContainerResources { linux: record.resources().cloned() }),
        user: Some(ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: user.uid.into(),
                gid: user.gid.into(),
                supplemental_groups: user.groups.iter().map(|gid| i64::from(*gid)).collect(),
            }),
        }),
        stop_signal: signal::to_cri(record.stop_signal).unwrap_or(Signal::Sigterm).into(),
    }
}

pub(crate) fn container_item(record: &ContainerRecord) -> Container {
    Container {
        id: record.id.clone(),
        pod_sandbox_id: record.sandbox.clone(),
        metadata: record.config.metadata.clone(),
        image: record.config.image.clone(),
        image_ref: record.image_ref.clone(),
        state: record.state().into(),
        created_at: record.created_at,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        image_id: record.image_id.clone(),
    }
}

/// Whether every wanted label is there.
pub(crate) fn labelled(labels: &HashMap<String, String>, wanted: &HashMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether an id is the wanted one or begins with it; an empty wish fits all.
pub(crate) fn has_id(id: &str, wanted: &str) -> bool {
    id.starts_with(wanted)
}

pub(crate) fn sandbox_fits(record: &SandboxRecord, filter: Option<&PodSandboxFilter>) -> bool {
    filter.is_none_or(|f| {
        has_id(&record.id, &f.id)
            && f.state.as_ref().is_none_or(|state| state.state() == sandbox_state(record))
            && labelled(&record.config.labels, &f.label_selector)
    })
}

pub(crate) fn container_fits(record: &ContainerRecord, filter: Option<&ContainerFilter>) -> bool {
    filter.is_none_or(|f| {
        has_id(&record.id, &f.id)
            && has_id(&record.sandbox, &f.pod_sandbox_id)
            && f.state.as_ref().is_none_or(|wanted| ContainerState::try_from(wanted.state) == Ok(record.state()))
            && labelled(&record.config.labels, &f.label_selector)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_the_image_by_its_tag_where_it_has_one_and_a_list_as_it_was_asked_for() {
        let asked = ImageSpec { image: "sha256:1".into(), user_specified_image: "app".into(), ..ImageSpec::default() };
        for (tag, told) in [("r.io/app:1", "r.io/app:1"), ("", "sha256:1")] {
            let mut record = ContainerRecord { image_tag: tag.to_owned(), ..ContainerRecord::default() };
            record.config.image = Some(asked.clone());
            let want = ImageSpec { image: told.to_owned(), ..asked.clone() };
            assert_eq!(
                (container_status(&record).image, container_item(&record).image),
                (Some(want), Some(asked.clone()))
            );
        }
        assert_eq!(
            container_status(&ContainerRecord { image_tag: "r.io/app:1".into(), ..Default::default() }).image,
            None
        );
    }
}
