//! The machine config as settings of the parts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Taint;
use rk_config::{MachineConfig, Role};
use rk_kubelet::{Amount, Cluster, Options};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The CA that `rk-control` makes on its first start, on a node that runs it.
const OWN_CA: &str = "/var/lib/rk-control/pki/ca.crt";

/// The node's name: the configured hostname, else what the kernel was told by then.
pub fn node_name(config: &MachineConfig) -> String {
    let kernels = || nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    config.hostname.clone().unwrap_or_else(kernels).to_lowercase()
}

/// Settings of the kubelet.
pub fn kubelet(config: &MachineConfig) -> Options {
    let control_plane = config.role == Role::ControlPlane;
    let cluster = Cluster {
        endpoint: config.cluster.endpoint.clone().unwrap_or_else(|| "https://127.0.0.1:6443".into()),
        token: config.cluster.token.clone(),
        ca_hash: config.cluster.ca_hash.clone(),
        ca_file: control_plane.then(|| PathBuf::from(OWN_CA)),
        dns: vec![IpAddr::V4(config.cluster.dns_ip)],
        domain: config.cluster.dns_domain.clone(),
    };
    let mut options = Options::new(node_name(config), cluster);
    options.node_ips = config.kubelet.node_ip.map(|ips| ips.all()).unwrap_or_default();
    options.dual_stack = config.cluster.pod_cidr.v6.is_some();
    options.shared_addresses = config.network.vips();
    options.control_plane = control_plane;
    options.labels = config.kubelet.labels.clone().into_iter().collect::<BTreeMap<_, _>>();
    options.taints = config.kubelet.taints.iter().map(taint).collect();
    options.max_pods = config.kubelet.max_pods;
    options.static_pods = config.kubelet.static_pods.clone();
    let named =
        config.registries.auth.iter().filter(|auth| !auth.username.is_empty() || !auth.identity_token.is_empty());
    options.registry_auth = named.map(registry_auth).collect();
    options.shutdown = rk_kubelet::ShutdownGrace::of_machine(config.kubelet.shutdown_grace_period_seconds);
    for warning in rk_kubelet::configure(&mut options, &config.kubelet.config) {
        tracing::warn!("kubelet.config.{warning}");
    }
    match rk_kubelet::credential_providers(&config.registries.credential_providers) {
        Ok(providers) => options.credential_providers = providers,
        Err(problems) => {
            options.faults.extend(problems.into_iter().map(|p| format!("registries.credentialProviders: {p}")));
        }
    }
    options
}

fn registry_auth(auth: &rk_config::RegistryAuth) -> rk_kubelet::RegistryAuth {
    rk_kubelet::RegistryAuth {
        place: auth.matches.clone(),
        username: auth.username.clone(),
        password: auth.password.clone(),
        identity_token: auth.identity_token.clone(),
    }
}

fn taint(taint: &rk_config::Taint) -> Taint {
    let effect = match taint.effect {
        rk_config::TaintEffect::NoSchedule => "NoSchedule",
        rk_config::TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        rk_config::TaintEffect::NoExecute => "NoExecute",
    };
    Taint {
        key: taint.key.clone(),
        value: Some(taint.value.clone()).filter(|v| !v.is_empty()),
        effect: effect.into(),
        time_added: None,
    }
}

fn part(amount: Amount) -> rk_images::Part {
    match amount {
        Amount::Units(units) => rk_images::Part::Units(units),
        Amount::Share(share) => rk_images::Part::Share(share),
    }
}

/// Settings of the image store. What must stay free on its disk, which is that of the pods, no pull takes either: the disk would be
/// short, and pods would go for it.
pub fn images(config: &MachineConfig, kubelet: &Options) -> rk_images::Config {
    let mut images = rk_images::Config::new("/var/lib/rk/images");
    let kept = kubelet.eviction;
    images.reserve = rk_images::Reserve {
        bytes: vec![part(kept.disk), part(kept.image_disk)],
        inodes: vec![part(kept.inodes), part(kept.image_inodes)],
    };
    images.mirrors = config
        .registries
        .mirrors
        .iter()
        .map(|m| rk_images::Mirror {
            matches: m.matches.clone(),
            endpoints: m.endpoints.clone(),
            include_host: m.include_host,
        })
        .collect();
    for entry in &config.registries.tls {
        let roots: Vec<_> = CertificateDer::pem_slice_iter(entry.ca.as_bytes())
            .filter_map(|certificate| {
                let warn = |e: &_| tracing::warn!(registry = %entry.matches, "a certificate of registries.tls is left out: {e}");
                certificate.inspect_err(warn).ok()
            })
            .collect();
        match entry.matches.as_str() {
            "*" => images.extra_roots.extend(roots),
            host => images.host_roots.push((host.to_owned(), roots)),
        }
    }
    for entry in config.registries.auth.iter().filter(|auth| !auth.certificate.is_empty()) {
        match client_certificate(entry) {
            Ok(certificate) => images.client_certificates.push((entry.matches.clone(), certificate)),
            Err(error) => {
                tracing::warn!(registry = %entry.matches, "a certificate of registries.auth is left out: {error}");
            }
        }
    }
    images
}

fn client_certificate(auth: &rk_config::RegistryAuth) -> Result<rk_images::ClientCertificate, String> {
    let chain = CertificateDer::pem_slice_iter(auth.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(auth.key.as_bytes());
    rk_images::ClientCertificate::new(chain.map_err(|e| e.to_string())?, key.map_err(|e| e.to_string())?)
}

/// Settings of the Service proxy.
pub fn proxy(config: &MachineConfig, node: &str, node_ips: Vec<IpAddr>) -> rk_proxy::Config {
    rk_proxy::Config {
        node_name: node.to_owned(),
        node_ips,
        pod_cidrs: config.cluster.pod_cidr.all(),
        skip: vec![IpAddr::V4(config.cluster.dns_ip)],
    }
}

/// What the config says of this node's place, until the API tells it.
pub fn place(config: &MachineConfig) -> rk_proxy::Place {
    rk_proxy::Place { zone: config.kubelet.labels.get(rk_proxy::ZONE).cloned(), leaving: false }
}

/// Settings of cluster DNS.
pub fn dns(config: &MachineConfig) -> rk_dns::Config {
    rk_dns::Config {
        address: IpAddr::V4(config.cluster.dns_ip),
        port: 53,
        domain: config.cluster.dns_domain.clone(),
        link: Some("rk-dns0".into()),
        resolv_conf: "/etc/resolv.conf".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_config_becomes_the_kubelets_options() {
        let mut config =
            MachineConfig { role: Role::ControlPlane, hostname: Some("Cp-1".into()), ..Default::default() };
        config.kubelet.taints =
            vec![rk_config::Taint { key: "k".into(), value: String::new(), effect: rk_config::TaintEffect::NoExecute }];
        config.kubelet.max_pods = 7;
        config.kubelet.config = serde_json::json!({"podPidsLimit": 64, "nobodyKnows": 1});
        let options = kubelet(&config);
        assert_eq!((options.node_name.as_str(), options.control_plane, options.max_pods), ("cp-1", true, 7));
        assert_eq!(options.pod_pids, Some(64));
        assert_eq!(options.cluster.endpoint, "https://127.0.0.1:6443");
        assert_eq!(options.taints.first().map(|t| (t.effect.as_str(), t.value.clone())), Some(("NoExecute", None)));
        assert_eq!(options.cluster.ca_file, Some(PathBuf::from(OWN_CA)));
        assert!(options.node_ips.is_empty() && !options.dual_stack);
        assert_eq!(proxy(&config, "cp-1", Vec::new()).pod_cidrs.len(), 1);
        let reserve = images(&config, &options).reserve;
        assert_eq!(reserve.bytes, [rk_images::Part::Share(1000), rk_images::Part::Share(1500)]);
        assert_eq!(reserve.inodes, [rk_images::Part::Share(500); 2]);
        config.registries.auth = vec![rk_config::RegistryAuth {
            matches: "r.io".into(),
            certificate: "no certificate".into(),
            key: "no key".into(),
            ..Default::default()
        }];
        let options = kubelet(&config);
        assert!(options.registry_auth.is_empty(), "no name is shown");
        assert!(images(&config, &options).client_certificates.is_empty(), "what cannot be read is left out");
        config.registries.credential_providers = serde_json::json!({"kind": "CredentialProviderConfig"});
        assert!(kubelet(&config).faults.iter().any(|fault| fault.starts_with("registries.credentialProviders: ")));
    }

    #[test]
    fn a_dual_stack_config_is_one_for_every_part() {
        let mut config = MachineConfig::default();
        config.cluster.pod_cidr = "10.244.0.0/16,fd00:10:244::/56".parse().unwrap();
        config.kubelet.node_ip = "192.168.77.11,fd00:77::11".parse().ok();
        let options = kubelet(&config);
        assert!(options.dual_stack);
        let texts = |list: &[IpAddr]| list.iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&options.node_ips), ["192.168.77.11", "fd00:77::11"]);
        let proxy = proxy(&config, "n", options.node_ips.clone());
        assert_eq!((proxy.pod_cidrs.len(), proxy.node_ips), (2, options.node_ips));
    }
}
