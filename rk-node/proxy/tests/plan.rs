//! What Services look like in rules, and that a change touches nothing else.

use std::collections::BTreeMap;

use ipnet::IpNet;
use rk_proxy::{
    Change, Changes, State,
    model::{Endpoint, Protocol, Service, ServiceKey, ServicePort, Slice},
    plan,
    plan::{Fate, Node, Plan, Rule, Slot},
};

fn key(name: &str) -> ServiceKey {
    ServiceKey { namespace: "ns".into(), name: name.into() }
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().expect("ip")
}

fn service(name: &str) -> Service {
    Service {
        key: key(name),
        cluster_ips: vec![ip("10.96.0.20")],
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        ports: vec![ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) }],
        affinity: None,
        internal_local: false,
        external_local: false,
        health_check_port: None,
    }
}

fn endpoint(address: &str, node: &str) -> Endpoint {
    Endpoint {
        ip: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        node: Some(node.into()),
        for_nodes: vec![],
        for_zones: vec![],
    }
}

fn slice(name: &str, endpoints: Vec<Endpoint>) -> Slice {
    Slice { service: key(name), ports: BTreeMap::from([(("http".to_owned(), Protocol::Tcp), 8080)]), endpoints }
}

fn node() -> Node {
    let pods: IpNet = "10.244.0.0/16".parse().expect("cidr");
    Node { name: "here".into(), zone: Some("a".into()), pod_cidrs: vec![pods], skip: vec![ip("10.96.0.10")] }
}

/// Backends that the chain of this role picks from.
fn backends(plan: &Plan, role: &str) -> Option<Vec<String>> {
    let rules = plan.v4.chains.get(&format!("{role}-ns/web/tcp/80"))?;
    rules.iter().find_map(|rule| match rule {
        Rule::Balance(backends, _) => Some(backends.iter().map(|(ip, port)| format!("{ip}:{port}")).collect()),
        _ => None,
    })
}

const CLUSTER_SLOT: fn() -> Slot = || Slot::Service(ip("10.96.0.20"), Protocol::Tcp, 80);
const REFUSED: fn() -> Slot = || Slot::Refused(ip("10.96.0.20"), Protocol::Tcp, 80);

#[test]
fn a_service_leads_to_its_ready_endpoints() {
    let slices = [
        slice("web", vec![endpoint("10.244.1.2", "here"), Endpoint { ready: false, ..endpoint("10.244.1.3", "here") }]),
        slice("web", vec![endpoint("10.244.2.2", "there")]),
    ];
    let plan = plan(&service("web"), &slices.iter().collect::<Vec<_>>(), &node());
    assert_eq!(backends(&plan, "cluster"), Some(vec!["10.244.1.2:8080".into(), "10.244.2.2:8080".into()]));
    let cluster = Fate::Chain("cluster-ns/web/tcp/80".into());
    assert_eq!(plan.v4.slots.get(&CLUSTER_SLOT()), Some(&cluster));
    assert_eq!(
        plan.v4.slots.get(&Slot::NodePort(Protocol::Tcp, 30080)),
        Some(&Fate::Chain("external-ns/web/tcp/80".into()))
    );
    assert_eq!(
        plan.v4.chains["external-ns/web/tcp/80"],
        [Rule::Masquerade, Rule::Goto("cluster-ns/web/tcp/80".into())]
    );
    assert!(
        plan.v4.slots.contains_key(&Slot::Hairpin(ip("10.244.1.2")))
            && !plan.v4.slots.contains_key(&Slot::Hairpin(ip("10.244.2.2")))
    );
    assert_eq!(plan.v6, Default::default());
}

#[test]
fn a_service_without_endpoints_is_refused_everywhere() {
    let plan = plan(&service("web"), &[], &node());
    assert_eq!(plan.v4.slots.get(&REFUSED()), Some(&Fate::Reject));
    assert_eq!(plan.v4.slots.get(&Slot::RefusedNodePort(Protocol::Tcp, 30080)), Some(&Fate::Reject));
    assert!(plan.v4.chains.is_empty());
}

#[test]
fn terminating_endpoints_serve_when_no_other_does() {
    let leaving = Endpoint { ready: false, terminating: true, ..endpoint("10.244.1.2", "here") };
    let only = slice("web", vec![leaving.clone(), Endpoint { serving: false, ..leaving.clone() }]);
    assert_eq!(backends(&plan(&service("web"), &[&only], &node()), "cluster"), Some(vec!["10.244.1.2:8080".into()]));
    let both = slice("web", vec![leaving, endpoint("10.244.2.2", "there")]);
    assert_eq!(backends(&plan(&service("web"), &[&both], &node()), "cluster"), Some(vec!["10.244.2.2:8080".into()]));
}

#[test]
fn local_policies_keep_to_this_node() {
    let mut local = service("web");
    local.internal_local = true;
    local.external_local = true;
    local.external_ips = vec![ip("203.0.113.7")];
    local.health_check_port = Some(32000);
    let slices = [slice("web", vec![endpoint("10.244.1.2", "here"), endpoint("10.244.2.2", "there")])];
    let here = plan(&local, &[&slices[0]], &node());
    assert_eq!(here.v4.slots.get(&CLUSTER_SLOT()), Some(&Fate::Chain("local-ns/web/tcp/80".into())));
    assert_eq!(backends(&here, "local"), Some(vec!["10.244.1.2:8080".into()]));
    let cluster = "cluster-ns/web/tcp/80".to_owned();
    let pods: IpNet = "10.244.0.0/16".parse().expect("cidr");
    let external =
        [Rule::From(pods, cluster.clone()), Rule::FromNode(cluster), Rule::Goto("local-ns/web/tcp/80".into())];
    assert_eq!(here.v4.chains["external-ns/web/tcp/80"], external);
    assert_eq!(here.health.as_ref().map(|h| h.local_endpoints), Some(1));

    let elsewhere = plan(&local, &[&slice("web", vec![endpoint("10.244.2.2", "there")])], &node());
    assert_eq!(elsewhere.v4.slots.get(&REFUSED()), Some(&Fate::Drop), "served elsewhere: silence");
    assert_eq!(elsewhere.v4.slots.get(&Slot::Refused(ip("203.0.113.7"), Protocol::Tcp, 80)), Some(&Fate::Drop));
    assert_eq!(elsewhere.v4.slots.get(&Slot::RefusedNodePort(Protocol::Tcp, 30080)), Some(&Fate::Drop));
    assert_eq!(elsewhere.health.map(|h| h.local_endpoints), Some(0));
}

#[test]
fn hints_are_followed_only_when_all_endpoints_have_them() {
    let zoned = |address: &str, zone: &str| Endpoint { for_zones: vec![zone.into()], ..endpoint(address, "there") };
    let noded = |address: &str, node: &str| Endpoint { for_nodes: vec![node.into()], ..endpoint(address, "there") };
    for (endpoints, wanted) in [
        (vec![zoned("10.244.1.2", "a"), zoned("10.244.1.3", "b")], vec!["10.244.1.2:8080"]),
        (vec![zoned("10.244.1.2", "a"), endpoint("10.244.1.3", "there")], vec!["10.244.1.2:8080", "10.244.1.3:8080"]),
        (vec![zoned("10.244.1.2", "c"), zoned("10.244.1.3", "b")], vec!["10.244.1.2:8080", "10.244.1.3:8080"]),
        (vec![noded("10.244.1.2", "here"), noded("10.244.1.3", "there")], vec!["10.244.1.2:8080"]),
    ] {
        let plan = plan(&service("web"), &[&slice("web", endpoints)], &node());
        assert_eq!(
            backends(&plan, "cluster").as_deref(),
            Some(&wanted.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..])
        );
    }
}

#[test]
fn sticky_and_ranged_services_get_their_rules() {
    let mut sticky = service("web");
    sticky.affinity = Some(60);
    sticky.load_balancer_ips = vec![ip("203.0.113.8")];
    sticky.source_ranges = vec!["198.51.100.0/24".parse().expect("cidr")];
    let plan = plan(&sticky, &[&slice("web", vec![endpoint("10.244.1.2", "here")])], &node());
    let rules = &plan.v4.chains["cluster-ns/web/tcp/80"];
    assert!(matches!(&rules[1], Rule::Resume(s) if s.timeout_ms == 60_000), "{rules:?}");
    assert_eq!(plan.v4.sticky["cluster-ns/web/tcp/80"].len(), 1);
    let range: IpNet = "198.51.100.0/24".parse().expect("cidr");
    assert_eq!(plan.v4.chains["firewall-ns/web/tcp/80"], [Rule::From(range, "external-ns/web/tcp/80".into())]);
    assert_eq!(plan.v4.slots.get(&Slot::Refused(ip("203.0.113.8"), Protocol::Tcp, 80)), Some(&Fate::Drop));
}

#[test]
fn the_skipped_address_is_left_alone() {
    let mut dns = service("kube-dns");
    dns.cluster_ips = vec![ip("10.96.0.10")];
    assert_eq!(plan(&dns, &[&slice("kube-dns", vec![endpoint("10.244.1.2", "here")])], &node()), Plan::default());
}

fn set(state: &mut State, name: &str, plan: Option<Plan>) -> Vec<Change> {
    let mut changes = Changes::default();
    state.set(&key(name), plan, &mut changes);
    changes.steps(false)
}

#[test]
fn one_endpoint_more_replaces_one_chain_whatever_the_number_of_services() {
    let mut state = State::default();
    for n in 0..2000u16 {
        let mut other = service(&format!("s{n}"));
        other.cluster_ips = vec![std::net::Ipv4Addr::from(0x0a61_0000 + u32::from(n)).into()];
        other.ports[0].node_port = None;
        set(
            &mut state,
            &other.key.name.clone(),
            Some(plan(&other, &[&slice("x", vec![endpoint("10.244.1.9", "here")])], &node())),
        );
    }
    let web = service("web");
    let one = slice("web", vec![endpoint("10.244.1.2", "here")]);
    let two = slice("web", vec![endpoint("10.244.1.2", "here"), endpoint("10.244.2.2", "there")]);
    assert!(!set(&mut state, "web", Some(plan(&web, &[&one], &node()))).is_empty());
    let changes = set(&mut state, "web", Some(plan(&web, &[&two], &node())));
    assert!(matches!(&changes[..], [Change::SetRules(chain, _)] if chain == "cluster-ns/web/tcp/80"), "{changes:?}");
    assert!(set(&mut state, "web", Some(plan(&web, &[&two], &node()))).is_empty(), "nothing differs");
    let gone = set(&mut state, "web", None);
    assert!(
        gone.contains(&Change::RemoveSlot(CLUSTER_SLOT()))
            && gone.contains(&Change::RemoveChain("cluster-ns/web/tcp/80".into()))
    );
    assert!(!gone.contains(&Change::RemoveSlot(Slot::Hairpin(ip("10.244.1.9")))), "others still need it");
}

#[test]
fn two_services_with_one_address_take_turns() {
    let mut state = State::default();
    let endpoints = slice("x", vec![endpoint("10.244.1.2", "here")]);
    let of = |name: &str| Some(plan(&Service { key: key(name), ..service("x") }, &[&endpoints], &node()));
    set(&mut state, "b", of("b"));
    let mut changes = Changes::default();
    state.set(&key("a"), of("a"), &mut changes);
    state.set(&key("b"), None, &mut changes);
    let steps = changes.steps(false);
    let moves: Vec<_> = steps
        .iter()
        .filter(|c| matches!(c, Change::AddSlot(s, _) | Change::RemoveSlot(s) if *s == CLUSTER_SLOT()))
        .collect();
    let to_a = Change::AddSlot(CLUSTER_SLOT(), Fate::Chain("cluster-ns/a/tcp/80".into()));
    assert_eq!(
        moves,
        [&Change::RemoveSlot(CLUSTER_SLOT()), &to_a],
        "one step each, though it passed through two hands"
    );
}
