//! Services that become others: by type, by where their traffic goes, by family.

use super::*;

#[test]
fn a_service_that_changes_its_type_has_what_the_new_one_needs_and_nothing_else() {
    let kinds = ["ExternalName", "ClusterIP", "NodePort", "LoadBalancer", "Headless"];
    let of = |kind: &str| match kind {
        "Headless" => json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "ports": [{"port": 80}]}}),
        _ => json!({"spec": {"type": kind, "ports": [{"port": 80}]}}),
    };
    for (before, after) in kinds.iter().flat_map(|before| kinds.iter().map(move |after| (*before, *after))) {
        let old = run(of(before), None).unwrap();
        let mut asked = of(after);
        // To and from addresses there is no way: rules refuse it.
        if (before == "Headless") != (after == "Headless") && ![before, after].contains(&"ExternalName") {
            continue;
        }
        for whole in [false, true] {
            if whole {
                let mut all = old.clone();
                all["spec"]["type"] = asked["spec"]["type"].clone();
                if before == "ExternalName" && after == "Headless" {
                    all["spec"]["clusterIP"] = json!("None");
                }
                asked = all;
            }
            let new = run(asked.clone(), Some(&old)).unwrap();
            let has = |field: &str| new["spec"].get(field).is_some();
            let named = after == "ExternalName";
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                assert_eq!(has(field), !named, "{before} to {after}: {field} in {new}");
            }
            if !named && before != "ExternalName" {
                assert_eq!(new["spec"]["clusterIPs"], old["spec"]["clusterIPs"], "{before} to {after}");
            }
            let port = &new["spec"]["ports"][0]["nodePort"];
            let numbered = matches!(after, "NodePort" | "LoadBalancer");
            assert_eq!(port.is_u64(), numbered, "{before} to {after}: {new}");
            if numbered && matches!(before, "NodePort" | "LoadBalancer") {
                assert_eq!(port, &old["spec"]["ports"][0]["nodePort"], "{before} to {after}");
            }
        }
    }
}

#[test]
fn a_health_check_has_a_port_while_traffic_stays_on_its_node() {
    let of = |policy: &str, more: Value| {
        let mut service = json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": policy}});
        service["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service
    };
    let check = |service: &Value| service["spec"]["healthCheckNodePort"].clone();
    let local = run(of("Local", json!({})), None).unwrap();
    assert!(check(&local).is_u64());
    assert_eq!(check(&run(of("Local", json!({})), Some(&local)).unwrap()), check(&local), "left out, it stays");
    assert_eq!(check(&run(of("Local", json!({"healthCheckNodePort": 0})), Some(&local)).unwrap()), check(&local));
    let mut wide = local.clone();
    wide["spec"]["externalTrafficPolicy"] = json!("Cluster");
    let wide = run(wide, Some(&local)).unwrap();
    assert_eq!(check(&wide), Value::Null);
    let asked = run(of("Local", json!({"healthCheckNodePort": 30000})), Some(&wide)).unwrap();
    assert_eq!(check(&asked), 30000);
    // A number that its ports give up with the same change is not free yet.
    let ported = run(of("Cluster", json!({"ports": [{"port": 80, "nodePort": 30009}]})), None).unwrap();
    let swapped = json!({"healthCheckNodePort": 30009, "ports": [{"port": 80, "nodePort": 30010}]});
    let told = run(of("Local", swapped), Some(&ported)).unwrap_err();
    let why = "failed to allocate requested HealthCheck NodePort 30009: provided port is already allocated";
    assert!(told.code == 500 && told.message.ends_with(why), "{told}");
}

#[test]
fn a_headless_service_that_says_no_families_has_those_of_the_cluster() {
    let dual: Vec<IpNet> = vec!["10.96.0.0/16".parse().unwrap(), "fd00:10:96::/112".parse().unwrap()];
    let on = |spec: &Value, old: Option<&Value>| {
        let mut service = json!({"metadata": {"name": "s"}, "spec": spec});
        complete(&mut service, old, &cluster(&dual), &Taken::default()).map(|_| service)
    };
    let of = |more: Value| {
        let mut spec = json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let six = on(&of(json!({"ipFamilies": ["IPv6"]})), None).unwrap();
    let both = on(&of(json!({"ipFamilyPolicy": "RequireDualStack"})), None).unwrap();
    for (old, change, policy, families) in [
        (&six, json!({}), "SingleStack", &["IPv4"][..]),
        (&six, json!({"ipFamilies": ["IPv6"]}), "SingleStack", &["IPv6"]),
        (&six, json!({"ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack", &["IPv4", "IPv6"]),
        (&both, json!({}), "RequireDualStack", &["IPv4", "IPv6"]),
        (&both, json!({"ipFamilyPolicy": "SingleStack"}), "SingleStack", &["IPv4"]),
        (&both, json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}), "SingleStack", &["IPv4"]),
    ] {
        let new = on(&of(change.clone()), Some(old)).unwrap_or_else(|told| panic!("{change}: {told}"));
        let spec = &new["spec"];
        assert_eq!((&spec["ipFamilyPolicy"], &spec["ipFamilies"]), (&json!(policy), &json!(families)), "{change}");
        assert_eq!(spec["clusterIPs"], json!(["None"]), "{change}");
    }
    for (change, why) in [
        (
            json!({"ipFamilies": ["IPv4"]}),
            "\"RequireDualStack\": must be 'SingleStack' to release the secondary IP family",
        ),
        (
            json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6", "IPv4"]}),
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ),
        (
            json!({"ipFamilyPolicy": ""}),
            "\"\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
        ),
    ] {
        let told = on(&of(change.clone()), Some(&both)).expect_err(&change.to_string()).message;
        assert!(told.ends_with(why), "{change}: {told}");
    }
}

#[test]
fn a_service_gains_and_gives_up_its_second_address_by_what_it_says() {
    let both: Vec<IpNet> = vec!["10.96.0.0/16".parse().unwrap(), "fd00:10:96::/112".parse().unwrap()];
    let (addresses, families) = (["10.96.0.5", "fd00:10:96::5"], ["IPv4", "IPv6"]);
    let made = |count: usize, policy: &str| {
        json!({"metadata": {"name": "s"}, "spec": {"type": "ClusterIP", "clusterIP": addresses[0],
            "clusterIPs": addresses[..count], "ipFamilies": families[..count], "ipFamilyPolicy": policy}})
    };
    let (one, two) = (made(1, "SingleStack"), made(2, "RequireDualStack"));
    // How many it has then, zero if it is refused: by no family, one, or both that it names, and of each by as many addresses.
    for (old, policy, want) in [
        (&one, None, "110 110 000"),
        (&one, Some("SingleStack"), "110 110 000"),
        (&one, Some("PreferDualStack"), "222 222 222"),
        (&one, Some("RequireDualStack"), "222 222 222"),
        (&two, None, "202 000 202"),
        (&two, Some("SingleStack"), "111 111 111"),
        (&two, Some("PreferDualStack"), "202 000 202"),
        (&two, Some("RequireDualStack"), "202 000 202"),
    ] {
        let held = |named: usize, listed: usize| {
            let mut new = json!({"metadata": {"name": "s"}, "spec": {"type": "ClusterIP"}});
            if let Some(policy) = policy {
                new["spec"]["ipFamilyPolicy"] = json!(policy);
            }
            if named > 0 {
                new["spec"]["ipFamilies"] = json!(families[..named]);
            }
            if listed > 0 {
                new["spec"]["clusterIP"] = json!(addresses[0]);
                new["spec"]["clusterIPs"] = json!(addresses[..listed]);
            }
            let own = complete(&mut new, Some(old), &cluster(&both), &Taken::default());
            own.map_or(0, |own| own.addresses.len()).to_string()
        };
        let rows: Vec<String> = (0..3).map(|named| (0..3).map(|listed| held(named, listed)).collect()).collect();
        assert_eq!(rows.join(" "), want, "{policy:?} of {old}");
    }
}
