//! What a control plane may be told beside what every machine may.

mod common;

use common::{WORKER, refusals};
use rk_config::{parse, to_yaml};

fn plane(extra: &str) -> String {
    format!("apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\n{extra}")
}

#[test]
fn control_planes_may_share_an_address_and_workers_may_not() {
    let shared = |vip: &str| {
        plane(&format!(
            "network: {{interfaces: [{{match: {{name: eth0}}, addresses: [10.0.0.5/24], vip: '{vip}'}}]}}\nkubelet: {{nodeIP: 10.0.0.5}}\n"
        ))
    };
    for vip in ["10.0.0.9", "fd00::9"] {
        let config = parse(&shared(vip)).unwrap().config;
        assert_eq!(config.network.vips(), [vip.parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(parse(&to_yaml(&config).unwrap()).unwrap().config, config, "round trip");
    }
    for (vip, why) in [
        ("10.0.0.5", "this machine alone by network.interfaces[0]"),
        ("10.244.3.4", "within cluster.podCIDR"),
        ("10.96.0.1", "within cluster.serviceCIDR"),
        ("127.0.0.1", "other machines reach"),
        ("fe80::1", "other machines reach"),
        ("0.0.0.0", "other machines reach"),
        ("10.0.0.9/24", "must be an IP address"),
    ] {
        let refused = refusals(&shared(vip));
        assert!(
            refused.len() == 1 && refused[0].starts_with("network.interfaces[0].vip") && refused[0].contains(why),
            "{vip}: {refused:?}"
        );
    }
    let twice =
        plane("network: {interfaces: [{match: {name: a}, vip: 10.0.0.9}, {match: {name: b}, vip: 10.0.0.9}]}\n");
    assert!(refusals(&twice)[0].contains("interfaces[1].vip"), "{:?}", refusals(&twice));
    let worker = WORKER.replace("      dhcp: true\n", "      dhcp: true\n      vip: 10.0.0.9\n");
    assert_eq!(
        refusals(&worker),
        ["network.interfaces[0].vip: is for role control-plane only; remove it or change role"]
    );
}

#[test]
fn nodes_get_parts_of_the_range_of_pods_that_fit_it() {
    let with = |range: &str, mask: &str| plane(&format!("cluster: {{podCIDR: {range}}}\ncontrolPlane: {{{mask}}}\n"));
    let config = parse(&with("10.244.0.0/16", "nodeCIDRMaskSize: 22")).unwrap().config;
    assert_eq!(config.control_plane.as_ref().unwrap().node_mask(), 22);
    assert_eq!(parse(&to_yaml(&config).unwrap()).unwrap().config, config, "round trip");
    assert_eq!(parse(&plane("")).unwrap().config.control_plane.unwrap().node_mask(), 24);
    assert!(parse(&with("10.244.0.0/25", "nodeCIDRMaskSize: 26")).is_ok());
    for (range, mask, refused) in [
        ("10.244.0.0/25", "", "cluster.podCIDR: must be /24 or larger: every node gets a /24 of it"),
        (
            "10.244.0.0/16",
            "nodeCIDRMaskSize: 15",
            "cluster.podCIDR: must be /15 or larger: every node gets a /15 of it",
        ),
        (
            "192.0.0.0/9",
            "nodeCIDRMaskSize: 26",
            "controlPlane.nodeCIDRMaskSize: must be at most 16 more than the /9 of cluster.podCIDR, not 26",
        ),
        (
            "10.244.0.0/16",
            "nodeCIDRMaskSize: 30",
            "controlPlane.nodeCIDRMaskSize: must be a whole number from 1 to 29, not 30",
        ),
    ] {
        assert_eq!(refusals(&with(range, mask)), [refused]);
    }
}

#[test]
fn a_dual_stack_cluster_has_a_range_of_each_family() {
    let with = |pods: &str, services: &str, more: &str| {
        let cluster = format!("cluster: {{podCIDR: '{pods}', serviceCIDR: '{services}'}}\n");
        plane(&format!("{cluster}controlPlane: {{{more}}}\nkubelet: {{nodeIP: '10.0.0.5,fd00:77::5'}}\n"))
    };
    let (pods, services) = ("10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/112");
    let config = parse(&with(pods, services, "nodeCIDRMaskSizeIPv6: 72")).unwrap().config;
    assert_eq!(
        (config.cluster.pod_cidr.to_string(), config.cluster.service_cidr.to_string()),
        (pods.into(), services.into())
    );
    assert_eq!(config.kubelet.node_ip.unwrap().to_string(), "10.0.0.5,fd00:77::5");
    assert_eq!(config.control_plane.as_ref().unwrap().node_mask_ipv6(), 72);
    assert_eq!(parse(&to_yaml(&config).unwrap()).unwrap().config, config, "round trip");
    let config = parse(&with(pods, "10.96.0.0/16", "")).unwrap().config;
    assert_eq!(config.control_plane.unwrap().node_mask_ipv6(), 64);
    let (of_pods, of_services) =
        ("cluster.podCIDR: must be an IPv4 range", "cluster.serviceCIDR: must be an IPv4 range");
    for (pods, services, more, refused) in [
        ("fd00:10:244::/56", services, "", of_pods),
        ("fd00:10:244::/56,10.244.0.0/16", services, "", of_pods),
        ("10.244.0.0/16,10.245.0.0/16", "10.96.0.0/16", "", of_pods),
        (pods, "fd00:10:96::/112", "", of_services),
        (
            "10.244.0.0/16",
            services,
            "",
            "cluster.serviceCIDR: has an IPv6 range, and cluster.podCIDR has none; a dual-stack cluster needs both",
        ),
        (
            "10.244.0.0/16,fd00:10:244::1/56",
            services,
            "",
            "cluster.podCIDR: has host bits set; did you mean fd00:10:244::/56?",
        ),
        (
            "10.244.0.0/16,fe80::/56",
            services,
            "",
            "cluster.podCIDR: fe80::/56 is no range of addresses that hosts can have",
        ),
        (pods, "10.96.0.0/16,fd00:10:244:7::/112", "", "cluster.serviceCIDR: overlaps with cluster.podCIDR"),
        (
            pods,
            "10.96.0.0/16,fd00:10:96::/56",
            "",
            "cluster.serviceCIDR: fd00:10:96::/56 is too large; for 128-bit addresses, the mask must be >= 64",
        ),
        (
            pods,
            "10.96.0.0/16,fd00:10:96::/126",
            "",
            "cluster.serviceCIDR: must be /124 or larger where it is of IPv6, not fd00:10:96::/126",
        ),
        (
            "10.244.0.0/16,fd00:10:244::/72",
            services,
            "",
            "cluster.podCIDR: must be /64 or larger: every node gets a /64 of it",
        ),
        (
            "10.244.0.0/16,fd00:10::/40",
            services,
            "",
            "controlPlane.nodeCIDRMaskSizeIPv6: must be at most 16 more than the /40 of cluster.podCIDR, not 64",
        ),
        (
            "10.244.0.0/16",
            "10.96.0.0/16",
            "nodeCIDRMaskSizeIPv6: 64",
            "controlPlane.nodeCIDRMaskSizeIPv6: is for a cluster.podCIDR that has an IPv6 range; remove it or add one",
        ),
    ] {
        let seen = refusals(&with(pods, services, more));
        assert!(seen.iter().any(|line| line.starts_with(refused)), "{pods} {services}: {seen:?}");
    }
    let turned = with(pods, services, "").replace("10.0.0.5,fd00:77::5", "fd00:77::5,10.0.0.5");
    assert!(refusals(&turned)[0].starts_with("kubelet.nodeIP: must be an IP address, or"), "{:?}", refusals(&turned));
    let vip = plane(&format!(
        "cluster: {{podCIDR: '{pods}', serviceCIDR: '{services}'}}\nnetwork: {{interfaces: [{{match: {{name: a}}, vip: 'fd00:10:96::9'}}]}}\n"
    ));
    assert!(refusals(&vip)[0].contains("is within cluster.serviceCIDR fd00:10:96::/112"), "{:?}", refusals(&vip));
}

#[test]
fn an_etcd_is_named_by_its_members_and_its_certificates_come_whole() {
    let pem = |label: &str| format!("\"-----BEGIN {label}-----\\nAAAA\\n-----END {label}-----\\n\"");
    let (certificate, key) = (pem("CERTIFICATE"), pem("PRIVATE KEY"));
    let etcd = |rest: &str| plane(&format!("controlPlane: {{etcd: {{{rest}}}}}\n"));
    let config = parse(&etcd("endpoints: ['http://10.0.0.1:2379', 'http://10.0.0.2:2379']")).unwrap().config;
    assert_eq!(config.control_plane.unwrap().etcd.unwrap().endpoints.len(), 2);
    let whole = etcd(&format!(
        "endpoints: ['https://10.0.0.1:2379'], ca: {certificate}, certificate: {certificate}, key: {key}"
    ));
    let config = parse(&whole).unwrap().config;
    assert_eq!(parse(&to_yaml(&config).unwrap()).unwrap().config, config, "round trip");
    for (rest, why) in [
        (String::new(), "controlPlane.etcd.endpoints: is empty"),
        ("endpoints: ['ftp://a']".to_owned(), "controlPlane.etcd.endpoints[0]: must be a URL"),
        (format!("endpoints: ['https://a:1'], certificate: {certificate}"), "needs certificate and key"),
        (format!("endpoints: ['http://a:1'], ca: {certificate}"), "must all be https://"),
    ] {
        let refused = refusals(&etcd(&rest));
        assert!(refused.iter().any(|line| line.contains(why)), "{rest}: {refused:?}");
    }
}

#[test]
fn an_audit_log_is_bounded_and_its_policy_is_one() {
    let audit = |rest: &str| plane(&format!("controlPlane: {{audit: {{{rest}}}}}\n"));
    let config = parse(&audit("")).unwrap().config;
    let log = config.control_plane.unwrap().audit.unwrap();
    assert_eq!((log.enabled, log.max_size_mb, log.max_backups, log.max_age_days), (true, 10, 2, 0));
    let head = "apiVersion: audit.k8s.io/v1, kind: Policy";
    let whole = audit(&format!("maxSizeMB: 100, maxBackups: 10, policy: {{{head}, rules: [{{level: Request}}]}}"));
    let config = parse(&whole).unwrap().config;
    assert_eq!(parse(&to_yaml(&config).unwrap()).unwrap().config, config, "round trip");
    for (rest, why) in [
        ("maxSizeMB: 0".to_owned(), "controlPlane.audit.maxSizeMB: must be a whole number from 1"),
        ("policy: []".to_owned(), "controlPlane.audit.policy: must be an audit policy"),
        (format!("policy: {{{head}}}"), "controlPlane.audit.policy.rules: is empty"),
        (
            format!("policy: {{{head}, rules: [{{level: All}}]}}"),
            "controlPlane.audit.policy.rules[0].level: must be one of",
        ),
        (
            "policy: {kind: Policy, rules: [{level: None}]}".to_owned(),
            "policy.apiVersion: must be audit.k8s.io/v1, not",
        ),
    ] {
        let refused = refusals(&audit(&rest));
        assert!(refused.iter().any(|line| line.contains(why)), "{rest}: {refused:?}");
    }
}

#[test]
fn a_key_of_secrets_is_32_bytes_in_base64() {
    let plane = |key: &str| plane(&format!("controlPlane: {{secretboxEncryptionSecret: '{key}'}}\n"));
    let good = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let config = parse(&plane(good)).unwrap().config;
    assert_eq!(config.control_plane.as_ref().unwrap().secretbox_encryption_secret.as_deref(), Some(good));
    assert_eq!(parse(&to_yaml(&config).unwrap()).unwrap().config, config, "round trip");
    for bad in ["AQEBAQ==", "no key", &good[1..]] {
        assert_eq!(
            refusals(&plane(bad)),
            ["controlPlane.secretboxEncryptionSecret: must be 32 bytes in base64"],
            "{bad}"
        );
    }
}
