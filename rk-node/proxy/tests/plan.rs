//! What Services look like in rules, and that a change touches nothing else.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use rk_proxy::{
    Change, Changes, Key, State, Target,
    model::{Endpoint, Protocol, Service, ServiceKey, ServicePort, Slice},
    plan,
    plan::{Fate, Node, Plan, Serving, Slot, Traffic},
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

fn texts(backends: &BTreeSet<(std::net::IpAddr, u16)>) -> Vec<String> {
    backends.iter().map(|(ip, port)| format!("{ip}:{port}")).collect()
}

/// Backends of the port, for the cluster and on this node.
fn backends(plan: &Plan) -> (Vec<String>, Vec<String>) {
    let group = plan.v4.groups.get("tcp/80").cloned().unwrap_or_default();
    (texts(&group.cluster), texts(&group.local))
}

fn cluster_ip() -> Slot {
    Slot::Frontend(Some(ip("10.96.0.20")), Protocol::Tcp, 80)
}

fn node_port() -> Slot {
    Slot::Frontend(None, Protocol::Tcp, 30080)
}

fn refused(address: &str) -> Slot {
    Slot::Refused(Some(ip(address)), Protocol::Tcp, 80)
}

fn traffic(plan: &Plan, slot: &Slot) -> Option<Traffic> {
    match plan.v4.slots.get(slot)? {
        Fate::Serve(Serving { traffic, .. }) => Some(*traffic),
        _ => None,
    }
}

#[test]
fn a_service_leads_to_its_ready_endpoints() {
    let unready = Endpoint { ready: false, serving: false, ..endpoint("10.244.1.3", "here") };
    let slices = [
        slice("web", vec![endpoint("10.244.1.2", "here"), unready]),
        slice("web", vec![endpoint("10.244.2.2", "there")]),
    ];
    let plan = plan(&service("web"), &slices.iter().collect::<Vec<_>>(), &node());
    assert_eq!(backends(&plan), (vec!["10.244.1.2:8080".into(), "10.244.2.2:8080".into()], vec![]));
    assert_eq!(traffic(&plan, &cluster_ip()), Some(Traffic::Cluster));
    assert_eq!(traffic(&plan, &node_port()), Some(Traffic::External));
    let hairpin = |address| plan.v4.slots.contains_key(&Slot::Hairpin(ip(address)));
    assert!(hairpin("10.244.1.2") && !hairpin("10.244.2.2"));
    assert_eq!(plan.v6, Default::default());
}

#[test]
fn a_service_without_endpoints_is_refused_everywhere() {
    let plan = plan(&service("web"), &[], &node());
    assert_eq!(plan.v4.slots.get(&refused("10.96.0.20")), Some(&Fate::Reject));
    assert_eq!(plan.v4.slots.get(&Slot::Refused(None, Protocol::Tcp, 30080)), Some(&Fate::Reject));
    assert!(plan.v4.groups.is_empty() && !plan.v4.slots.contains_key(&cluster_ip()));
}

#[test]
fn terminating_endpoints_serve_when_no_other_does() {
    let leaving = Endpoint { ready: false, terminating: true, ..endpoint("10.244.1.2", "here") };
    let gone = Endpoint { serving: false, ..endpoint("10.244.1.4", "here") };
    let only = slice("web", vec![leaving.clone(), Endpoint { ready: false, terminating: true, ..gone }]);
    assert_eq!(backends(&plan(&service("web"), &[&only], &node())).0, ["10.244.1.2:8080"]);
    let both = slice("web", vec![leaving, endpoint("10.244.2.2", "there")]);
    assert_eq!(backends(&plan(&service("web"), &[&both], &node())).0, ["10.244.2.2:8080"]);
    // Load balancers are to go elsewhere meanwhile.
    let local = Service { external_local: true, health_check_port: Some(32000), ..service("web") };
    for slice in [only, both] {
        let plan = plan(&local, &[&slice], &node());
        assert_eq!(backends(&plan).1, ["10.244.1.2:8080"]);
        assert_eq!(plan.health.map(|h| h.local_endpoints), Some(0));
    }
}

#[test]
fn local_policies_keep_to_this_node() {
    let mut local = service("web");
    local.internal_local = true;
    local.external_local = true;
    local.external_ips = vec![ip("203.0.113.7")];
    local.health_check_port = Some(32000);
    let here =
        plan(&local, &[&slice("web", vec![endpoint("10.244.1.2", "here"), endpoint("10.244.2.2", "there")])], &node());
    assert_eq!(traffic(&here, &cluster_ip()), Some(Traffic::Local));
    assert_eq!(traffic(&here, &node_port()), Some(Traffic::ExternalLocal));
    assert_eq!(
        backends(&here),
        (vec!["10.244.1.2:8080".into(), "10.244.2.2:8080".into()], vec!["10.244.1.2:8080".into()])
    );
    assert_eq!(here.health.as_ref().map(|h| h.local_endpoints), Some(1));

    let elsewhere = plan(&local, &[&slice("web", vec![endpoint("10.244.2.2", "there")])], &node());
    for slot in [refused("10.96.0.20"), refused("203.0.113.7"), Slot::Refused(None, Protocol::Tcp, 30080)] {
        assert_eq!(elsewhere.v4.slots.get(&slot), Some(&Fate::Drop), "served elsewhere: silence at {slot:?}");
    }
    assert_eq!(traffic(&elsewhere, &node_port()), Some(Traffic::ExternalLocal), "pods and the node itself may use it");
    assert_eq!(elsewhere.health.map(|h| h.local_endpoints), Some(0));
}

#[test]
fn hints_are_followed_only_when_all_endpoints_have_them() {
    let zoned = |address: &str, zone: &str| Endpoint { for_zones: vec![zone.into()], ..endpoint(address, "there") };
    let noded = |address: &str, node: &str| Endpoint { for_nodes: vec![node.into()], ..endpoint(address, "there") };
    for (endpoints, wanted) in [
        (vec![zoned("10.244.1.2", "a"), zoned("10.244.1.3", "b")], &["10.244.1.2:8080"][..]),
        (vec![zoned("10.244.1.2", "a"), endpoint("10.244.1.3", "there")], &["10.244.1.2:8080", "10.244.1.3:8080"]),
        (vec![zoned("10.244.1.2", "c"), zoned("10.244.1.3", "b")], &["10.244.1.2:8080", "10.244.1.3:8080"]),
        (vec![noded("10.244.1.2", "here"), noded("10.244.1.3", "there")], &["10.244.1.2:8080"]),
    ] {
        let slice = slice("web", endpoints);
        for internal_local in [false, true] {
            // What comes from outside follows hints, too, where what comes from inside keeps to the node.
            let service = Service { internal_local, ..service("web") };
            assert_eq!(backends(&plan(&service, &[&slice], &node())).0, wanted);
        }
    }
}

#[test]
fn connections_over_udp_last_for_as_long_as_their_backend_serves() {
    let port = ServicePort { name: "dns".into(), protocol: Protocol::Udp, port: 53, node_port: Some(30053) };
    let dns = Service { ports: vec![port], internal_local: true, ..service("dns") };
    let leaving = Endpoint { ready: false, terminating: true, ..endpoint("10.244.2.3", "there") };
    let unready = Endpoint { ready: false, serving: false, ..endpoint("10.244.2.4", "there") };
    let ports = BTreeMap::from([(("dns".to_owned(), Protocol::Udp), 5353)]);
    let slice = |endpoints| Slice { service: key("dns"), ports: ports.clone(), endpoints };
    let some = slice(vec![endpoint("10.244.2.2", "there"), leaving, unready.clone()]);
    let some = plan(&dns, &[&some], &node());
    for frontend in [(Some(ip("10.96.0.20")), 53), (None, 30053)] {
        let lead_to = some.v4.udp.get(&frontend).map(texts).unwrap_or_default();
        assert_eq!(lead_to, ["10.244.2.2:5353", "10.244.2.3:5353"], "{frontend:?}");
    }
    assert!(plan(&dns, &[&slice(vec![unready])], &node()).v4.udp.is_empty(), "nobody could take their place");
}

#[test]
fn sticky_and_ranged_services_say_so() {
    let mut sticky = service("web");
    sticky.affinity = Some(60);
    sticky.load_balancer_ips = vec![ip("203.0.113.8")];
    sticky.source_ranges = vec!["198.51.100.0/24".parse().expect("cidr")];
    let plan = plan(&sticky, &[&slice("web", vec![endpoint("10.244.1.2", "here")])], &node());
    let Some(Fate::Serve(serving)) = plan.v4.slots.get(&Slot::Frontend(Some(ip("203.0.113.8")), Protocol::Tcp, 80))
    else {
        panic!("not served: {:?}", plan.v4.slots);
    };
    assert_eq!((serving.sticky_ms, &serving.ranges), (Some(60_000), &sticky.source_ranges));
    assert_eq!(plan.v4.slots.get(&refused("203.0.113.8")), Some(&Fate::Drop), "for all other sources");
    assert!(plan.v4.groups["tcp/80"].sticky && traffic(&plan, &node_port()) == Some(Traffic::External));
}

#[test]
fn the_skipped_address_is_left_alone() {
    let mut dns = service("kube-dns");
    dns.cluster_ips = vec![ip("10.96.0.10")];
    let slices = slice("kube-dns", vec![endpoint("10.244.1.2", "here")]);
    assert_eq!(plan(&dns, &[&slices], &node()), Plan::default());
}

fn set(state: &mut State, name: &str, plan: Option<Plan>) -> Vec<Change> {
    let mut changes = Changes::default();
    state.set(&key(name), plan, &mut changes);
    changes.steps().0
}

#[test]
fn one_endpoint_more_changes_a_few_elements_whatever_the_number_of_services() {
    let mut state = State::default();
    for n in 0..2000u16 {
        let mut other = service(&format!("s{n}"));
        other.cluster_ips = vec![std::net::Ipv4Addr::from(0x0a61_0000 + u32::from(n)).into()];
        other.ports[0].node_port = None;
        let endpoints = ["10.244.1.7", "10.244.1.8", "10.244.1.9"].map(|address| endpoint(address, "here")).to_vec();
        set(&mut state, &other.key.name.clone(), Some(plan(&other, &[&slice("x", endpoints[..2].to_vec())], &node())));
        set(&mut state, &other.key.name.clone(), Some(plan(&other, &[&slice("x", endpoints)], &node())));
    }
    let mut web = service("web");
    web.ports[0].node_port = None;
    let of = |endpoints: &[&str]| {
        let endpoints = endpoints.iter().map(|address| endpoint(address, "here")).collect();
        Some(plan(&web, &[&slice("web", endpoints)], &node()))
    };
    set(&mut state, "web", of(&["10.244.1.1", "10.244.1.2", "10.244.1.3"]));
    let frontend = Key::Frontend(Some(ip("10.96.0.20")), 6, 80);
    let changes = set(&mut state, "web", of(&["10.244.1.2", "10.244.1.3", "10.244.1.4"]));
    let endpoint_only = |c: &Change| {
        matches!(
            c,
            Change::Remove(Key::Endpoint(..))
                | Change::Add(Key::Endpoint(..), _)
                | Change::Remove(Key::Hairpin(_))
                | Change::Add(Key::Hairpin(_), _)
        )
    };
    assert!(changes.iter().all(endpoint_only) && changes.len() <= 6, "one for another: {changes:?}");
    let changes = set(&mut state, "web", of(&["10.244.1.2", "10.244.1.3"]));
    assert!(changes.contains(&Change::Remove(frontend.clone())) && changes.len() <= 8, "another class: {changes:?}");
    assert!(set(&mut state, "web", of(&["10.244.1.2", "10.244.1.3"])).is_empty(), "nothing differs");
    let gone = set(&mut state, "web", None);
    assert!(
        gone.contains(&Change::Remove(frontend)) && !gone.contains(&Change::Remove(Key::Hairpin(ip("10.244.1.9"))))
    );
    assert!(matches!(gone.last(), Some(Change::RemoveClass(..))), "the only one of its class, removed after its users");
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
    let frontend = Key::Frontend(Some(ip("10.96.0.20")), 6, 80);
    let steps = changes.steps().0;
    let moves: Vec<_> =
        steps.iter().filter(|c| matches!(c, Change::Add(k, _) | Change::Remove(k) if *k == frontend)).collect();
    let [Change::Remove(_), Change::Add(_, Target::Group(group, _))] = moves[..] else { panic!("{moves:?}") };
    assert!(steps.contains(&Change::Add(Key::Endpoint(*group, 0), Target::Backend((ip("10.244.1.2"), 8080)))));
}

/// Random histories: what the steps make of a model of the kernel is what a fresh start would make.
#[test]
fn any_history_ends_where_a_fresh_start_begins() {
    fn apply(kernel: &mut BTreeMap<Key, Target>, classes: &mut BTreeSet<u32>, steps: Vec<Change>) {
        for step in steps {
            match step {
                Change::Add(key, target) => {
                    assert!(kernel.insert(key.clone(), target).is_none(), "{key:?} is there already")
                }
                Change::Remove(key) => assert!(kernel.remove(&key).is_some(), "{key:?} is not there"),
                Change::AddClass(number, _) => assert!(classes.insert(number)),
                Change::RemoveClass(number, _) => assert!(classes.remove(&number)),
            }
            let used = kernel
                .values()
                .filter_map(|target| if let Target::Group(_, class) = target { Some(class) } else { None });
            assert!(
                used.into_iter().all(|class| classes.contains(class)),
                "a frontend leads to a class that is not there"
            );
        }
    }
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (mut state, mut kernel, mut classes) = (State::default(), BTreeMap::new(), BTreeSet::new());
    for _ in 0..2000 {
        let mut changes = Changes::default();
        for _ in 0..=random(3) {
            let name = format!("s{}", random(6));
            let mut web = service(&name);
            web.affinity = (random(3) == 0).then_some(10);
            web.external_local = random(3) == 0;
            web.internal_local = random(4) == 0;
            web.external_ips =
                (0..random(3)).map(|n| std::net::Ipv4Addr::from(0xcb00_7100 + n as u32).into()).collect();
            web.ports[0].node_port = (random(2) == 0).then_some(30080);
            let endpoints = (0..random(5))
                .map(|_| endpoint(&format!("10.244.1.{}", random(8)), if random(2) == 0 { "here" } else { "there" }));
            let plan = plan(&web, &[&slice(&name, endpoints.collect())], &node());
            state.set(&key(&name), (random(4) != 0).then_some(plan), &mut changes);
        }
        apply(&mut kernel, &mut classes, changes.steps().0);
        let (mut fresh, mut fresh_classes) = (BTreeMap::new(), BTreeSet::new());
        apply(&mut fresh, &mut fresh_classes, state.all().steps().0);
        assert_eq!((&fresh, &fresh_classes), (&kernel, &classes));
    }
}
