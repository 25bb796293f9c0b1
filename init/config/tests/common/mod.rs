//! What tests of configs share.

use rk_config::{ConfigError, parse};

/// A config that says nearly everything a worker can be told.
pub const WORKER: &str = r#"
apiVersion: rk.dev/v1alpha1
kind: MachineConfig
role: worker
hostname: worker-1
network:
  interfaces:
    - match: {name: eth0}
      dhcp: true
    - match: {mac: "52:54:00:00:00:1A"}
      addresses: [192.168.77.11/24]
      mtu: 1500
      routes: [{to: 0.0.0.0/0, via: 192.168.77.1, metric: 100}]
  nameservers: [10.0.2.3]
  ntp: {enabled: true, servers: [pool.ntp.org]}
cluster:
  name: rk
  endpoint: https://192.168.77.10:6443
  token: abcdef.0123456789abcdef
  caHash: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  podCIDR: 10.244.0.0/16
  serviceCIDR: 10.96.0.0/16
  dnsDomain: cluster.local
  dnsIP: 10.96.0.10
kubelet:
  nodeIP: 192.168.77.11
  labels: {disk: ssd, example.com/on: true}
  taints: [{key: k, value: v, effect: NoSchedule}]
  maxPods: 110
registries:
  mirrors:
    - match: "*"
      endpoints: [http://10.0.2.2:5000]
      includeHost: true
  tls:
    - match: registry.example:5000
      ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
"#;

/// What a config is refused for.
pub fn refusals(yaml: &str) -> Vec<String> {
    match parse(yaml) {
        Err(ConfigError::Fields(fields)) => fields.iter().map(ToString::to_string).collect(),
        Err(other) => vec![other.to_string()],
        Ok(parsed) => panic!("accepted: {:?}", parsed.config),
    }
}
