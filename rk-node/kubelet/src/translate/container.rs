//! The configuration of one container.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use rk_cri_api::v1 as cri;

use super::env::Environment;
use super::expand::expand;
use super::security::{self, Seccomp};
use crate::pod::spec;
use crate::resources::container_resources;
use crate::runtime;

/// What is known before a container is made.
pub struct ContainerInputs<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// Number of this instance.
    pub attempt: u32,
    /// Round of the pod that it is made in.
    pub round: u32,
    /// The image as pulled.
    pub image_ref: String,
    /// The image's user, when it is a number.
    pub image_uid: Option<i64>,
    /// The image's user, when it is a name.
    pub image_user: String,
    /// Its variables.
    pub env: Environment,
    /// Volumes and files of the kubelet's own.
    pub mounts: Vec<cri::Mount>,
    /// Devices of the host.
    pub devices: Vec<cri::Device>,
    /// The container whose processes an ephemeral container wants to see.
    pub target: Option<String>,
    /// The node's memory in bytes.
    pub node_memory: i64,
    /// Groups that the pod's volumes bring.
    pub groups: Vec<i64>,
    /// Seccomp profiles.
    pub seccomp: &'a Seccomp,
}

/// Builds the configuration.
pub fn container_config(inputs: ContainerInputs<'_>) -> cri::ContainerConfig {
    let ContainerInputs { pod, container, .. } = inputs;
    let expanded = |list: Option<&Vec<String>>| -> Vec<String> {
        list.into_iter().flatten().map(|text| expand(text, |name| inputs.env.get(name))).collect()
    };
    let (command, args) = (expanded(container.command.as_ref()), expanded(container.args.as_ref()));
    let labels = runtime::container_labels(&container.name, spec::name(pod), spec::namespace(pod), spec::uid(pod));
    let mut context = security::container_context(
        pod,
        container,
        inputs.target,
        inputs.seccomp,
        inputs.image_uid,
        &inputs.image_user,
    );
    context.supplemental_groups.extend(inputs.groups);
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: container.name.clone(), attempt: inputs.attempt }),
        image: Some(cri::ImageSpec {
            image: inputs.image_ref,
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command,
        args,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: inputs.env.into_list().into_iter().map(|(key, value)| cri::KeyValue { key, value }).collect(),
        mounts: inputs.mounts,
        devices: inputs.devices,
        labels: labels.into_iter().collect(),
        annotations: annotations(pod, container, inputs.attempt, inputs.round),
        log_path: format!("{}/{}.log", container.name, inputs.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(container_resources(pod, container, inputs.node_memory)),
            security_context: Some(context),
        }),
        stop_signal: stop_signal(container) as i32,
        ..Default::default()
    }
}

fn annotations(pod: &Pod, container: &Container, attempt: u32, round: u32) -> HashMap<String, String> {
    let mut map = HashMap::from([
        (runtime::HASH.to_owned(), spec::container_hash(container)),
        (runtime::RESTART_COUNT.to_owned(), attempt.to_string()),
        (runtime::ROUND.to_owned(), round.to_string()),
        (runtime::TERMINATION_MESSAGE_PATH.to_owned(), container.termination_message_path.clone().unwrap_or_default()),
        (
            runtime::TERMINATION_MESSAGE_POLICY.to_owned(),
            container.termination_message_policy.clone().unwrap_or_else(|| "File".into()),
        ),
        (
            runtime::GRACE_PERIOD.to_owned(),
            pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30).to_string(),
        ),
    ]);
    if let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref())
        && let Ok(json) = serde_json::to_string(hook)
    {
        map.insert(runtime::PRE_STOP.to_owned(), json);
    }
    if let Some(ports) = container.ports.as_ref().filter(|p| !p.is_empty())
        && let Ok(json) = serde_json::to_string(ports)
    {
        map.insert(runtime::PORTS.to_owned(), json);
    }
    map
}

/// The signal that stops the container; the image's own unless the spec names one.
fn stop_signal(container: &Container) -> cri::Signal {
    container
        .lifecycle
        .as_ref()
        .and_then(|l| l.stop_signal.as_deref())
        .and_then(cri::Signal::from_str_name)
        .unwrap_or(cri::Signal::RuntimeDefault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn groups_that_volumes_bring_come_after_those_of_the_pod() {
        let context = json!({"supplementalGroups": [5], "fsGroup": 6});
        let spec = json!({"securityContext": context, "containers": [{"name": "c"}]});
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap();
        let config = container_config(ContainerInputs {
            pod: &pod,
            container: &spec::app_containers(&pod)[0],
            attempt: 0,
            round: 0,
            image_ref: String::new(),
            image_uid: None,
            image_user: String::new(),
            env: Environment::default(),
            mounts: Vec::new(),
            devices: Vec::new(),
            target: None,
            node_memory: 1 << 30,
            groups: vec![7],
            seccomp: &Seccomp { root: String::new(), by_default: false },
        });
        assert_eq!(config.linux.unwrap().security_context.unwrap().supplemental_groups, [5, 6, 7]);
    }
}
