//! Real packets through real rules. Needs root and iproute2.

mod net;

use std::{
    collections::BTreeSet,
    io::Write,
    net::{TcpListener, UdpSocket},
};

use net::{Net, Netns, PATIENCE, ip, node, service, slice, who};
use rk_proxy::{
    Changes, Kernel, State,
    model::{Protocol, Service, ServicePort},
    plan,
};

#[test]
fn services_are_reached_from_pods_node_and_outside() {
    let net = Net::new();
    let mut web = service("web", &["10.96.0.20", "fd00:96::20"]);
    web.external_ips = vec![ip("203.0.113.7")];
    let state = net.set(State::default(), &[(&web, &[0, 1])], true);
    let told = who(&net.pods[0], "10.96.0.20:80", 40);
    let both = BTreeSet::from(["pod0 169.254.0.1".to_owned(), "pod1 10.244.1.2".to_owned()]);
    assert_eq!(
        told, both,
        "both endpoints answer; a pod that reaches itself is masqueraded, others keep their address"
    );
    assert_eq!(who(&net.pods[0], "[fd00:96::20]:80", 40).len(), 2, "IPv6 as well");
    assert_eq!(who(&net.node, "10.96.0.20:80", 20).len(), 2, "from the node itself");
    net.client.ip("route add 203.0.113.0/24 via 192.0.2.1");
    for address in ["192.0.2.1:30080", "203.0.113.7:80"] {
        let told = who(&net.client, address, 40);
        assert_eq!(told, BTreeSet::from(["pod0 169.254.0.1".to_owned(), "pod1 169.254.1.1".to_owned()]), "{address}");
    }
    net.client.ip("-6 addr add 2001:db8::2/64 dev eth0 nodad");
    let told = who(&net.client, "[2001:db8::1]:30080", 40);
    assert_eq!(told, BTreeSet::from(["pod0 fd00::1".to_owned(), "pod1 fd00:1::1".to_owned()]), "a node port of IPv6");

    let state = net.set(state, &[(&web, &[1])], false);
    assert_eq!(
        who(&net.pods[0], "10.96.0.20:80", 10),
        BTreeSet::from(["pod1 10.244.1.2".to_owned()]),
        "an endpoint went"
    );
    let state = net.set(state, &[(&web, &[])], false);
    for (netns, address) in [
        (&net.pods[0], "10.96.0.20:80"),
        (&net.node, "10.96.0.20:80"),
        (&net.client, "192.0.2.1:30080"),
        (&net.pods[0], "[fd00:96::20]:80"),
    ] {
        assert_eq!(netns.ask(address), Err(std::io::ErrorKind::ConnectionRefused), "{address} without endpoints");
    }
    let state = net.set(state, &[(&web, &[0])], false);
    assert_eq!(
        who(&net.pods[1], "10.96.0.20:80", 5),
        BTreeSet::from(["pod0 10.244.1.3".to_owned()]),
        "and one came back"
    );
    assert_eq!(
        net.pods[1].ask("10.96.0.20:81"),
        Err(std::io::ErrorKind::ConnectionRefused),
        "a port that no Service has"
    );
    net.set(state, &[], true);
    assert_eq!(who(&net.pods[1], "10.96.0.20:80", 5).len(), 1, "after the tables were replaced as on a restart");
}

#[test]
fn local_policy_keeps_the_clients_address_and_drops_elsewhere() {
    let net = Net::new();
    let mut web = service("web", &["10.96.0.20"]);
    web.external_local = true;
    let state = net.set(State::default(), &[(&web, &[0])], true);
    assert_eq!(who(&net.client, "192.0.2.1:30080", 5), BTreeSet::from(["pod0 192.0.2.2".to_owned()]));

    // The same endpoint, but on another node.
    let mut elsewhere = slice(&web, &[0]);
    elsewhere.endpoints.iter_mut().for_each(|e| e.node = Some("other".into()));
    let (key, plan) = (web.key.clone(), plan(&web, &[&elsewhere], &node()));
    let apply = move || {
        let (mut state, mut changes) = (state, Changes::default());
        state.set(&key, Some(plan), &mut changes);
        Kernel::open(net::node().pod_cidrs).and_then(|kernel| kernel.apply(changes)).expect("apply");
    };
    net.node.within(apply).join().expect("apply");
    assert!(net.client.hears_nothing("192.0.2.1:30080"), "dropped, not refused");
    assert_eq!(who(&net.pods[1], "10.96.0.20:80", 3).len(), 1, "inside the cluster it works");
    assert_eq!(who(&net.node, "192.0.2.1:30080", 3).len(), 1, "and from the node itself");
}

#[test]
fn a_sticky_client_stays_until_its_endpoint_goes() {
    let net = Net::new();
    let mut web = service("web", &["10.96.0.20", "fd00:96::20"]);
    web.affinity = Some(60);
    let state = net.set(State::default(), &[(&web, &[0, 1])], true);
    let six = who(&net.pods[0], "[fd00:96::20]:80", 30);
    assert_eq!(six.len(), 1, "a client of IPv6: {six:?}");
    let first = who(net.client_route(), "10.96.0.20:80", 30);
    assert_eq!(first.len(), 1, "{first:?}");
    let stayed = usize::from(first.iter().any(|told| told.starts_with("pod1")));
    let state = net.set(state, &[(&web, &[1 - stayed])], false);
    let second = who(&net.client, "10.96.0.20:80", 10);
    assert!(second.iter().all(|told| told.starts_with(&format!("pod{}", 1 - stayed))), "{second:?}");
    net.set(state, &[(&web, &[0, 1])], false);
    assert_eq!(who(&net.client, "10.96.0.20:80", 30), second, "it stays where it moved to");
}

#[test]
fn slices_ports_and_protocols_of_one_service_add_up_and_affinity_is_switched() {
    let net = Net::new();
    let mut web = service("web", &["10.96.0.20"]);
    web.ports.push(ServicePort { name: "second".into(), protocol: Protocol::Tcp, port: 81, node_port: None });
    // Each address in a slice of its own, the second port in one of them.
    let (first, mut other) = (slice(&web, &[0]), slice(&web, &[1]));
    other.ports.insert(("second".to_owned(), Protocol::Tcp), 8080);
    let apply = |web: &Service, mut state: State| {
        let (key, plan) = (web.key.clone(), plan(web, &[&first, &other], &node()));
        let work = move || {
            let mut changes = Changes::default();
            state.set(&key, Some(plan), &mut changes);
            Kernel::open(net::node().pod_cidrs).and_then(|kernel| kernel.replace(&state)).expect("apply");
            state
        };
        net.node.within(work).join().expect("apply")
    };
    let state = apply(&web, State::default());
    let client = net.client_route();
    assert_eq!(who(client, "10.96.0.20:80", 40).len(), 2, "both slices");
    assert!(
        who(client, "10.96.0.20:81", 10).iter().all(|told| told.starts_with("pod1")),
        "the slice that has the port"
    );
    let ask = || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        socket.send_to(b"?", "10.96.0.20:80").expect("send");
        socket.recv(&mut [0; 16]).is_ok()
    };
    assert!(client.within(ask).join().expect("ask"), "UDP on the same port");
    web.affinity = Some(60);
    let state = apply(&web, state);
    assert_eq!(who(client, "10.96.0.20:80", 30).len(), 1, "affinity is switched on");
    web.affinity = None;
    apply(&web, state);
    assert_eq!(who(client, "10.96.0.20:80", 40).len(), 2, "and off");
}

#[test]
fn source_ranges_admit_and_refuse() {
    let net = Net::new();
    net.client.ip("route add 203.0.113.0/24 via 192.0.2.1");
    let mut web = service("web", &["10.96.0.20"]);
    web.load_balancer_ips = vec![ip("203.0.113.8")];
    web.source_ranges = vec!["192.0.2.0/24".parse().expect("cidr")];
    let state = net.set(State::default(), &[(&web, &[0])], true);
    assert_eq!(who(&net.client, "203.0.113.8:80", 3).len(), 1);
    web.source_ranges = vec!["198.51.100.0/24".parse().expect("cidr")];
    net.set(state, &[(&web, &[0])], false);
    assert!(net.client.hears_nothing("203.0.113.8:80"));
}

#[test]
fn udp_is_balanced_and_thousands_of_services_fit_one_transaction() {
    let net = Net::new();
    let web = service("web", &["10.96.0.20"]);
    let many: Vec<Service> = (0..3000u32)
        .map(|n| {
            let mut service = service(&format!("s{n}"), &[]);
            service.cluster_ips = vec![std::net::Ipv4Addr::from(0x0a61_0000 + n).into()];
            service.ports.iter_mut().for_each(|port| port.node_port = None);
            service
        })
        .collect();
    let all: Vec<(&Service, &[usize])> =
        many.iter().map(|service| (service, &[0, 1][..])).chain([(&web, &[0, 1][..])]).collect();
    let state = net.set(State::default(), &all, true);
    let ask = || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut buffer = [0; 16];
        socket.send_to(b"?", "10.96.0.20:80").expect("send");
        let n = socket.recv(&mut buffer).expect("answer");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    let told: BTreeSet<String> = (0..30).map(|_| net.pods[0].within(ask).join().expect("ask")).collect();
    assert_eq!(told, BTreeSet::from(["pod0".to_owned(), "pod1".to_owned()]));
    net.set(state, &[(&web, &[1])], false);
    // Another client, none of whose ports is known with the endpoint of before.
    let client = net.client_route();
    let told: BTreeSet<String> = (0..10).map(|_| client.within(ask).join().expect("ask")).collect();
    assert_eq!(told, BTreeSet::from(["pod1".to_owned()]));
}

/// Two pods on one bridge, as the bridge plugin makes them: answers would go straight from one to the other, past the
/// translation, if the bridge did not hand its packets to the IP hooks.
#[test]
fn pods_on_one_bridge_reach_each_other_through_a_service() {
    let node = Netns::new("node");
    node.ip("link add br0 type bridge");
    node.ip("addr add 10.244.5.1/24 dev br0");
    node.ip("link set br0 up");
    node.ip("link add up0 type bridge");
    node.ip("addr add 192.0.2.1/24 dev up0");
    node.ip("link set up0 up");
    node.ip("route add default via 192.0.2.2");
    node.ip("addr add fd00:5::1/64 dev br0 nodad");
    let forward = |knob: &'static str| {
        let write = move || std::fs::write(format!("/proc/sys/net/{knob}"), "1").is_ok();
        assert!(node.within(write).join().expect("sysctl"), "{knob}");
    };
    forward("ipv4/ip_forward");
    forward("ipv6/conf/all/forwarding");
    let pods: Vec<Netns> = (2..4)
        .map(|n| {
            let pod = Netns::new("pod");
            node.ip(&format!("link add pod{n} type veth peer name eth0 netns {}", pod.0));
            node.ip(&format!("link set pod{n} master br0 up"));
            pod.ip(&format!("addr add 10.244.5.{n}/24 dev eth0"));
            pod.ip("link set eth0 up");
            pod.ip("route add default via 10.244.5.1");
            pod.ip(&format!("addr add fd00:5::{n}/64 dev eth0 nodad"));
            pod.ip("-6 route add default via fd00:5::1");
            pod
        })
        .collect();
    let (ready, wait) = std::sync::mpsc::channel();
    let server = pods[1].within(move || {
        let listener = TcpListener::bind("[::]:8080").expect("bind");
        ready.send(()).expect("ready");
        for _ in 0..2 {
            let (mut stream, peer) = listener.accept().expect("accept");
            write!(stream, "{}", peer.ip().to_canonical()).expect("answer");
        }
    });
    wait.recv().expect("listening");
    let web = service("web", &["10.96.0.20", "fd00:96::20"]);
    let mut one = slice(&web, &[1]);
    one.endpoints.iter_mut().for_each(|e| e.ip = ip(if e.ip.is_ipv4() { "10.244.5.3" } else { "fd00:5::3" }));
    let plan = plan(&web, &[&one], &net::node());
    let apply = move || {
        let mut state = State::default();
        state.set(&web.key, Some(plan), &mut Changes::default());
        Kernel::open(net::node().pod_cidrs).and_then(|kernel| kernel.replace(&state)).expect("apply");
    };
    node.within(apply).join().expect("apply");
    assert_eq!(pods[0].ask("10.96.0.20:80").as_deref(), Ok("10.244.5.2"));
    assert_eq!(pods[0].ask("[fd00:96::20]:80").as_deref(), Ok("fd00:5::2"));
    server.join().expect("server");
}
