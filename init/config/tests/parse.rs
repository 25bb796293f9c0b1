//! What a machine config may say, what it may not, and how each refusal is worded.

mod common;

use common::{WORKER, refusals};
use rk_config::{ConfigError, MachineConfig, Role, TaintEffect, parse, to_json, to_yaml};

fn worker(extra: &str) -> String {
    format!("{WORKER}\n{extra}")
}

#[test]
fn a_full_worker_config_is_read() {
    let parsed = parse(WORKER).unwrap();
    assert_eq!(parsed.warnings, Vec::<String>::new());
    let config = parsed.config;
    assert_eq!(config.role, Role::Worker);
    assert_eq!(config.network.interfaces[1].matches.mac.as_deref(), Some("52:54:00:00:00:1a"));
    assert_eq!(config.network.interfaces[1].routes[0].metric, Some(100));
    assert_eq!(config.kubelet.labels["example.com/on"], "true");
    assert_eq!(config.kubelet.taints[0].effect, TaintEffect::NoSchedule);
    assert!(config.registries.mirrors[0].include_host);
    assert_eq!(config.registries.tls[0].matches, "registry.example:5000");
}

#[test]
fn registries_are_shown_a_name_and_a_password_a_token_or_a_certificate() {
    let read = |auth: &str| WORKER.replace("  tls:\n", &format!("  auth: [{auth}]\n  tls:\n"));
    let parsed =
        parse(&read("{match: 'r.io:5000', username: u, password: p}, {match: q.io, identityToken: t}")).unwrap();
    assert_eq!(parsed.warnings, Vec::<String>::new());
    let auth = &parsed.config.registries.auth;
    let half = "registries.auth[0]: needs username and password, identityToken, or certificate and key";
    assert_eq!((auth[0].matches.as_str(), auth[0].password.as_str()), ("r.io:5000", "p"));
    assert_eq!((auth[1].matches.as_str(), auth[1].identity_token.as_str()), ("q.io", "t"));
    for (auth, want) in [
        ("{match: r.io}", half),
        ("{match: r.io, username: u}", half),
        (
            "{match: r.io, username: u, certificate: \"-----BEGIN CERTIFICATE-----\\n-----END CERTIFICATE-----\\n\", key: \"-----BEGIN PRIVATE KEY-----\\n-----END PRIVATE KEY-----\\n\"}",
            half,
        ),
        (
            "{match: r.io, identityToken: t, certificate: \"-----BEGIN CERTIFICATE-----\\n-----END CERTIFICATE-----\\n\"}",
            half,
        ),
        (
            "{match: r.io, certificate: none, key: \"-----BEGIN EC PRIVATE KEY-----\\n-----END EC PRIVATE KEY-----\\n\"}",
            "registries.auth[0].certificate: must be a PEM block of type CERTIFICATE",
        ),
        (
            "{match: '*', identityToken: t}",
            "registries.auth[0].match: must be a registry host with an optional port, not \"*\"",
        ),
    ] {
        assert_eq!(refusals(&read(auth)), [want]);
    }
}

#[test]
fn a_minimal_control_plane_config_gets_defaults() {
    let config = parse("apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\n").unwrap().config;
    let plane = config.control_plane.unwrap();
    assert_eq!(plane.bind.to_string(), "0.0.0.0:6443");
    assert_eq!(config.cluster.endpoint.as_deref(), Some("https://127.0.0.1:6443"));
    assert_eq!(config.cluster.dns_ip.to_string(), "10.96.0.10");
    assert_eq!(config.kubelet.max_pods, 110);
    assert!(config.network.ntp.enabled);
}

#[test]
fn another_network_and_another_proxy_may_take_the_place_of_ours() {
    let cluster = |more: &str| {
        let yaml = WORKER.replace("  dnsIP: 10.96.0.10\n", &format!("  dnsIP: 10.96.0.10\n{more}"));
        let cluster = parse(&yaml).unwrap().config.cluster;
        (cluster.pod_network, cluster.service_proxy)
    };
    assert_eq!(cluster(""), (true, true));
    assert_eq!(cluster("  podNetwork: false\n"), (false, true));
    assert_eq!(cluster("  serviceProxy: false\n"), (true, false));
    let odd = WORKER.replace("  dnsIP: 10.96.0.10\n", "  podNetwork: cilium\n");
    assert!(refusals(&odd).iter().any(|refusal| refusal.starts_with("cluster.podNetwork: ")), "{:?}", refusals(&odd));
}

#[test]
fn what_is_written_is_read_back_equal_as_yaml_and_as_json() {
    let plane = worker("controlPlane: {advertise: 192.168.77.10}\n").replace("role: worker", "role: control-plane");
    let others = WORKER.replace("  dnsIP: 10.96.0.10\n", "  podNetwork: false\n  serviceProxy: false\n");
    for yaml in [WORKER, plane.as_str(), others.as_str()] {
        let config = parse(yaml).unwrap().config;
        assert_eq!(parse(&to_yaml(&config).unwrap()).unwrap().config, config);
        assert_eq!(serde_json::from_str::<MachineConfig>(&to_json(&config).unwrap()).unwrap(), config);
    }
}

#[test]
fn the_accepted_file_is_private_and_survives_tearing() {
    use std::os::unix::fs::PermissionsExt;
    let dir = std::env::temp_dir().join(format!("rk-config-{}", std::process::id()));
    let path = dir.join("machine.json");
    let config = parse(WORKER).unwrap().config;
    rk_config::save_accepted(&config, &path).unwrap();
    rk_config::save_accepted(&config, &path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(rk_config::load_accepted(&path).unwrap(), config);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(rk_config::load_accepted(&path), Err(ConfigError::Corrupt { .. })));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn unknown_keys_are_named_by_path_and_do_not_refuse_the_config() {
    let yaml = worker("colour: red\n")
        .replace("maxPods: 110", "maxPods: 110\n  maxPod: 3")
        .replace("dhcp: true", "dhcp: true\n      dhcp7: true");
    assert_eq!(parse(&yaml).unwrap().warnings, ["network.interfaces[0].dhcp7", "kubelet.maxPod", "colour"]);
}

#[test]
fn every_wrong_field_is_named_with_its_path_and_reason() {
    let table: &[(&str, &str, &str)] = &[
        (
            "apiVersion: rk.dev/v1alpha1",
            "apiVersion: rk.dev/v9",
            "apiVersion: must be rk.dev/v1alpha1, not \"rk.dev/v9\"",
        ),
        ("kind: MachineConfig", "kind: Pod", "kind: must be MachineConfig, not \"Pod\""),
        ("role: worker", "role: boss", "role: must be worker or control-plane, not \"boss\""),
        ("role: worker\n", "", "role: is missing; write worker or control-plane"),
        (
            "hostname: worker-1",
            "hostname: Worker_1",
            "hostname: must be a lower-case DNS name of at most 63 characters, not \"Worker_1\"",
        ),
        ("dhcp: true", "dhcp: 7", "network.interfaces[0].dhcp: must be true or false, not 7"),
        ("{name: eth0}", "{}", "network.interfaces[0].match: names no link; give name, mac, driver or path"),
        (
            "52:54:00:00:00:1A",
            "52:54:00",
            "network.interfaces[1].match.mac: must be six hex pairs such as 52:54:00:00:00:11, not \"52:54:00\"",
        ),
        (
            "192.168.77.11/24",
            "192.168.77.300/24",
            "network.interfaces[1].addresses[0]: must be an address with its prefix length such as 192.168.77.11/24, not \"192.168.77.300/24\"",
        ),
        ("mtu: 1500", "mtu: -4", "network.interfaces[1].mtu: must be a whole number from 576 to 65535, not -4"),
        (
            "via: 192.168.77.1,",
            "via: 'fe80::1',",
            "network.interfaces[1].routes[0].via: must be of the same IP family as the destination",
        ),
        ("nameservers: [10.0.2.3]", "nameservers: 10.0.2.3", "network.nameservers: must be a list, not \"10.0.2.3\""),
        ("[pool.ntp.org]", "['a b']", "network.ntp.servers[0]: must be a host name or an IP address, not \"a b\""),
        (
            "https://192.168.77.10:6443",
            "http://x",
            "cluster.endpoint: must be a URL such as https://host:port, not \"http://x\"",
        ),
        (
            "abcdef.0123456789abcdef",
            "secret",
            "cluster.token: must be a bootstrap token: six and sixteen characters of a-z0-9 with a dot between",
        ),
        ("  token: abcdef.0123456789abcdef\n", "", "cluster.token: is missing; a worker needs a bootstrap token"),
        (
            "podCIDR: 10.244.0.0/16",
            "podCIDR: 10.244.0.9/16",
            "cluster.podCIDR: has host bits set; did you mean 10.244.0.0/16?",
        ),
        (
            "dnsIP: 10.96.0.10",
            "dnsIP: 10.97.0.10",
            "cluster.dnsIP: 10.97.0.10 is not within cluster.serviceCIDR 10.96.0.0/16",
        ),
        (
            "effect: NoSchedule",
            "effect: Never",
            "kubelet.taints[0].effect: must be NoSchedule, PreferNoSchedule or NoExecute, not \"Never\"",
        ),
        ("maxPods: 110", "maxPods: many", "kubelet.maxPods: must be a whole number from 1 to 1000, not \"many\""),
        (
            "disk: ssd",
            "disk: 's s'",
            "kubelet.labels[disk]: \"s s\" is not a label value: at most 63 of A-Za-z0-9, '-', '_', '.'",
        ),
        (
            "http://10.0.2.2:5000",
            "10.0.2.2:5000",
            "registries.mirrors[0].endpoints[0]: must be a URL such as http://host:port, not \"10.0.2.2:5000\"",
        ),
        (
            "match: registry.example:5000",
            "match: https://registry.example",
            "registries.tls[0].match: must be a registry host with an optional port, or \"*\", not \"https://registry.example\"",
        ),
        (
            "ca: \"-----BEGIN CERTIFICATE-----",
            "ca: \"-----BEGIN NOTHING-----",
            "registries.tls[0].ca: must be a PEM block of type CERTIFICATE",
        ),
        (
            "cluster:\n  name: rk",
            "controlPlane: {}\ncluster:\n  name: rk",
            "controlPlane: is for role control-plane only; remove it or change role",
        ),
    ];
    for (from, to, wanted) in table {
        assert!(WORKER.contains(from), "{from} is not in the base config");
        assert_eq!(refusals(&WORKER.replacen(from, to, 1)), [*wanted], "for {to}");
    }
}

#[test]
fn all_wrong_fields_are_reported_at_once() {
    let yaml = WORKER
        .replace("role: worker", "role: boss")
        .replace("maxPods: 110", "maxPods: 0")
        .replace("mtu: 1500", "mtu: big");
    assert_eq!(refusals(&yaml).len(), 3);
    let bare = "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: boss\n";
    assert_eq!(refusals(bare).len(), 1, "an unknown role demands nothing more");
}

#[test]
fn text_that_is_no_mapping_or_no_yaml_is_refused_in_words() {
    for (yaml, wanted) in [
        ("", "must be a mapping"),
        ("- a\n- b\n", "must be a mapping"),
        ("a: b: c", "not valid YAML"),
        ("a: [", "not valid YAML"),
        ("a: &x [*x]", "not valid YAML"),
    ] {
        let said = refusals(yaml).join("\n");
        assert!(said.contains(wanted), "{yaml:?} gave {said}");
    }
}

#[test]
fn a_config_over_the_size_limit_is_refused_unread() {
    let yaml = format!("{WORKER}# {}", "x".repeat(rk_config::MAX_CONFIG_BYTES));
    assert!(matches!(parse(&yaml), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut yaml = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..9 {
        let before = i - 1;
        yaml.push_str(&format!(
            "a{i}: &a{i} [*a{before},*a{before},*a{before},*a{before},*a{before},*a{before},*a{before},*a{before}]\n"
        ));
    }
    assert!(matches!(parse(&yaml), Err(ConfigError::Syntax(_))));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let yaml = worker("controlPlane:\n  ca:\n    certificate: |\n      -----BEGIN CERTIFICATE-----\n      AA==\n      -----END CERTIFICATE-----\n    key: |\n      -----BEGIN PRIVATE KEY-----\n      S3cr3tB4se64\n      -----END PRIVATE KEY-----\n")
        .replace("role: worker", "role: control-plane");
    let shown = format!("{:?}", parse(&yaml).unwrap().config);
    assert!(!shown.contains("S3cr3tB4se64") && !shown.contains("abcdef.0123456789abcdef"), "{shown}");
}

#[test]
fn the_command_line_carries_a_config() {
    let word = rk_config::encode_for_cmdline(WORKER);
    let cmdline = format!("quiet console=ttyS0 rk.config=x {word}\n");
    assert_eq!(rk_config::from_cmdline(&cmdline), Some(Ok(rk_config::CmdlineConfig::Text(WORKER.to_owned()))));
    assert_eq!(
        rk_config::from_cmdline("rk.config=https://a/b"),
        Some(Ok(rk_config::CmdlineConfig::Url("https://a/b".to_owned())))
    );
    assert_eq!(rk_config::from_cmdline("quiet"), None);
    assert!(rk_config::from_cmdline("rk.config=yaml").unwrap().is_err());
    assert!(rk_config::from_cmdline("rk.config=base64:***").unwrap().is_err());
    assert_eq!(rk_config::cmdline_value("quiet rk.debug", "rk.debug"), Some(""));
}

const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

#[test]
fn links_that_the_node_makes_are_read_and_written_back_alike() {
    let yaml = format!(
        "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\nnetwork:\n  interfaces:\n  \
         - {{name: bond0, bond: {{mode: 802.3ad, members: [{{mac: '52:54:00:00:00:01'}}, {{path: '0000:00:04.0'}}]}}, dhcp: true}}\n  \
         - {{name: bond0.7, vlan: {{id: 7, parent: {{name: bond0}}}}, addresses: [10.7.0.2/24], acceptRA: false}}\n  \
         - {{name: br0, bridge: {{members: [{{driver: virtio_net}}], stp: true}}, dhcp6: true}}\n\
         kubelet: {{config: {{kind: KubeletConfiguration, podPidsLimit: 100, odd: [1, {{a: b}}]}}}}\n\
         registries: {{credentialProviders: {{kind: CredentialProviderConfig, providers: [{{name: p, args: [s3cret]}}]}}}}\n\
         machineApi: {{ca: {PEM:?}, identity: {{certificate: {PEM:?}, key: {KEY:?}}}}}\n"
    );
    let parsed = rk_config::parse(&yaml).unwrap();
    assert_eq!(parsed.warnings, Vec::<String>::new());
    assert_eq!(parsed.config.kubelet.config["odd"][1]["a"], "b");
    assert_eq!(parsed.config.registries.credential_providers["providers"][0]["name"], "p");
    assert!(!rk_config::redacted(&parsed.config).to_string().contains("s3cret"));
    let again = rk_config::parse(&rk_config::to_yaml(&parsed.config).unwrap()).unwrap().config;
    assert_eq!(again, parsed.config);
    let json = rk_config::to_json(&parsed.config).unwrap();
    let back: rk_config::MachineConfig = serde_json::from_str(&json).unwrap();
    assert_eq!(back, parsed.config);
}

#[test]
fn wrong_links_are_refused_by_their_path() {
    let table = [
        ("{name: a, vlan: {id: 5000, parent: {name: b}}}", "network.interfaces[0].vlan.id"),
        ("{name: a, vlan: {parent: {name: b}}}", "network.interfaces[0].vlan.id"),
        ("{name: a, vlan: {id: 5}}", "network.interfaces[0].vlan.parent"),
        ("{name: a, bond: {mode: fast, members: [{name: b}]}}", "network.interfaces[0].bond.mode"),
        ("{name: a, bond: {members: []}}", "network.interfaces[0].bond.members"),
        ("{bridge: {members: [{name: b}]}}", "network.interfaces[0].name"),
        ("{name: much-too-long-a-name, bridge: {members: [{name: b}]}}", "network.interfaces[0].name"),
        ("{match: {name: a}, name: b}", "network.interfaces[0].name"),
        ("{match: {mac: nonsense}}", "network.interfaces[0].match.mac"),
        ("{match: {}}", "network.interfaces[0].match"),
    ];
    for (entry, path) in table {
        let yaml = format!(
            "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\nnetwork:\n  interfaces:\n  - {entry}\n"
        );
        let error = rk_config::parse(&yaml).expect_err(entry);
        assert!(error.fields().iter().any(|field| field.path == path), "{entry}: {error}");
    }
}

#[test]
fn static_pods_are_handed_on_whole_and_told_apart_by_their_names() {
    let with = |pods: &str| WORKER.replace("maxPods: 110", &format!("staticPods: [{pods}]"));
    let pod =
        "{apiVersion: v1, kind: Pod, metadata: {name: own}, spec: {containers: [{name: c, image: i, args: [a, 1]}]}}";
    let parsed = parse(&with(pod)).unwrap();
    assert_eq!(parsed.warnings, Vec::<String>::new());
    assert_eq!(parsed.config.kubelet.static_pods.len(), 1);
    assert_eq!(parsed.config.kubelet.static_pods[0]["spec"]["containers"][0]["args"][1], 1);
    assert_eq!(parse(&to_yaml(&parsed.config).unwrap()).unwrap().config, parsed.config);
    let nameless = pod.replace("name: own", "namespace: own");
    for (pods, want) in [
        (format!("{pod}, {pod}"), "kubelet.staticPods[1]: has the name of another one"),
        (nameless, "kubelet.staticPods[0]: must be a Pod with a metadata.name"),
        (pod.replace("kind: Pod", "kind: Job"), "kubelet.staticPods[0]: must be a Pod with a metadata.name"),
        ("7".to_owned(), "kubelet.staticPods[0]: must be a Pod with a metadata.name"),
    ] {
        assert_eq!(refusals(&with(&pods)), [want]);
    }
    let other = pod.replace("name: own", "name: own, namespace: other");
    assert_eq!(parse(&with(&format!("{pod}, {other}"))).unwrap().config.kubelet.static_pods.len(), 2);
}
