//! Our plugins under our runtime, with real packets between namespaces.

mod host;

use host::{HOST, Host, Netns, OUTSIDE, attachment, ours};
use rk_cni::{PortMapping, default_conflist, in_netns, leave_hint, routes};
use rk_nft::{Family, Netfilter};
use serde_json::{Value, json};

/// The default of a node, with the test's own address store.
fn conflist(host_dir: &std::path::Path) -> Value {
    conflist_of(host_dir, &["10.244.1.0/24"], &["10.244.0.0/16"])
}

fn conflist_of(host_dir: &std::path::Path, node: &[&str], cluster: &[&str]) -> Value {
    let cidrs = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("cidr")).collect::<Vec<_>>();
    let mut list = default_conflist(&cidrs(node), &cidrs(cluster));
    list["plugins"][0]["ipam"]["dataDir"] = json!(host_dir);
    // Host ports are remembered by network below /run, which all these hosts share.
    list["name"] = json!(host_dir.file_name().expect("name").to_string_lossy().trim_start_matches('.'));
    list
}

fn reserved(dir: &std::path::Path) -> usize {
    let networks = std::fs::read_dir(dir).expect("store").flatten();
    let files = networks.flat_map(|network| std::fs::read_dir(network.path()).expect("network").flatten());
    files.filter(|e| e.file_name().to_string_lossy().starts_with("10.")).count()
}

#[test]
fn pods_reach_each_other_and_the_world_and_leave_nothing_behind() {
    let store = tempfile::tempdir().expect("tempdir");
    let host = Host::new(&conflist(store.path()), &ours());
    let (a, b) = (Netns::new("a"), Netns::new("b"));
    let (to_a, to_b) = (attachment(&a), attachment(&b));
    let (first, second) = (to_a.clone(), to_b.clone());
    let (ra, rb) = host.run(async move |runtime| {
        runtime.status().await.expect("status");
        (runtime.add(&first).await.expect("add a"), runtime.add(&second).await.expect("add b"))
    });
    assert_eq!(ra.pod_ips()[0].to_string(), "10.244.1.2");
    assert_eq!(rb.pod_ips()[0].to_string(), "10.244.1.3");
    assert_eq!((ra.cni_version.as_str(), ra.interfaces.len(), ra.ips[0].interface), ("1.1.0", 3, Some(2)));
    assert!(a.output("-o addr show lo").contains("127.0.0.1/8"), "lo is up");

    let server = b.serve("10.244.1.3:80");
    assert_eq!(a.ask("10.244.1.3:80").as_deref(), Ok("10.244.1.2"), "pod to pod, untranslated");
    server.join().expect("server");
    let server = host.outside.serve(&format!("{OUTSIDE}:80"));
    assert_eq!(a.ask(&format!("{OUTSIDE}:80")).as_deref(), Ok(HOST), "the world sees the host's address");
    server.join().expect("server");

    let (first, second) = (to_a.clone(), to_b.clone());
    host.run(async move |runtime| {
        runtime.check(&first).await.expect("check");
        let again = runtime.cached_result(&first).expect("cached");
        assert_eq!(again.pod_ips()[0].to_string(), "10.244.1.2");
        runtime.del(&second).await.expect("del b");
    });
    a.ip("addr del 10.244.1.2/24 dev eth0");
    let first = to_a.clone();
    host.run(async move |runtime| {
        let error = runtime.check(&first).await.expect_err("the address is gone");
        assert!(error.to_string().contains("lacks address 10.244.1.2/24"), "{error}");
        runtime.del(&first).await.expect("del a");
        runtime.del(&first).await.expect("del a again");
    });
    assert_eq!(reserved(store.path()), 0);
    assert!(!host.netns.output("-o link").contains("veth"), "no veth is left");
    assert_eq!(std::fs::read_dir(host.dir.path().join("results")).expect("cache").count(), 0);
}

#[test]
fn a_host_port_leads_into_the_pod_until_it_goes() {
    let store = tempfile::tempdir().expect("tempdir");
    let host = Host::new(&conflist(store.path()), &ours());
    let (pod, other) = (Netns::new("p"), Netns::new("q"));
    let mapping = PortMapping { host_port: 8080, container_port: 80, protocol: "tcp".into(), host_ip: String::new() };
    let mut to_pod = attachment(&pod);
    to_pod.set_ports(&[mapping.clone(), PortMapping { host_port: 8081, host_ip: HOST.into(), ..mapping.clone() }]);
    let mut to_other = attachment(&other);
    to_other.set_ports(&[mapping]);
    let (first, second) = (to_pod.clone(), to_other.clone());
    host.run(async move |runtime| {
        runtime.add(&first).await.expect("add");
        let error = runtime.add(&second).await.expect_err("the port is taken");
        assert!(error.to_string().contains("already mapped"), "{error}");
    });
    for port in [8080, 8081] {
        let server = pod.serve("10.244.1.2:80");
        assert_eq!(host.outside.ask(&format!("{HOST}:{port}")).as_deref(), Ok(OUTSIDE), "the pod sees the client");
        server.join().expect("server");
        let server = pod.serve("10.244.1.2:80");
        assert!(host.netns.ask(&format!("{HOST}:{port}")).is_ok(), "from the host itself");
        server.join().expect("server");
        let server = pod.serve("10.244.1.2:80");
        assert!(pod.ask(&format!("{HOST}:{port}")).is_ok(), "from the pod itself");
        server.join().expect("server");
    }
    let server = pod.serve("10.244.1.2:80");
    assert!(host.netns.ask("127.0.0.1:8080").is_ok(), "through the host's loopback");
    server.join().expect("server");

    let first = to_pod.clone();
    host.run(async move |runtime| {
        runtime.check(&first).await.expect("check");
        runtime.del(&first).await.expect("del");
    });
    assert!(host.outside.ask(&format!("{HOST}:8080")).is_err());
    assert_eq!(host.port_elements(), (0, 0), "no port and no hairpin is left");
    let second = to_other.clone();
    host.run(async move |runtime| {
        runtime.add(&second).await.expect("the port is free again");
    });
    assert_eq!(host.port_elements(), (1, 1));
    // The port went, and the machine's agent with it, before the rest did.
    host.run(async move |_| {
        let key = [[0, 0, 0, 0], [6, 0, 0, 0], [0x1f, 0x90, 0, 0]].concat();
        let mut batch = rk_nft::Batch::new();
        batch.delete_elements(rk_nft::Family::Ip, "cni-portmap", "ports", &[rk_nft::Element::key(key)]);
        rk_nft::Netfilter::open().expect("nftables").commit(batch).expect("delete");
    });
    assert_eq!(host.port_elements(), (0, 1));
    host.run(async move |runtime| runtime.del(&to_other).await.expect("del"));
    assert_eq!(host.port_elements(), (0, 0));
}

#[test]
fn one_host_port_leads_into_several_pods_by_address_and_protocol() {
    let store = tempfile::tempdir().expect("tempdir");
    let host = Host::new(&conflist(store.path()), &ours());
    let (local, outer, datagrams) = (Netns::new("l"), Netns::new("o"), Netns::new("d"));
    let mapping = |host_ip: &str, protocol: &str| PortMapping {
        host_port: 8080,
        container_port: 80,
        protocol: protocol.into(),
        host_ip: host_ip.into(),
    };
    let pods =
        [(&local, mapping("127.0.0.1", "tcp")), (&outer, mapping(HOST, "tcp")), (&datagrams, mapping(HOST, "udp"))];
    for (pod, mapping) in pods {
        let mut own = attachment(pod);
        own.set_ports(&[mapping]);
        host.run(async move |runtime| drop(runtime.add(&own).await.expect("add")));
    }
    assert_eq!(host.port_elements(), (3, 3));
    // Only the one who is meant listens: who else were asked would refuse.
    let server = local.serve("10.244.1.2:80");
    assert_eq!(host.netns.ask_from(HOST, "127.0.0.1:8080").as_deref(), Ok(HOST), "from the host's other address");
    server.join().expect("server");
    let server = local.serve("10.244.1.2:80");
    assert!(host.netns.ask("127.0.0.1:8080").is_ok(), "from loopback itself");
    server.join().expect("server");
    for asker in [&host.netns, &host.outside] {
        let server = outer.serve("10.244.1.3:80");
        assert!(asker.ask(&format!("{HOST}:8080")).is_ok());
        server.join().expect("server");
    }
}

#[test]
fn pods_of_two_families_are_reached_by_both_at_once() {
    let store = tempfile::tempdir().expect("tempdir");
    let (node, cluster) = (["10.244.1.0/24", "fd00:10:244:1::/64"], ["10.244.0.0/16", "fd00:10:244::/56"]);
    let host = Host::new(&conflist_of(store.path(), &node, &cluster), &ours());
    let (host6, outside6) = ("2001:db8::1", "2001:db8::2");
    host.netns.ip(&format!("addr add {host6}/64 dev up0 nodad"));
    host.outside.ip(&format!("addr add {outside6}/64 dev up0 nodad"));
    let (a, b) = (Netns::new("a"), Netns::new("b"));
    let (to_a, mut to_b) = (attachment(&a), attachment(&b));
    to_b.set_ports(&[PortMapping {
        host_port: 8080,
        container_port: 80,
        protocol: "tcp".into(),
        host_ip: String::new(),
    }]);
    let (first, second) = (to_a.clone(), to_b.clone());
    let (ra, rb) = host.run(async move |runtime| {
        (runtime.add(&first).await.expect("add a"), runtime.add(&second).await.expect("add b"))
    });
    let texts = |ips: Vec<std::net::IpAddr>| ips.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(ra.pod_ips()), ["10.244.1.2", "fd00:10:244:1::2"]);
    assert_eq!(texts(rb.pod_ips()), ["10.244.1.3", "fd00:10:244:1::3"]);
    for seen in [&a, &host.netns].map(|of| of.output("-6 addr show scope global")) {
        assert!(seen.contains("fd00:10:244:1::") && !seen.contains("tentative"), "{seen}");
    }
    assert!(a.output("-6 route").contains("default via fd00:10:244:1::1 dev eth0"), "{}", a.output("-6 route"));

    for (to, wanted) in [("10.244.1.3:80", "10.244.1.2"), ("[fd00:10:244:1::3]:80", "fd00:10:244:1::2")] {
        let server = b.serve(to);
        assert_eq!(a.ask(to).as_deref(), Ok(wanted), "pod to pod, untranslated");
        server.join().expect("server");
    }
    for (to, wanted) in [(format!("{OUTSIDE}:80"), HOST), (format!("[{outside6}]:80"), host6)] {
        let server = host.outside.serve(&to);
        assert_eq!(a.ask(&to).as_deref(), Ok(wanted), "the world sees the host's address");
        server.join().expect("server");
    }
    for (at, to, wanted) in [
        ("10.244.1.3:80", format!("{HOST}:8080"), OUTSIDE),
        ("[fd00:10:244:1::3]:80", format!("[{host6}]:8080"), outside6),
    ] {
        let server = b.serve(at);
        assert_eq!(host.outside.ask(&to).as_deref(), Ok(wanted), "a host port of each family");
        server.join().expect("server");
    }

    host.run(async move |runtime| {
        runtime.check(&to_a).await.expect("check");
        runtime.del(&to_a).await.expect("del a");
        runtime.del(&to_b).await.expect("del b");
    });
    let networks = std::fs::read_dir(store.path()).expect("store").flatten();
    let files = networks.flat_map(|network| std::fs::read_dir(network.path()).expect("network").flatten());
    let left: Vec<_> =
        files.map(|file| file.file_name()).filter(|name| name.to_string_lossy().contains("::")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn pods_hear_no_router_whatever_the_families_of_their_network() {
    for (node, cluster) in [
        (vec!["10.244.1.0/24"], vec!["10.244.0.0/16"]),
        (vec!["10.244.1.0/24", "fd00:10:244:1::/64"], vec!["10.244.0.0/16", "fd00:10:244::/56"]),
    ] {
        let store = tempfile::tempdir().expect("tempdir");
        let host = Host::new(&conflist_of(store.path(), &node, &cluster), &ours());
        let pod = Netns::new("p");
        let to_pod = attachment(&pod);
        let first = to_pod.clone();
        let made = host.run(async move |runtime| runtime.add(&first).await.expect("add"));
        let port = made.interfaces[1].name.as_str();
        for (of, link) in [(&pod, "eth0"), (&host.netns, "cni0"), (&host.netns, port)] {
            for knob in ["accept_ra", "autoconf"] {
                assert_eq!(of.knob(&format!("ipv6/conf/{link}/{knob}")), "0", "{knob} of {link} in {node:?}");
            }
        }
        assert_ne!(host.netns.knob("ipv6/conf/up0/accept_ra"), "0", "what is not of the network is left alone");
        host.run(async move |runtime| runtime.del(&to_pod).await.expect("del"));
    }
}

#[test]
fn plugins_of_this_program_need_no_process_and_others_get_one() {
    let programs = tempfile::tempdir().expect("tempdir");
    // What stands for this program cannot be executed: whatever works does so without a process.
    let own = programs.path().canonicalize().expect("canonical").join("rk");
    std::fs::write(&own, "no program").expect("write");
    let binary = ours().first().expect("a plugin").1.clone();
    for foreign in [&[][..], &["host-local"], &["loopback"], &["portmap"]] {
        let store = tempfile::tempdir().expect("tempdir");
        let mut plugins = ours();
        for (name, path) in &mut plugins {
            *path = if foreign.contains(name) { binary.clone() } else { own.clone() };
        }
        let mut host = Host::new(&conflist(store.path()), &plugins);
        host.runtime.own = Some(own.clone());
        let (a, b) = (Netns::new("a"), Netns::new("b"));
        let (to_a, to_b) = (attachment(&a), attachment(&b));
        let (first, second) = (to_a.clone(), to_b.clone());
        host.run(async move |runtime| {
            runtime.status().await.expect("status");
            let (ra, rb) = tokio::join!(runtime.add(&first), runtime.add(&second));
            assert_ne!(ra.expect("add a").pod_ips(), rb.expect("add b").pod_ips());
            runtime.check(&first).await.expect("check");
        });
        assert!(a.output("-o addr show lo").contains("127.0.0.1/8"), "lo is up");
        let address = host.netns.output("-o link show master cni0");
        assert_eq!(address.lines().count(), 2, "{foreign:?}: both are plugged in: {address}");
        let mut wrong = to_a.clone();
        wrong.container_id = "c".into();
        wrong.netns = Some("/nowhere".into());
        host.run(async move |runtime| {
            let error = runtime.add(&wrong).await.expect_err("there is no such namespace");
            assert!(error.to_string().contains("/nowhere"), "{error}");
            runtime.del(&to_a).await.expect("del a");
            runtime.del(&to_b).await.expect("del b");
        });
        assert_eq!(reserved(store.path()), 0);
        assert!(!host.netns.output("-o link").contains("veth"), "{foreign:?}: no veth is left");
    }
    let store = tempfile::tempdir().expect("tempdir");
    let plugins: Vec<_> = ours().into_iter().map(|(name, _)| (name, own.clone())).collect();
    let mut host = Host::new(&conflist(store.path()), &plugins);
    host.runtime.own = None;
    let pod = Netns::new("p");
    let to_pod = attachment(&pod);
    host.run(async move |runtime| runtime.add(&to_pod).await.expect_err("what is not this program is executed"));
}

#[test]
fn attachments_of_vanished_pods_are_collected() {
    let store = tempfile::tempdir().expect("tempdir");
    let host = Host::new(&conflist(store.path()), &ours());
    let kept = Netns::new("kept");
    let lost = Netns::new("lost");
    let (to_kept, to_lost) = (attachment(&kept), attachment(&lost));
    let both = (to_kept.clone(), to_lost.clone());
    host.run(async move |runtime| {
        runtime.add(&both.0).await.expect("add");
        runtime.add(&both.1).await.expect("add");
    });
    drop(lost);
    // A reservation that no cache knows of, as after a crash between the plugin and the runtime.
    let network = std::fs::read_dir(store.path()).expect("store").flatten().next().expect("network").path();
    std::fs::write(network.join("10.244.1.77"), "ghost\r\neth0").expect("ghost");
    let id = to_kept.container_id.clone();
    host.run(async move |runtime| {
        runtime.gc(&[id]).await.expect("gc");
        runtime.check(&to_kept).await.expect("the other one is untouched");
    });
    assert_eq!(reserved(store.path()), 1);
}

#[test]
fn node_routes_follow_the_list_and_leave_others_alone() {
    let host = Host::new(&json!({}), &[]);
    let pod_route = |cidr: &str, via: &str| routes::PodRoute {
        node_ip: via.parse().expect("ip"),
        pod_cidr: cidr.parse().expect("cidr"),
    };
    host.netns.ip("route add 10.99.0.0/24 via 192.0.2.7");
    let first = vec![pod_route("10.244.2.0/24", "192.0.2.2"), pod_route("10.244.3.0/24", "192.0.2.3")];
    host.run(async move |_| routes::sync(&first).await.expect("sync"));
    assert_eq!(host.netns.output("route show proto 114").lines().count(), 2);
    let second = vec![pod_route("10.244.2.0/24", "192.0.2.22"), pod_route("10.244.4.0/24", "203.0.113.1")];
    let error = host.run(async move |_| routes::sync(&second).await.expect_err("an unreachable node"));
    assert!(error.to_string().contains("203.0.113.1"), "{error}");
    let now = host.netns.output("route show proto 114");
    assert!(now.contains("10.244.2.0/24 via 192.0.2.22") && now.lines().count() == 1, "{now}");
    assert!(host.netns.output("route").contains("10.99.0.0/24"));

    host.netns.ip("addr add 2001:db8::1/64 dev up0 nodad");
    let third = vec![pod_route("10.244.2.0/24", "192.0.2.22"), pod_route("fd00:10:244:2::/64", "2001:db8::22")];
    host.run(async move |_| routes::sync(&third).await.expect("sync"));
    let six = host.netns.output("-6 route show proto 114");
    assert!(six.contains("fd00:10:244:2::/64 via 2001:db8::22") && six.lines().count() == 1, "{six}");
    let moved = vec![pod_route("fd00:10:244:2::/64", "2001:db8::23")];
    host.run(async move |_| routes::sync(&moved).await.expect("sync"));
    let six = host.netns.output("-6 route show proto 114");
    assert!(six.contains("via 2001:db8::23") && six.lines().count() == 1, "{six}");
    // What an overlay puts in the place of ours stays, until it takes that away.
    host.netns.ip("route replace 10.244.2.0/24 via 192.0.2.7");
    for via in ["192.0.2.7", "192.0.2.22"] {
        let wanted = vec![pod_route("10.244.2.0/24", "192.0.2.22")];
        host.run(async move |_| routes::sync(&wanted).await.expect("sync"));
        let shown = host.netns.output("route show 10.244.2.0/24");
        assert!(shown.contains(&format!("via {via} ")) && shown.lines().count() == 1, "{shown}");
        if via == "192.0.2.7" {
            host.netns.ip("route del 10.244.2.0/24");
        }
    }
    // What the kernel made for an address that a bridge was left with gives way.
    host.netns.ip("addr add 10.244.5.1/24 dev up0");
    let taken = vec![pod_route("10.244.5.0/24", "192.0.2.5")];
    host.run(async move |_| routes::sync(&taken).await.expect("sync"));
    let shown = host.netns.output("route show 10.244.5.0/24");
    assert!(shown.contains("via 192.0.2.5 ") && shown.lines().count() == 1, "{shown}");
    host.run(async move |_| routes::sync(&[]).await.expect("sync"));
    assert!(host.netns.output("-6 route show proto 114").trim().is_empty());
    assert!(host.netns.output("route show proto 114").trim().is_empty());
}

#[test]
fn who_asks_which_iptables_there_is_finds_the_word_of_it() {
    let netns = Netns::new("hint");
    let found = in_netns(&netns.path(), || async {
        for _ in 0..2 {
            leave_hint().expect("leave");
        }
        let netfilter = Netfilter::open().expect("open");
        [Family::Ip, Family::Ip6].map(|family| netfilter.chains(family, "mangle").expect("chains"))
    });
    assert_eq!(found.expect("namespace"), [["KUBE-IPTABLES-HINT"], ["KUBE-IPTABLES-HINT"]]);
}
