//! The configuration of a pod's sandbox.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use rk_cri_api::v1 as cri;

use super::security::{self, Seccomp};
use crate::pod::spec;
use crate::resources::{cgroup_parent, pod_total, quota, shares};
use crate::runtime::{CONFIG_SEEN, CONFIG_SOURCE, sandbox_labels};

/// The longest hostname that the kernel takes, bytes.
const LONGEST_HOSTNAME: usize = 64;

/// Directory of a pod's container logs.
pub fn log_directory(root: &Path, pod: &Pod) -> std::path::PathBuf {
    root.join(format!("{}_{}_{}", spec::namespace(pod), spec::name(pod), spec::uid(pod)))
}

/// Sysctls that the pod asks for.
pub fn sysctls(pod: &Pod) -> BTreeMap<String, String> {
    let list = security::pod_context(pod).sysctls.unwrap_or_default();
    list.into_iter().map(|s| (s.name.replace('/', "."), s.value)).collect()
}

/// The pod's hostname: its FQDN if it wants that. In the host's network the hostname is the host's own.
fn hostname(pod: &Pod, cluster_domain: &str) -> String {
    if spec::host_network(pod) {
        return String::new();
    }
    let (host, fqdn) = spec::hostname(pod, cluster_domain);
    let as_fqdn = pod.spec.as_ref().and_then(|s| s.set_hostname_as_fqdn) == Some(true);
    fqdn.filter(|_| as_fqdn).unwrap_or(host)
}

/// Refuses an FQDN that is too long for a hostname, in upstream's words.
pub fn check_hostname(pod: &Pod, cluster_domain: &str) -> Result<(), String> {
    let (name, most) = (hostname(pod, cluster_domain), LONGEST_HOSTNAME);
    if name.len() <= most {
        return Ok(());
    }
    let told = format!("is too long ({most} characters is the max, {} characters requested)", name.len());
    Err(format!("failed to construct FQDN from pod hostname and cluster domain, FQDN {name} {told}"))
}

/// Builds the configuration.
pub fn sandbox_config(
    pod: &Pod,
    attempt: u32,
    logs: &Path,
    dns: cri::DnsConfig,
    cluster_domain: &str,
    profiles: &Seccomp,
) -> cri::PodSandboxConfig {
    let context = security::pod_context(pod);
    let privileged = spec::app_containers(pod)
        .iter()
        .chain(spec::init_containers(pod))
        .any(|c| c.security_context.as_ref().and_then(|s| s.privileged) == Some(true));
    let overhead = pod.spec.as_ref().and_then(|s| s.overhead.as_ref());
    let mut annotations: HashMap<String, String> =
        pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect();
    annotations.entry(CONFIG_SOURCE.into()).or_insert_with(|| "api".into());
    annotations
        .entry(CONFIG_SEEN.into())
        .or_insert_with(|| pod.metadata.creation_timestamp.as_ref().map(|t| t.0.to_string()).unwrap_or_default());
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: spec::name(pod).into(),
            uid: spec::uid(pod).into(),
            namespace: spec::namespace(pod).into(),
            attempt,
        }),
        hostname: hostname(pod, cluster_domain),
        log_directory: log_directory(logs, pod).to_string_lossy().into_owned(),
        dns_config: Some(dns),
        port_mappings: port_mappings(pod),
        labels: sandbox_labels(pod.metadata.labels.as_ref(), spec::name(pod), spec::namespace(pod), spec::uid(pod))
            .into_iter()
            .collect(),
        annotations,
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(pod),
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(security::namespaces(pod, None)),
                run_as_user: context.run_as_user.map(|value| cri::Int64Value { value }),
                run_as_group: context.run_as_group.map(|value| cri::Int64Value { value }),
                supplemental_groups: security::groups(pod),
                supplemental_groups_policy: security::groups_policy(pod),
                privileged,
                seccomp: Some(cri::SecurityProfile {
                    profile_type: cri::security_profile::ProfileType::RuntimeDefault as i32,
                    localhost_ref: String::new(),
                }),
                ..Default::default()
            }),
            sysctls: sysctls(pod).into_iter().collect(),
            overhead: overhead.map(|list| cri::LinuxContainerResources {
                cpu_shares: shares(crate::quantity::milli_of(Some(list), "cpu")),
                memory_limit_in_bytes: crate::quantity::units_of(Some(list), "memory"),
                ..Default::default()
            }),
            resources: Some(cri::LinuxContainerResources {
                cpu_period: 100_000,
                cpu_quota: quota(pod_total(pod, "cpu", true)),
                cpu_shares: shares(pod_total(pod, "cpu", false)),
                memory_limit_in_bytes: pod_total(pod, "memory", true) / 1000,
                ..Default::default()
            }),
        })
        .map(|mut linux| {
            // Localhost profiles of the pod hold for its sandbox as well.
            if let (Some(security), Some(profile)) = (linux.security_context.as_mut(), context.seccomp_profile.as_ref())
            {
                security.seccomp = Some(security::seccomp(Some(profile), profiles, false));
            }
            linux
        }),
    }
}

fn port_mappings(pod: &Pod) -> Vec<cri::PortMapping> {
    if spec::host_network(pod) {
        return Vec::new();
    }
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
    sidecars
        .chain(spec::app_containers(pod))
        .flat_map(|c| c.ports.iter().flatten())
        .map(|port| cri::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => cri::Protocol::Udp,
                Some("SCTP") => cri::Protocol::Sctp,
                _ => cri::Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_fqdn_that_the_kernel_does_not_take_for_a_hostname_is_refused() {
        let pod = |name: &str, spec: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec})).unwrap()
        };
        let with = |as_fqdn: bool| json!({"containers": [], "subdomain": "sub", "setHostnameAsFQDN": as_fqdn});
        let (short, long) = ("a".repeat(40), "a".repeat(41));
        for (pod, want) in [
            (pod(&short, with(true)), Ok(format!("{short}.sub.n.svc.cluster.local"))),
            (pod(&long, with(false)), Ok(long.clone())),
            (pod(&long, with(true)), Err(format!("{long}.sub.n.svc.cluster.local"))),
        ] {
            let told = check_hostname(&pod, "cluster.local").map(|()| hostname(&pod, "cluster.local"));
            let refused = |name: &String| {
                let why = "is too long (64 characters is the max, 65 characters requested)";
                format!("failed to construct FQDN from pod hostname and cluster domain, FQDN {name} {why}")
            };
            assert_eq!(told, want.map_err(|name| refused(&name)));
        }
        let mut host = pod(&long, with(true));
        host.spec.as_mut().unwrap().host_network = Some(true);
        assert_eq!(check_hostname(&host, "cluster.local"), Ok(()));
    }
}
