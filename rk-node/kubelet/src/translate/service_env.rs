//! Environment variables that announce Services, in the shape that Docker links once gave them.

use std::collections::BTreeMap;

/// What is kept of a Service for this.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInfo {
    /// Its cluster IP.
    pub cluster_ip: String,
    /// Ports: name, number, protocol.
    pub ports: Vec<(String, i32, String)>,
}

fn variable(name: &str) -> String {
    name.chars().map(|c| if c == '-' || c == '.' { '_' } else { c.to_ascii_uppercase() }).collect()
}

/// The variables for `services` (by namespace and name): always the API's own, and those of `namespace` when `links` says so.
pub fn service_environment(
    services: &BTreeMap<(String, String), ServiceInfo>,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &ServiceInfo> = BTreeMap::new();
    for ((ns, name), service) in services {
        if service.cluster_ip.is_empty() || service.cluster_ip == "None" {
            continue;
        }
        if ns == "default" && name == "kubernetes" {
            // The namespace's own service of that name comes after it and wins.
            chosen.entry(name).or_insert(service);
        }
        if links && ns == namespace {
            chosen.insert(name, service);
        }
    }
    let mut env = BTreeMap::new();
    for (name, service) in chosen {
        add(&mut env, name, service);
    }
    env
}

fn add(env: &mut BTreeMap<String, String>, name: &str, service: &ServiceInfo) {
    let prefix = variable(name);
    let host =
        if service.cluster_ip.contains(':') { format!("[{}]", service.cluster_ip) } else { service.cluster_ip.clone() };
    env.insert(format!("{prefix}_SERVICE_HOST"), service.cluster_ip.clone());
    let Some((_, first_port, first_protocol)) = service.ports.first() else { return };
    env.insert(format!("{prefix}_SERVICE_PORT"), first_port.to_string());
    env.insert(format!("{prefix}_PORT"), format!("{}://{host}:{first_port}", first_protocol.to_lowercase()));
    for (port_name, port, protocol) in &service.ports {
        if !port_name.is_empty() {
            env.insert(format!("{prefix}_SERVICE_PORT_{}", variable(port_name)), port.to_string());
        }
        let link = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
        env.insert(link.clone(), format!("{}://{host}:{port}", protocol.to_lowercase()));
        env.insert(format!("{link}_PROTO"), protocol.to_lowercase());
        env.insert(format!("{link}_PORT"), port.to_string());
        env.insert(format!("{link}_ADDR"), service.cluster_ip.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_announced_to_its_namespace_and_the_api_to_all() {
        let service = |ip: &str, port: i32, name: &str| ServiceInfo {
            cluster_ip: ip.into(),
            ports: vec![(name.into(), port, "TCP".into())],
        };
        let services = BTreeMap::from([
            (("default".into(), "kubernetes".into()), service("10.96.0.1", 443, "https")),
            (("a".into(), "foo-service".into()), service("10.96.1.1", 8765, "")),
            (("a".into(), "headless".into()), service("None", 1, "")),
            (("b".into(), "other".into()), service("10.96.1.2", 1, "")),
        ]);
        let env = service_environment(&services, "a", true);
        for (key, want) in [
            ("FOO_SERVICE_SERVICE_HOST", "10.96.1.1"),
            ("FOO_SERVICE_SERVICE_PORT", "8765"),
            ("FOO_SERVICE_PORT", "tcp://10.96.1.1:8765"),
            ("FOO_SERVICE_PORT_8765_TCP", "tcp://10.96.1.1:8765"),
            ("FOO_SERVICE_PORT_8765_TCP_PROTO", "tcp"),
            ("FOO_SERVICE_PORT_8765_TCP_ADDR", "10.96.1.1"),
            ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        ] {
            assert_eq!(env.get(key).map(String::as_str), Some(want), "{key}");
        }
        assert!(!env.keys().any(|k| k.starts_with("OTHER") || k.starts_with("HEADLESS")));
        assert!(!service_environment(&services, "a", false).keys().any(|k| k.starts_with("FOO")));
    }
}
