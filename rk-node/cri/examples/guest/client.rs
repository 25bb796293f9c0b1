//! A kubelet's eyes and hands, as far as the checks need them.

use std::time::{Duration, Instant};

use rk_cri_api::v1::*;
use rk_cri_api::{ImageServiceClient, RuntimeServiceClient, connect};
use tonic::transport::Channel;

use crate::Result;

pub const IMAGE: &str = "rk.local/busybox:demo";

/// Both clients over one channel.
#[derive(Clone)]
pub struct Cri {
    pub runtime: RuntimeServiceClient<Channel>,
    pub images: ImageServiceClient<Channel>,
}

/// A pod that a check made.
#[derive(Clone, Default)]
pub struct Pod {
    pub id: String,
    pub config: PodSandboxConfig,
}

impl Cri {
    pub fn new() -> Self {
        let channel = connect("/run/rk/cri.sock");
        Self { runtime: RuntimeServiceClient::new(channel.clone()), images: ImageServiceClient::new(channel) }
    }

    pub async fn pod(&mut self, name: &str, change: impl FnOnce(&mut PodSandboxConfig)) -> Result<Pod> {
        let options = NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() };
        let security = LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
        let mut config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.into(),
                uid: format!("uid-{name}"),
                namespace: "default".into(),
                attempt: 0,
            }),
            hostname: name.into(),
            log_directory: format!("/var/log/pods/{name}"),
            dns_config: Some(DnsConfig { servers: vec!["10.96.0.10".into()], ..Default::default() }),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("/kubepods/pod{name}"),
                security_context: Some(security),
                ..Default::default()
            }),
            ..Default::default()
        };
        change(&mut config);
        let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
        let id = self.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
        Ok(Pod { id, config })
    }

    pub async fn create(
        &mut self,
        pod: &Pod,
        name: &str,
        script: &str,
        change: impl FnOnce(&mut ContainerConfig),
    ) -> Result<String> {
        let seccomp = SecurityProfile { profile_type: 0, localhost_ref: String::new() };
        let options = pod
            .config
            .linux
            .as_ref()
            .and_then(|l| l.security_context.as_ref())
            .and_then(|s| s.namespace_options.clone());
        let security =
            LinuxContainerSecurityContext { seccomp: Some(seccomp), namespace_options: options, ..Default::default() };
        let mut config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(ImageSpec { image: IMAGE.into(), ..Default::default() }),
            command: vec!["/bin/sh".into(), "-c".into(), script.into()],
            log_path: format!("{name}/0.log"),
            linux: Some(LinuxContainerConfig { resources: None, security_context: Some(security) }),
            ..Default::default()
        };
        change(&mut config);
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        Ok(self.runtime.create_container(request).await?.into_inner().container_id)
    }

    pub async fn start(&mut self, id: &str) -> Result<()> {
        self.runtime.start_container(StartContainerRequest { container_id: id.into() }).await?;
        Ok(())
    }

    pub async fn run(
        &mut self,
        pod: &Pod,
        name: &str,
        script: &str,
        change: impl FnOnce(&mut ContainerConfig),
    ) -> Result<String> {
        let id = self.create(pod, name, script, change).await?;
        self.start(&id).await?;
        Ok(id)
    }

    pub async fn status(&mut self, id: &str) -> Result<ContainerStatus> {
        let request = ContainerStatusRequest { container_id: id.into(), verbose: false };
        self.runtime.container_status(request).await?.into_inner().status.ok_or_else(|| "no status".into())
    }

    /// Waits until the container ended.
    pub async fn ended(&mut self, id: &str) -> Result<ContainerStatus> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.status(id).await?;
            if status.state() == ContainerState::ContainerExited {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!("{id} did not end: {status:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Output of a shell line run in a container, and its exit code.
    pub async fn sh(&mut self, id: &str, line: &str) -> Result<(String, i32)> {
        let cmd = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
        let request = ExecSyncRequest { container_id: id.into(), cmd, timeout: 20 };
        let done = self.runtime.exec_sync(request).await?.into_inner();
        let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        Ok((text, done.exit_code))
    }

    pub async fn remove_pod(&mut self, pod: &Pod) -> Result<()> {
        self.runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
        self.runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
        Ok(())
    }
}
