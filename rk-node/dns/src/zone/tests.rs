//! What names mean, case by case.

use super::*;
use serde_json::json;

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local", "10.96.0.10".parse().unwrap());
    for service in [
        json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.7",
            "ports": [{"name": "http", "protocol": "TCP", "port": 80}]}}),
        json!({"metadata": {"name": "db", "namespace": "shop"}, "spec": {"clusterIP": "None"}}),
        json!({"metadata": {"name": "out", "namespace": "shop"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}),
        json!({"metadata": {"name": "idle", "namespace": "shop"}, "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]}}),
    ] {
        zone.set_service(&serde_json::from_value(service).unwrap());
    }
    let slice = json!({"metadata": {"name": "db-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4", "ports": [{"name": "sql", "protocol": "TCP", "port": 5432}], "endpoints": [
        {"addresses": ["10.244.1.5"], "hostname": "db-0", "conditions": {"ready": true}},
        {"addresses": ["10.244.2.6"], "conditions": {}},
        {"addresses": ["10.244.3.7"], "conditions": {"ready": false}}]});
    zone.set_slice(&serde_json::from_value(slice).unwrap());
    for (service, family, addresses) in [
        ("web", "IPv4", ["10.244.1.9", "10.244.1.8"]),
        ("both", "IPv4", ["10.244.1.9", "10.244.1.8"]),
        ("both", "IPv6", ["fd00::9", "fd00::8"]),
    ] {
        let [named, other] = addresses;
        let slice = json!({"metadata": {"name": format!("{service}-{family}"), "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service}}, "addressType": family,
            "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
            "endpoints": [{"addresses": [named], "hostname": "web-0"}, {"addresses": [other]}]});
        zone.set_slice(&serde_json::from_value(slice).unwrap());
    }
    let both = json!({"metadata": {"name": "both", "namespace": "shop"}, "spec": {"clusterIP": "None"}});
    zone.set_service(&serde_json::from_value(both).unwrap());
    zone
}

fn address(text: &str) -> Data {
    Data::Address(text.parse().unwrap())
}

#[test]
fn names_mean_what_the_specification_says() {
    let host = |label: &str| format!("{label}.shop.svc.cluster.local");
    let cases = [
        ("web.shop.svc.cluster.local", Answer::Found(vec![address("10.96.0.7"), Data::Srv(80, host("web"))])),
        ("WEB.Shop.svc.cluster.local.", Answer::Found(vec![address("10.96.0.7"), Data::Srv(80, host("web"))])),
        ("_http._tcp.web.shop.svc.cluster.local", Answer::Found(vec![Data::Srv(80, host("web"))])),
        ("_http._udp.web.shop.svc.cluster.local", Answer::Missing),
        ("_tcp.web.shop.svc.cluster.local", Answer::Found(vec![])),
        ("x.web.shop.svc.cluster.local", Answer::Missing),
        ("10-244-1-8.web.shop.svc.cluster.local", Answer::Found(vec![address("10.244.1.8")])),
        ("web-0.web.shop.svc.cluster.local", Answer::Found(vec![address("10.244.1.9")])),
        ("web-0.both.shop.svc.cluster.local", Answer::Found(vec![address("10.244.1.9"), address("fd00::9")])),
        ("x.out.shop.svc.cluster.local", Answer::Missing),
        ("idle.shop.svc.cluster.local", Answer::Missing),
        ("_sql._tcp.idle.shop.svc.cluster.local", Answer::Missing),
        ("db-0.db.shop.svc.cluster.local", Answer::Found(vec![address("10.244.1.5")])),
        ("10-244-2-6.db.shop.svc.cluster.local", Answer::Found(vec![address("10.244.2.6")])),
        ("out.shop.svc.cluster.local", Answer::Alias("example.com".into())),
        ("10-244-1-5.shop.pod.cluster.local", Answer::Found(vec![address("10.244.1.5")])),
        ("none.shop.svc.cluster.local", Answer::Missing),
        ("shop.svc.cluster.local", Answer::Found(vec![])),
        ("empty.svc.cluster.local", Answer::Missing),
        ("dns-version.cluster.local", Answer::Found(vec![Data::Txt("1.1.0".into())])),
        ("7.0.96.10.in-addr.arpa", Answer::Found(vec![Data::Ptr(host("web"))])),
        ("5.1.244.10.in-addr.arpa", Answer::Found(vec![Data::Ptr(host("db-0.db"))])),
        ("9.1.244.10.in-addr.arpa", Answer::Found(vec![Data::Ptr(host("web-0.both")), Data::Ptr(host("web-0.web"))])),
        ("8.1.244.10.in-addr.arpa", Answer::Found(vec![Data::Ptr(host("10-244-1-8.both"))])),
        ("1.1.1.1.in-addr.arpa", Answer::Foreign),
        ("example.com", Answer::Foreign),
        ("notcluster.local", Answer::Foreign),
    ];
    let zone = zone();
    for (name, expected) in cases {
        assert_eq!(zone.lookup(name), expected, "{name}");
    }
}

#[test]
fn headless_services_answer_their_ready_endpoints() {
    let Answer::Found(data) = zone().lookup("db.shop.svc.cluster.local") else { panic!("db exists") };
    let addresses: Vec<&Data> = data.iter().filter(|d| matches!(d, Data::Address(_))).collect();
    assert_eq!(addresses, [&address("10.244.1.5"), &address("10.244.2.6")]);
    let Answer::Found(ports) = zone().lookup("_sql._tcp.db.shop.svc.cluster.local") else { panic!("sql exists") };
    assert!(ports.contains(&Data::Srv(5432, "db-0.db.shop.svc.cluster.local".into())), "{ports:?}");
}

#[test]
fn a_pod_with_addresses_of_both_families_serves_a_port_once() {
    let Answer::Found(mut ports) = zone().lookup("_http._tcp.both.shop.svc.cluster.local") else { panic!("it exists") };
    ports.sort_by_key(|data| format!("{data:?}"));
    let labels = ["10-244-1-8", "fd00--8", "web-0"];
    assert_eq!(ports, labels.map(|label| Data::Srv(80, format!("{label}.both.shop.svc.cluster.local"))));
}

#[test]
fn a_fresh_list_forgets_what_it_does_not_name() {
    let mut zone = zone();
    zone.retain(Some(&HashSet::from([("shop".into(), "db".into())])), Some(&HashSet::new()));
    assert_eq!(zone.lookup("web.shop.svc.cluster.local"), Answer::Missing);
    assert_eq!(zone.lookup("db.shop.svc.cluster.local"), Answer::Missing, "it has no endpoints");
    assert_eq!(zone.lookup("_tcp.db.shop.svc.cluster.local"), Answer::Found(vec![]));
}

#[test]
fn reverse_names_of_both_families_are_read() {
    let v6 = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    assert_eq!(reverse_address(v6), "fd00::7".parse().ok());
    for wrong in ["x.in-addr.arpa", "1.2.3.in-addr.arpa", "1.ip6.arpa", "in-addr.arpa", "gg.ip6.arpa"] {
        assert_eq!(reverse_address(wrong), None, "{wrong}");
    }
}
