//! Services as they come and as they change.

use super::*;

mod changes;

fn ranges() -> Vec<IpNet> {
    vec!["10.96.0.0/16".parse().unwrap()]
}

/// A cluster of these ranges, all of them usable.
fn cluster(ranges: &[IpNet]) -> Cluster {
    Cluster::new(ranges, ranges.to_vec(), 30000..=32767)
}

fn run(service: Value, old: Option<&Value>) -> Result<Value, Status> {
    let mut service = service;
    complete(&mut service, old, &cluster(&ranges()), &Taken::default()).map(|_| service)
}

#[test]
fn a_plain_service_gets_one_address() {
    let service = run(json!({"spec": {"type": "ClusterIP"}}), None).unwrap();
    assert_eq!(service["spec"]["clusterIP"], service["spec"]["clusterIPs"][0]);
    assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(service["spec"]["ipFamilyPolicy"], "SingleStack");
}

#[test]
fn an_update_without_addresses_and_ports_keeps_them() {
    let first = run(json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}}), None).unwrap();
    let second =
        run(json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}}), Some(&first)).unwrap();
    assert_eq!(first, second);
    let mut back = first.clone();
    back["spec"]["type"] = json!("ClusterIP");
    let third = run(back, Some(&first)).unwrap();
    assert!(third["spec"]["ports"][0].get("nodePort").is_none());
    assert_eq!(third["spec"]["clusterIP"], first["spec"]["clusterIP"]);
}

#[test]
fn a_service_that_prefers_two_families_keeps_what_it_has_until_it_is_changed() {
    let dual: Vec<IpNet> = vec!["10.96.0.0/16".parse().unwrap(), "fd00:10:96::/112".parse().unwrap()];
    let on = |ranges: &[IpNet], mut service: Value, old: Option<&Value>| {
        let done = complete(&mut service, old, &cluster(ranges), &Taken::default());
        done.map(|own| (service, own.addresses.len()))
    };
    let asked = json!({"spec": {"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"}});
    let (two, _) = on(&dual, asked.clone(), None).unwrap();
    let (one, _) = on(&dual[..1], asked.clone(), None).unwrap();
    let families = |service: &Value| texts(&service["spec"]["ipFamilies"]);
    assert_eq!((families(&two), families(&one)), (vec!["IPv4".to_owned(), "IPv6".to_owned()], vec!["IPv4".to_owned()]));
    assert_eq!(on(&dual[..1], two.clone(), Some(&two)).unwrap(), (two.clone(), 2), "the cluster lost a family");
    assert_eq!(on(&dual, one.clone(), Some(&one)).unwrap(), (one.clone(), 1), "the cluster gained one");
    // Who does not say the families means those of the addresses, and what the cluster has.
    assert_eq!(on(&dual, asked.clone(), Some(&two)).unwrap().0, two);
    assert_eq!(on(&dual, asked.clone(), Some(&one)).unwrap().1, 2);
    let told = on(&dual[..1], asked, Some(&two)).unwrap_err().message;
    assert!(told.ends_with(": IPv6 is not configured on this cluster"), "{told}");
    let mut requires = one.clone();
    requires["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
    assert_eq!(families(&on(&dual, requires, Some(&one)).unwrap().0), ["IPv4", "IPv6"]);
    let mut unsaid = two.clone();
    unsaid["spec"]["ipFamilies"] = json!(["IPv4"]);
    let told = on(&dual, unsaid, Some(&two)).unwrap_err().message;
    let why = "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary IP family";
    assert!(told.ends_with(why), "{told}");
    let mut narrow = two.clone();
    narrow["spec"]["ipFamilyPolicy"] = json!("SingleStack");
    let (narrow, held) = on(&dual[..1], narrow, Some(&two)).unwrap();
    assert_eq!((families(&narrow), held), (vec!["IPv4".to_owned()], 1), "the second one can be given up there, too");
}

#[test]
fn an_external_name_has_no_address() {
    let first = run(json!({"spec": {"type": "ClusterIP"}}), None).unwrap();
    let mut external = first.clone();
    external["spec"]["type"] = json!("ExternalName");
    let left = run(external.clone(), Some(&first)).unwrap();
    assert_eq!(left["spec"], json!({"type": "ExternalName"}));
    // What is asked for all the same stays, to be refused.
    external["spec"]["clusterIP"] = json!("10.96.0.9");
    assert_eq!(run(external, Some(&first)).unwrap()["spec"]["clusterIP"], "10.96.0.9");
    let new = json!({"spec": {"type": "ExternalName", "clusterIP": "10.96.0.9", "clusterIPs": []}});
    assert_eq!(run(new, None).unwrap()["spec"], json!({"type": "ExternalName", "clusterIP": "10.96.0.9"}));
}

#[test]
fn the_one_address_and_the_list_of_them_say_the_same() {
    for (spec, why) in [
        (json!({"clusterIPs": ["10.96.0.9"]}), "must be empty when `clusterIP` is not specified"),
        (json!({"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.9"]}), "first value must match `clusterIP`"),
    ] {
        let told = run(json!({"metadata": {"name": "s"}, "spec": spec}), None).unwrap_err().message;
        assert!(told.ends_with(why), "{told}");
    }
    let first = run(json!({"spec": {"clusterIP": "10.96.0.8"}}), None).unwrap();
    assert_eq!(first["spec"]["clusterIPs"], json!(["10.96.0.8"]));
    let mut moved = first.clone();
    moved["spec"]["clusterIP"] = json!("10.96.0.9");
    assert_eq!(run(moved, Some(&first)).unwrap()["spec"]["clusterIPs"], json!(["10.96.0.9"]));
    // Clients of old know nothing of the list; that the address must stay is told of by validation.
    let of_old = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.96.0.9"}});
    assert_eq!(run(of_old, Some(&first)).unwrap()["spec"]["clusterIPs"], json!(["10.96.0.9"]));
}

#[test]
fn node_ports_stay_with_the_names_of_ports_and_go_with_the_type() {
    let port = |name: &str, port: u16| json!({"name": name, "port": port, "protocol": "TCP"});
    let of = |kind: &str, ports: Value| json!({"spec": {"type": kind, "ports": ports}});
    let first = run(of("NodePort", json!([port("a", 80), port("b", 81)])), None).unwrap();
    let number = |service: &Value, place: usize| service["spec"]["ports"][place]["nodePort"].clone();
    let second = run(of("NodePort", json!([port("b", 8081), port("c", 80)])), Some(&first)).unwrap();
    assert_eq!(number(&second, 0), number(&first, 1), "whatever else changes");
    assert_ne!(number(&second, 1), Value::Null);
    // A port more, and one fewer: those that are left had their numbers from the server.
    let mut fewer = first.clone();
    fewer["spec"]["type"] = json!("ClusterIP");
    fewer["spec"]["ports"] = json!([first["spec"]["ports"][0], port("d", 82)]);
    assert_eq!(number(&run(fewer.clone(), Some(&first)).unwrap(), 0), Value::Null);
    fewer["spec"]["ports"][0]["nodePort"] = json!(30009);
    assert_eq!(number(&run(fewer, Some(&first)).unwrap(), 0), 30009, "to be refused");
}

#[test]
fn a_balancer_that_wants_no_node_ports_gets_those_that_it_asks_for() {
    let ports = json!([{"port": 80, "nodePort": 30080}, {"port": 81}]);
    let spec = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports});
    let service = run(json!({"spec": spec}), None).unwrap();
    assert_eq!(service["spec"]["ports"], ports);
    let mut fewer = service.clone();
    fewer["spec"]["ports"][0]["nodePort"] = Value::Null;
    assert!(run(fewer, Some(&service)).unwrap()["spec"]["ports"][0]["nodePort"].is_null(), "it can give them up");
    let mut foreign = service.clone();
    foreign["spec"]["ports"][0]["nodePort"] = json!(80);
    assert!(run(foreign, Some(&service)).unwrap_err().message.contains("provided port is not in the valid range"));
}

#[test]
fn an_address_that_cannot_be_had_is_told_with_the_reason() {
    let dual: Vec<IpNet> = vec!["10.96.0.0/16".parse().unwrap(), "fd00:10:96::/112".parse().unwrap()];
    let taken = Taken { addresses: HashSet::from(["10.96.0.7".parse().unwrap()]), ports: HashSet::new() };
    let elsewhere = "the provided network does not match the current range";
    for (ranges, address, policy, shown, why) in [
        (&dual[..1], "192.168.0.1", "SingleStack", "[\"192.168.0.1\"]", elsewhere),
        (
            &dual[..1],
            "10.96.0.0",
            "SingleStack",
            "[\"10.96.0.0\"]",
            "the provided IP (10.96.0.0) is not in the valid range. The range of valid IPs is 10.96.0.0/16",
        ),
        (&dual[..1], "10.96.0.7", "SingleStack", "[\"10.96.0.7\"]", "provided IP is already allocated"),
        // A place that is yet to be filled is shown, too.
        (&dual[..], "10.96.0.7", "RequireDualStack", "[\"10.96.0.7\",\"\"]", "provided IP is already allocated"),
    ] {
        let mut service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": address, "ipFamilyPolicy": policy}});
        let told = complete(&mut service, None, &cluster(ranges), &taken).unwrap_err();
        let want = format!(
            "Service \"s\" is invalid: spec.clusterIPs: Invalid value: {shown}: failed to allocate IP {address}: {why}"
        );
        assert_eq!((told.code, told.message), (422, want));
    }
}

#[test]
fn a_cluster_keeps_its_families_while_its_ranges_are_on_their_way_out() {
    let left = Cluster::new(&ranges(), Vec::new(), 30000..=32767);
    let on = |mut service: Value, old: Option<&Value>| {
        complete(&mut service, old, &left, &Taken::default()).map(|own| (service, own.addresses.len()))
    };
    let first = run(json!({"spec": {"type": "ClusterIP"}}), None).unwrap();
    assert_eq!(on(first.clone(), Some(&first)).unwrap(), (first, 1), "it keeps its address");
    let full = on(json!({"spec": {}}), None).unwrap_err();
    assert_eq!(
        (full.code, &*full.message),
        (500, "Internal error occurred: failed to allocate a serviceIP: range is full")
    );
    let told = on(json!({"spec": {"clusterIP": "10.96.0.5"}}), None).unwrap_err().message;
    assert!(told.ends_with("the provided network does not match the current range"), "{told}");
}

#[test]
fn an_address_that_is_changed_is_left_to_the_rules() {
    let taken = Taken { addresses: HashSet::from(["10.96.0.7".parse().unwrap()]), ports: HashSet::new() };
    for (had, wanted, held) in [("10.96.0.5", "10.96.0.7", 1), ("10.96.0.5", "192.0.2.1", 1), ("None", "10.96.0.7", 0)]
    {
        let old = json!({"spec": {"clusterIP": had, "clusterIPs": [had], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}});
        let mut new = old.clone();
        new["spec"]["clusterIP"] = json!(wanted);
        let own = complete(&mut new, Some(&old), &cluster(&ranges()), &taken).unwrap();
        assert_eq!((own.addresses.len(), &new["spec"]["clusterIPs"]), (held, &json!([wanted])), "{had}");
    }
}

#[test]
fn no_port_of_a_service_has_the_number_of_its_health_check() {
    let old = json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "clusterIP": "10.96.0.5",
        "clusterIPs": ["10.96.0.5"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "healthCheckNodePort": 30001,
        "ports": [{"name": "a", "port": 80, "nodePort": 30000}]}});
    let mut new = old.clone();
    new["spec"]["ports"] = json!([{"name": "a", "port": 80, "nodePort": 30000}, {"name": "b", "port": 81}]);
    let two = Cluster::new(&ranges(), ranges(), 30000..=30001);
    let with_two = |service: &mut Value| complete(service, Some(&old), &two, &Taken::default());
    assert_eq!(with_two(&mut new.clone()).unwrap_err().code, 500, "there are no more");
    new["spec"]["ports"][1]["nodePort"] = json!(30001);
    let refused = with_two(&mut new).unwrap_err();
    assert!(refused.message.ends_with("Invalid value: 30001: provided port is already allocated"), "{refused}");
}

#[test]
fn families_addresses_and_policy_of_a_service_fit_each_other_and_the_cluster() {
    let four: Vec<IpNet> = ranges();
    let six: Vec<IpNet> = vec!["fd00:10:96::/112".parse().unwrap()];
    let both = [four.clone(), six.clone()].concat();
    let on = |ranges: &[IpNet], spec: &Value| {
        let mut service = json!({"metadata": {"name": "s"}, "spec": spec});
        complete(&mut service, None, &cluster(ranges), &Taken::default()).map(|_| service["spec"].clone())
    };
    let names = ["IPv4", "IPv6"];
    let multiple = "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple";
    let families = format!("{multiple} IP families are specified");
    let addresses = format!("{multiple} cluster IPs are specified");
    for (ranges, spec, why) in [
        (&both, json!({"ipFamilies": names}), &*families),
        (&both, json!({"ipFamilies": names, "ipFamilyPolicy": "SingleStack"}), &families),
        (&four, json!({"ipFamilies": names}), &families),
        (&both, json!({"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00:10:96::5"]}), &addresses),
        (
            &both,
            json!({"ipFamilies": ["IPv7"]}),
            "spec.ipFamilies[0]: Unsupported value: \"IPv7\": supported values: \"IPv4\", \"IPv6\"",
        ),
        (&both, json!({"ipFamilies": ["IPv4", "IPv4"]}), "spec.ipFamilies[1]: Duplicate value: \"IPv4\""),
        (
            &four,
            json!({"ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            &four,
            json!({"clusterIP": "fd00::5"}),
            "spec.clusterIPs[0]: Invalid value: [\"fd00::5\"]: IPv6 is not configured on this cluster",
        ),
        (
            &both,
            json!({"clusterIP": "fd00::5", "ipFamilies": ["IPv4"]}),
            "expected an IPv4 value as indicated by `ipFamilies[0]`",
        ),
        (
            &four,
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            "this cluster is not configured for dual-stack services",
        ),
        (
            &four,
            json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": names}),
            "spec.ipFamilies[1]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
    ] {
        let told = on(ranges, &spec).expect_err(&spec.to_string()).message;
        assert!(told.ends_with(why), "{spec}: {told}");
    }
    for (ranges, spec, policy, families) in [
        (&six, json!({}), "SingleStack", &["IPv6"][..]),
        (&four, json!({"ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack", &["IPv4"]),
        (
            &both,
            json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"]}),
            "PreferDualStack",
            &["IPv6", "IPv4"],
        ),
        (
            &both,
            json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "fd00:10:96::5"}),
            "RequireDualStack",
            &["IPv6", "IPv4"],
        ),
        // Nothing says which pods it is for, so that the cluster need not have both.
        (&four, json!({"clusterIP": "None"}), "RequireDualStack", &["IPv4", "IPv6"]),
        (&four, json!({"clusterIP": "None", "ipFamilies": ["IPv6"]}), "RequireDualStack", &["IPv6", "IPv4"]),
        (&four, json!({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}), "SingleStack", &["IPv4"]),
        (&four, json!({"clusterIP": "None", "selector": {"a": "b"}}), "SingleStack", &["IPv4"]),
        (
            &both,
            json!({"clusterIP": "None", "selector": {"a": "b"}, "ipFamilyPolicy": "PreferDualStack"}),
            "PreferDualStack",
            &["IPv4", "IPv6"],
        ),
    ] {
        let told = on(ranges, &spec).unwrap_or_else(|status| panic!("{spec}: {}", status.message));
        assert_eq!((&told["ipFamilyPolicy"], &told["ipFamilies"]), (&json!(policy), &json!(families)), "{spec}");
    }
}
