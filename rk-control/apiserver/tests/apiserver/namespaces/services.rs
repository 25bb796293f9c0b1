//! Addresses and ports of Services.

use http::Method;
use rk_apiserver::Config;
use serde_json::{Value, json};

use super::SERVICES;
use crate::support::{Cluster, until};

#[tokio::test]
async fn services_get_addresses_and_ports_that_nobody_else_has() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let service = |name: &str, kind: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}});
    let creations = (0..40).map(|index| {
        let (admin, service) = (admin.clone(), service(&format!("s{index}"), "NodePort"));
        async move { admin.create(SERVICES, &service).await.ok() }
    });
    let made: Vec<Value> = futures::future::join_all(creations).await;
    let distinct = |path: &dyn Fn(&Value) -> Value| {
        let mut all: Vec<String> = made.iter().map(|service| path(service).to_string()).collect();
        all.sort();
        all.dedup();
        all.len()
    };
    assert_eq!(distinct(&|service| service["spec"]["clusterIP"].clone()), 40);
    assert_eq!(distinct(&|service| service["spec"]["ports"][0]["nodePort"].clone()), 40);
    let mut taken = service("taken", "ClusterIP");
    taken["spec"]["clusterIP"] = json!("10.96.0.1");
    let (code, message) = admin.create(SERVICES, &taken).await.failure();
    assert_eq!(code, 422);
    assert!(message.contains("provided IP is already allocated"), "{message}");
    admin.delete(&format!("{SERVICES}/s0")).await.ok();
    let freed = made[0]["spec"]["clusterIP"].clone();
    taken["spec"]["clusterIP"] = freed.clone();
    assert_eq!(admin.create(SERVICES, &taken).await.ok()["spec"]["clusterIP"], freed);
}

#[tokio::test]
async fn a_health_check_port_of_zero_is_one_that_was_left_out() {
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let zero = json!({"spec": {"healthCheckNodePort": 0}});
    let plain = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "plain"},
        "spec": {"ports": [{"port": 80}], "healthCheckNodePort": 0}});
    let made = admin.create(SERVICES, &plain).await.ok();
    assert!(made["spec"].get("healthCheckNodePort").is_none(), "{made}");
    let mut local = plain.clone();
    local["metadata"]["name"] = json!("local");
    local["spec"]["type"] = json!("LoadBalancer");
    local["spec"]["externalTrafficPolicy"] = json!("Local");
    let made = admin.create(SERVICES, &local).await.ok();
    let port = made["spec"]["healthCheckNodePort"].as_u64().unwrap();
    assert!((30_000..=32_767).contains(&port), "{port}");
    let path = format!("{SERVICES}/local");
    let mut again = made.clone();
    again["spec"]["healthCheckNodePort"] = json!(0);
    assert_eq!(admin.put(&path, &again).await.ok()["spec"]["healthCheckNodePort"], port);
    let body = rk_api::proto::encode(&again).unwrap();
    assert_eq!(admin.answer(Method::PUT, &path, PROTOBUF, body).await.ok()["spec"]["healthCheckNodePort"], port);
    let patched = admin.patch(&path, "application/merge-patch+json", &zero).await.ok();
    assert_eq!(patched["spec"]["healthCheckNodePort"], port);
    assert_eq!(admin.patch(&format!("{SERVICES}/plain"), "application/merge-patch+json", &zero).await.code, 200);
}

#[tokio::test]
async fn racing_changes_of_a_service_leave_it_what_it_has() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}],
    }});
    let made = admin.create(SERVICES, &service).await.ok();
    let changes = (0..20).map(|index| {
        let (admin, label) = (admin.clone(), json!({"metadata": {"labels": {format!("k{index}"): "v"}}}));
        async move {
            admin.patch(&format!("{SERVICES}/a"), "application/merge-patch+json", &label).await.ok();
        }
    });
    futures::future::join_all(changes).await;
    let last = admin.get(&format!("{SERVICES}/a")).await.ok();
    assert_eq!(last["spec"], made["spec"]);
    assert_eq!(last["metadata"]["labels"].as_object().unwrap().len(), 20);
}

#[tokio::test]
async fn node_ports_come_from_the_upper_band_and_can_be_asked_for() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let service = |name: &str, port: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "NodePort", "ports": [port]}})
    };
    for index in 0..20 {
        let made = admin.create(SERVICES, &service(&format!("s{index}"), json!({"port": 80}))).await.ok();
        let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        assert!((30086..=32767).contains(&port), "{port}");
    }
    let asked = admin.create(SERVICES, &service("asked", json!({"port": 80, "nodePort": 30001}))).await.ok();
    assert_eq!(asked["spec"]["ports"][0]["nodePort"], 30001);
    // A number is one Service's, under whatever protocol.
    let datagrams = json!({"port": 80, "protocol": "UDP", "nodePort": 30002});
    admin.create(SERVICES, &service("datagrams", datagrams)).await.ok();
    for (port, why) in [
        (30001, "provided port is already allocated"),
        (30002, "provided port is already allocated"),
        (8080, "provided port is not in the valid range. The range of valid ports is 30000-32767"),
    ] {
        let (code, message) =
            admin.create(SERVICES, &service("refused", json!({"port": 80, "nodePort": port}))).await.failure();
        let place = format!("spec.ports[0].nodePort: Invalid value: {port}: {why}");
        assert!(code == 422 && message.ends_with(&place), "{message}");
    }
}

#[tokio::test]
async fn services_of_two_families_get_an_address_of_each() {
    let dual = Config {
        service_cidrs: ["10.96.0.0/16", "fd00:10:96::/112"].map(|range| range.parse().unwrap()).to_vec(),
        ..Config::default()
    };
    let cluster = Cluster::start_with(tempfile::tempdir().unwrap(), dual).await;
    let admin = cluster.admin();
    let service = |name: &str, more: Value| {
        let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": more});
        service["spec"]["ports"] = json!([{"port": 80}]);
        service
    };
    for (name, asked, policy, families) in [
        ("plain", json!({}), "SingleStack", vec!["IPv4"]),
        ("six", json!({"ipFamilies": ["IPv6"]}), "SingleStack", vec!["IPv6"]),
        ("both", json!({"ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack", vec!["IPv4", "IPv6"]),
        (
            "turned",
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}),
            "RequireDualStack",
            vec!["IPv6", "IPv4"],
        ),
    ] {
        let spec = admin.create(SERVICES, &service(name, asked)).await.ok()["spec"].clone();
        assert_eq!((&spec["ipFamilyPolicy"], &spec["ipFamilies"]), (&json!(policy), &json!(families)), "{name}");
        let addresses: Vec<&str> = spec["clusterIPs"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(spec["clusterIP"], addresses[0], "{name}");
        let found: Vec<&str> =
            addresses.iter().map(|ip| if ip.starts_with("fd00:10:96::") { "IPv6" } else { "IPv4" }).collect();
        assert_eq!(found, families, "{name}: {addresses:?}");
        for address in addresses {
            let record = admin.get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{address}")).await.ok();
            assert_eq!(record["spec"]["parentRef"]["name"], name);
        }
    }
    let path = format!("{SERVICES}/plain");
    let plain = admin.get(&path).await.ok()["spec"]["clusterIP"].clone();
    let turned = async |policy: &str| {
        let patch = json!({"spec": {"ipFamilyPolicy": policy}});
        admin.patch(&path, "application/merge-patch+json", &patch).await.ok()["spec"].clone()
    };
    let wide = turned("PreferDualStack").await;
    assert_eq!((&wide["clusterIPs"][0], &wide["ipFamilies"]), (&plain, &json!(["IPv4", "IPv6"])), "it keeps its first");
    let second = wide["clusterIPs"][1].as_str().unwrap();
    assert!(second.starts_with("fd00:10:96::"), "{wide}");
    let narrow = turned("SingleStack").await;
    assert_eq!((&narrow["clusterIPs"], &narrow["ipFamilies"]), (&json!([plain]), &json!(["IPv4"])));
    let record = format!("/apis/networking.k8s.io/v1/ipaddresses/{second}");
    until("its second address to be free", || async { admin.get(&record).await.code == 404 }).await;
    let single = Cluster::start().await;
    let asked = service("both", json!({"ipFamilyPolicy": "RequireDualStack"}));
    let (code, message) = single.admin().create(SERVICES, &asked).await.failure();
    assert!(code == 422 && message.contains("this cluster is not configured for dual-stack services"), "{message}");
}

#[tokio::test]
async fn a_default_range_that_the_settings_lose_stays_and_is_told_of() {
    let dual = Config {
        service_cidrs: ["10.96.0.0/16", "fd00:10:96::/112"].map(|range| range.parse().unwrap()).to_vec(),
        ..Config::default()
    };
    let cluster = Cluster::start_with(tempfile::tempdir().unwrap(), dual).await;
    let service = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ipFamilyPolicy": "PreferDualStack", "ports": [{"port": 80}]}})
    };
    let before = cluster.admin().create(SERVICES, &service("before")).await.ok()["spec"].clone();
    assert_eq!(before["ipFamilies"], json!(["IPv4", "IPv6"]));
    let events = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind%3DServiceCIDR";
    assert_eq!(cluster.admin().get(events).await.ok()["items"], json!([]));

    let single = Cluster::start_in(cluster.stop().await).await;
    let admin = single.admin();
    let stays = admin.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await.ok();
    assert_eq!(stays["spec"]["cidrs"], json!(["10.96.0.0/16", "fd00:10:96::/112"]));
    let told = admin.get(events).await.ok()["items"].clone();
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(
        (&told[0]["type"], &told[0]["reason"], &told[0]["involvedObject"]["name"]),
        (&json!("Warning"), &json!("KubernetesDefaultServiceCIDRInconsistent"), &json!("kubernetes"))
    );

    let after = admin.create(SERVICES, &service("after")).await.ok()["spec"].clone();
    assert_eq!(after["ipFamilies"], json!(["IPv4"]), "no new Service gets what the settings lack");
    let path = format!("{SERVICES}/before");
    let patched = async |change: Value| admin.patch(&path, "application/merge-patch+json", &change).await.ok();
    let labelled = patched(json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(labelled["spec"], before, "one that has both keeps both");
    let narrow = patched(json!({"spec": {"ipFamilyPolicy": "SingleStack"}})).await;
    assert_eq!(narrow["spec"]["clusterIPs"], json!([before["clusterIP"]]), "until it gives one up");
}

#[tokio::test]
async fn every_service_address_has_its_record_and_ranges_come_and_go() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let services = "/api/v1/namespaces/default/services";
    let addresses = "/apis/networking.k8s.io/v1/ipaddresses";
    let ranges = "/apis/networking.k8s.io/v1/servicecidrs";
    let record = |address: &str| format!("{addresses}/{address}");

    let kubernetes = admin.get(&record("10.96.0.1")).await.ok();
    assert_eq!(kubernetes["spec"]["parentRef"]["name"], "kubernetes");
    let service = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
    let dry = admin.create(&format!("{services}?dryRun=All"), &service).await.ok();
    assert_eq!(admin.get(&record(dry["spec"]["clusterIP"].as_str().unwrap())).await.code, 404);
    let made = admin.create(services, &service).await.ok();
    let address = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let own = admin.get(&record(&address)).await.ok();
    assert_eq!(own["spec"]["parentRef"], json!({"resource": "services", "namespace": "default", "name": "a"}));
    assert_eq!(own["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");

    // Somebody else's record takes an address out of use.
    let foreign = json!({"metadata": {"name": "10.96.7.7"}, "spec": {"parentRef": {"resource": "gateways", "name": "g", "namespace": "default"}}});
    admin.create(addresses, &foreign).await.ok();
    let pinned = json!({"metadata": {"name": "b"}, "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}});
    let (code, message) = admin.create(services, &pinned).await.failure();
    assert!(code == 422 && message.contains("already allocated"), "{message}");

    // A record that somebody removed is written again.
    admin.delete(&record(&address)).await.ok();
    until("the record", || async { admin.get(&record(&address)).await.code == 200 }).await;
    // So is one that does not say any more whose it is.
    let manager = "ipaddress.kubernetes.io/managed-by";
    let bare = json!({"metadata": {"labels": {manager: null}}});
    admin.patch(&record(&address), "application/merge-patch+json", &bare).await.ok();
    let labels = || async { admin.get(&record(&address)).await.json()["metadata"]["labels"].clone() };
    until("its label", || async { labels().await[manager] == "ipallocator.k8s.io" }).await;
    admin.delete(&format!("{services}/a")).await.ok();
    assert_eq!(admin.get(&record(&address)).await.code, 404);

    let more = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.50.0.0/24"]}});
    admin.create(ranges, &more).await.ok();
    let state = || async { admin.get(&format!("{ranges}/more")).await.json() };
    until("its readiness", || async { state().await["status"]["conditions"][0]["status"] == "True" }).await;
    let wanted = json!({"metadata": {"name": "c"}, "spec": {"clusterIP": "10.50.0.9", "ports": [{"port": 80}]}});
    admin.create(services, &wanted).await.ok();
    admin.delete(&format!("{ranges}/more")).await.ok();
    until("its end's beginning", || async { state().await["status"]["conditions"][0]["reason"] == "Terminating" })
        .await;
    admin.delete(&format!("{services}/c")).await.ok();
    until("its end", || async { admin.get(&format!("{ranges}/more")).await.code == 404 }).await;
}

#[tokio::test]
async fn a_service_that_is_made_twice_keeps_the_record_of_its_address() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let service = |name: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    let mut first = service("first");
    first["spec"]["clusterIP"] = json!("10.96.0.77");
    admin.create(SERVICES, &first).await.ok();
    let path = "/apis/networking.k8s.io/v1/ipaddresses/10.96.0.77";
    let record = admin.get(path).await.ok();
    // Its address is asked for before its name.
    let why = "spec.clusterIPs: Invalid value: [\"10.96.0.77\"]: failed to allocate IP 10.96.0.77: provided IP is already allocated";
    let told = (422, format!("Service \"first\" is invalid: {why}"));
    assert_eq!(admin.create(SERVICES, &first).await.failure(), told);
    assert_eq!(admin.create(&format!("{SERVICES}?dryRun=All"), &first).await.failure(), told);
    let (code, message) = admin.create(SERVICES, &service("first")).await.failure();
    assert_eq!((code, message.as_str()), (409, "services \"first\" already exists"));
    // What is given back is given back before others are served.
    for name in ["a", "b", "c"] {
        admin.create(SERVICES, &service(name)).await.ok();
    }
    assert_eq!(admin.get(path).await.ok()["metadata"]["uid"], record["metadata"]["uid"]);
}

#[tokio::test]
async fn an_address_of_a_service_that_is_refused_is_free_at_once() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let service = |name: &str, port: u16| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"clusterIP": "10.96.0.88", "ports": [{"port": port}]}})
    };
    for name in ["a", "b", "c"] {
        assert_eq!(admin.create(SERVICES, &service(name, 0)).await.failure().0, 422, "no port has that number");
        let made = admin.create(SERVICES, &service(name, 80)).await.ok();
        assert_eq!(made["spec"]["clusterIP"], "10.96.0.88");
        admin.delete(&format!("{SERVICES}/{name}")).await.ok();
        let refused = admin.create(SERVICES, &service("other", 0)).await.failure().1;
        assert!(!refused.contains("already allocated"), "{refused}");
    }
}

#[tokio::test]
async fn endpoints_go_with_the_service_of_their_name_whoever_made_them() {
    const MERGE: &str = "application/merge-patch+json";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let path = |name: &str| format!("/api/v1/namespaces/default/endpoints/{name}");
    let make = async |name: &str, finalizers: Value| {
        let metadata = json!({"name": name, "finalizers": finalizers});
        let spec = json!({"ports": [{"port": 80}]});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
        admin.create(SERVICES, &service).await.ok();
        let subsets = json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]);
        let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets});
        admin.create("/api/v1/namespaces/default/endpoints", &endpoints).await.ok();
    };
    for name in ["a", "other"] {
        make(name, json!([])).await;
    }
    admin.delete(&format!("{SERVICES}/a?dryRun=All")).await.ok();
    admin.get(&path("a")).await.ok();
    admin.delete(&format!("{SERVICES}/a")).await.ok();
    assert_eq!(admin.get(&path("a")).await.code, 404);
    admin.get(&path("other")).await.ok();
    // What waits for its finalizers goes, and takes along, with the last of them; and so does what is taken along.
    make("held", json!(["example.com/held"])).await;
    admin.delete(&format!("{SERVICES}/held")).await.ok();
    assert!(admin.get(&path("held")).await.ok()["metadata"].get("deletionTimestamp").is_none());
    let bare = json!({"metadata": {"finalizers": null}});
    admin.patch(&format!("{SERVICES}/held"), MERGE, &bare).await.ok();
    assert!(admin.get(&path("held")).await.ok()["metadata"]["deletionTimestamp"].is_string());
    admin.patch(&path("held"), MERGE, &bare).await.ok();
    assert_eq!(admin.get(&path("held")).await.code, 404);
}
