//! YAML text to [`MachineConfig`].

use crate::error::ConfigError;
use crate::parse_network::network;
use crate::parse_plane::{control_plane, machine_api};
use crate::parse_upkeep as upkeep;
use crate::plane::ControlPlane;
use crate::reader::{Findings, Section, quote};
use crate::types::{
    API_VERSION, Cluster, Kubelet, MachineConfig, Mirror, Registries, RegistryAuth, RegistryTls, Role, Taint,
    TaintEffect,
};
use crate::validate;
use serde_yaml_ng::Value;
use std::collections::BTreeSet;

/// Most bytes of a machine config; a real one is under 10 KiB, most of it certificates.
pub const MAX_CONFIG_BYTES: usize = 256 * 1024;
/// Most entries of any list or map in it; bounds work, far above real use.
pub(crate) const MAX_ENTRIES: usize = 256;
/// More belong into the API.
const MAX_STATIC_PODS: usize = 32;

pub(crate) const ADDRESS: &str = "an IP address";
const NODE_ADDRESSES: &str = "an IP address, or an IPv4 address and an IPv6 one such as 192.168.77.11,fd00:77::11";
const POD_RANGES: &str =
    "an IPv4 range such as 10.244.0.0/16, or one with an IPv6 range such as 10.244.0.0/16,fd00:10:244::/56";
const SERVICE_RANGES: &str =
    "an IPv4 range such as 10.96.0.0/16, or one with an IPv6 range such as 10.96.0.0/16,fd00:10:96::/112";

/// An accepted config and what was odd about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The config.
    pub config: MachineConfig,
    /// Paths of the keys that this version does not know; they had no effect.
    pub warnings: Vec<String>,
}

/// Reads and validates a machine config.
///
/// # Errors
/// All wrong fields at once, each with path and reason; or that the text is too large or no YAML.
pub fn parse(yaml: &str) -> Result<Parsed, ConfigError> {
    if yaml.len() > MAX_CONFIG_BYTES {
        return Err(ConfigError::TooLarge { size: yaml.len(), max: MAX_CONFIG_BYTES });
    }
    match walk(yaml)? {
        (Some(config), out) if out.errors.is_empty() => Ok(Parsed { config, warnings: out.unknown }),
        (_, out) => Err(ConfigError::Fields(out.errors)),
    }
}

/// Paths of the keys of a config, refused or not, that this version does not know: a key that is missing may be there, misspelt. Those of a
/// section that is none are not looked at.
pub fn unknown_keys(yaml: &str) -> Vec<String> {
    let fits = yaml.len() <= MAX_CONFIG_BYTES;
    fits.then(|| walk(yaml).ok()).flatten().map(|(_, out)| out.unknown).unwrap_or_default()
}

fn walk(yaml: &str) -> Result<(Option<MachineConfig>, Findings), ConfigError> {
    let value: Value = serde_yaml_ng::from_str(yaml).map_err(|err| ConfigError::Syntax(err.to_string()))?;
    let mut out = Findings::default();
    let config = Section::root(value, &mut out).map(|root| machine(root, &mut out));
    Ok((config, out))
}

fn machine(mut s: Section, out: &mut Findings) -> MachineConfig {
    let mut config = MachineConfig::default();
    match s.string("apiVersion", out) {
        None => out.refuse("apiVersion", format!("is missing; write {API_VERSION}")),
        Some(version) if version != API_VERSION => {
            out.refuse("apiVersion", format!("must be {API_VERSION}, not {}", quote(&version)));
        }
        Some(_) => {}
    }
    match s.string("kind", out) {
        None => out.refuse("kind", "is missing; write MachineConfig"),
        Some(kind) if kind != "MachineConfig" => {
            out.refuse("kind", format!("must be MachineConfig, not {}", quote(&kind)))
        }
        Some(_) => {}
    }
    let before = out.errors.len();
    match s.string("role", out).as_deref() {
        None => out.refuse("role", "is missing; write worker or control-plane"),
        Some("worker") => config.role = Role::Worker,
        Some("control-plane") => config.role = Role::ControlPlane,
        Some(other) => out.refuse("role", format!("must be worker or control-plane, not {}", quote(other))),
    }
    let role_known = out.errors.len() == before;
    config.hostname = s.string("hostname", out);
    if let Some(section) = s.section("network", out) {
        config.network = network(section, out);
    }
    if let Some(section) = s.section("cluster", out) {
        config.cluster = cluster(section, out);
    }
    if let Some(section) = s.section("kubelet", out) {
        config.kubelet = kubelet(section, out);
    }
    if let Some(section) = s.section("registries", out) {
        config.registries = registries(section, out);
    }
    config.control_plane = s.section("controlPlane", out).map(|section| control_plane(section, out));
    config.machine_api = s.section("machineApi", out).map(|section| machine_api(section, out));
    if let Some(section) = s.section("upgrade", out) {
        config.upgrade = upkeep::upgrade(section, out);
    }
    if let Some(section) = s.section("disks", out) {
        config.disks = upkeep::disks(section, out);
    }
    config.metrics = s.section("metrics", out).map(|section| upkeep::metrics(section, out));
    if let Some(section) = s.section("logging", out) {
        config.logging = upkeep::logging(section, out);
    }
    if config.role == Role::ControlPlane {
        let plane = config.control_plane.get_or_insert_default();
        // The node agent of a control plane joins the API server beside it.
        let own = || endpoint_of(plane);
        config.cluster.endpoint = Some(config.cluster.endpoint.unwrap_or_else(own));
    }
    s.finish(out);
    validate::machine(&config, role_known, out);
    config
}

/// The URL under which a control plane reaches itself: what it advertises, else the address it binds, else loopback.
fn endpoint_of(plane: &ControlPlane) -> String {
    let (ip, port) = (plane.bind.ip(), plane.bind.port());
    let host = match &plane.advertise {
        Some(host) => host.clone(),
        None if ip.is_unspecified() => "127.0.0.1".to_owned(),
        None => ip.to_string(),
    };
    if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") }
}

fn cluster(mut s: Section, out: &mut Findings) -> Cluster {
    let default = Cluster::default();
    let cluster = Cluster {
        name: s.string("name", out).unwrap_or(default.name),
        endpoint: s.string("endpoint", out),
        token: s.string("token", out),
        ca_hash: s.string("caHash", out),
        pod_cidr: s.parsed("podCIDR", POD_RANGES, out).unwrap_or(default.pod_cidr),
        service_cidr: s.parsed("serviceCIDR", SERVICE_RANGES, out).unwrap_or(default.service_cidr),
        dns_domain: s.string("dnsDomain", out).unwrap_or(default.dns_domain),
        dns_ip: s.parsed("dnsIP", "an IPv4 address", out).unwrap_or(default.dns_ip),
        pod_network: s.boolean("podNetwork", out).unwrap_or(default.pod_network),
        service_proxy: s.boolean("serviceProxy", out).unwrap_or(default.service_proxy),
    };
    s.finish(out);
    cluster
}

fn kubelet(mut s: Section, out: &mut Findings) -> Kubelet {
    let default = Kubelet::default();
    let mut kubelet = Kubelet {
        node_ip: s.parsed("nodeIP", NODE_ADDRESSES, out),
        labels: Default::default(),
        taints: s.sections("taints", MAX_ENTRIES, out).into_iter().filter_map(|t| taint(t, out)).collect(),
        max_pods: s.number("maxPods", 1, 1000, out).unwrap_or(default.max_pods),
        shutdown_grace_period_seconds: s
            .number("shutdownGracePeriodSeconds", 0, 3600, out)
            .unwrap_or(default.shutdown_grace_period_seconds),
        config: document(&mut s, "config", "KubeletConfiguration", out),
        static_pods: static_pods(&mut s, out),
    };
    for (path, key, value) in s.pairs("labels", MAX_ENTRIES, out) {
        validate::label(&path, &key, &value, out);
        kubelet.labels.insert(key, value);
    }
    s.finish(out);
    kubelet
}

fn taint(mut s: Section, out: &mut Findings) -> Option<Taint> {
    let (key_path, effect_path) = (s.path_of("key"), s.path_of("effect"));
    let key = s.string("key", out);
    if key.is_none() {
        out.refuse(&key_path, "is missing");
    }
    let value = s.string("value", out).unwrap_or_default();
    let effect = match s.string("effect", out).as_deref() {
        Some("NoSchedule") => Some(TaintEffect::NoSchedule),
        Some("PreferNoSchedule") => Some(TaintEffect::PreferNoSchedule),
        Some("NoExecute") => Some(TaintEffect::NoExecute),
        Some(other) => {
            out.refuse(effect_path, format!("must be NoSchedule, PreferNoSchedule or NoExecute, not {}", quote(other)));
            None
        }
        None => {
            out.refuse(effect_path, "is missing; write NoSchedule, PreferNoSchedule or NoExecute");
            None
        }
    };
    s.finish(out);
    let key = key?;
    validate::label(&key_path, &key, &value, out);
    Some(Taint { key, value, effect: effect? })
}

fn registries(mut s: Section, out: &mut Findings) -> Registries {
    let mut mirrors = Vec::new();
    for mut m in s.sections("mirrors", MAX_ENTRIES, out) {
        let matches = m.string("match", out).unwrap_or_else(|| "*".to_owned());
        let endpoints_path = m.path_of("endpoints");
        let endpoints = m.strings("endpoints", 16, out);
        if endpoints.is_empty() {
            out.refuse(endpoints_path, "is empty; give at least one URL");
        }
        for (path, url) in &endpoints {
            validate::url(path, url, &["http", "https"], out);
        }
        let endpoints = endpoints.into_iter().map(|(_, url)| url).collect();
        mirrors.push(Mirror { matches, endpoints, include_host: m.boolean("includeHost", out).unwrap_or(false) });
        m.finish(out);
    }
    let mut tls = Vec::new();
    for mut t in s.sections("tls", MAX_ENTRIES, out) {
        let matches = t.string("match", out).unwrap_or_else(|| "*".to_owned());
        let ca = t.string("ca", out).unwrap_or_default();
        validate::pem(&t.path_of("ca"), &ca, "CERTIFICATE", out);
        tls.push(RegistryTls { matches, ca });
        t.finish(out);
    }
    let auth = s.sections("auth", MAX_ENTRIES, out).into_iter().map(|a| registry_auth(a, out)).collect();
    let credential_providers = document(&mut s, "credentialProviders", "CredentialProviderConfig", out);
    s.finish(out);
    Registries { mirrors, tls, auth, credential_providers }
}

fn registry_auth(mut a: Section, out: &mut Findings) -> RegistryAuth {
    let mut text = |key: &str| a.string(key, out).unwrap_or_default();
    let auth = RegistryAuth {
        matches: text("match"),
        username: text("username"),
        password: text("password"),
        identity_token: text("identityToken"),
        certificate: text("certificate"),
        key: text("key"),
    };
    if !is_whole(&auth) {
        out.refuse(a.path(), "needs username and password, identityToken, or certificate and key");
    }
    for (key, value, label) in [("certificate", &auth.certificate, "CERTIFICATE"), ("key", &auth.key, "PRIVATE KEY")] {
        if !value.is_empty() {
            validate::pem(&a.path_of(key), value, label, out);
        }
    }
    a.finish(out);
    auth
}

/// Something is shown, and nothing of it is a half.
fn is_whole(auth: &RegistryAuth) -> bool {
    let token = !auth.identity_token.is_empty();
    let (name, password) = (!auth.username.is_empty(), !auth.password.is_empty());
    let (certificate, key) = (!auth.certificate.is_empty(), !auth.key.is_empty());
    let something = token || name || password || certificate;
    something && certificate == key && (token || name == password)
}

/// Passed through whole: only what tells one from another is looked at, the node agent knows the rest.
fn static_pods(s: &mut Section, out: &mut Findings) -> Vec<serde_json::Value> {
    let path = s.path_of("staticPods");
    let (mut pods, mut names) = (Vec::new(), BTreeSet::new());
    for (i, value) in s.list("staticPods", MAX_STATIC_PODS, out).into_iter().enumerate() {
        let pod = serde_json::to_value(&value).unwrap_or_default();
        let text = |pointer: &str| pod.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("/metadata/namespace").to_owned(), text("/metadata/name").to_owned());
        if text("/kind") != "Pod" || name.is_empty() {
            out.refuse(format!("{path}[{i}]"), "must be a Pod with a metadata.name");
        } else if !names.insert((namespace, name)) {
            out.refuse(format!("{path}[{i}]"), "has the name of another one");
        } else {
            pods.push(pod);
        }
    }
    pods
}

/// Passed through whole: only its kind is looked at, the node agent knows the rest.
fn document(s: &mut Section, key: &str, wanted: &str, out: &mut Findings) -> serde_json::Value {
    let path = s.path_of(key);
    let Some(value) = s.take(key) else { return serde_json::Value::Null };
    match serde_json::to_value(&value) {
        Ok(value) if value.is_object() => {
            let kind = value.get("kind").and_then(serde_json::Value::as_str).unwrap_or(wanted);
            if kind != wanted {
                out.refuse(format!("{path}.kind"), format!("must be {wanted}, not {}", quote(kind)));
            }
            value
        }
        _ => {
            out.refuse(path, format!("must be a {wanted}: a mapping whose keys are texts"));
            serde_json::Value::Null
        }
    }
}
