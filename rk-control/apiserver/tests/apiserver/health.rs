//! What the server says of its own health.

use rk_apiserver::{Config, User};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{Cluster, until};

#[tokio::test]
async fn health_is_told_check_by_check() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    until("readiness", async || admin.get("/readyz").await.code == 200).await;
    let text = async |path: &str| {
        let mut turns = 0..30;
        loop {
            let answer = admin.get(path).await;
            let version = if path.starts_with("/metrics") {
                "version=0.0.4; charset=utf-8; escaping=underscores"
            } else {
                "charset=utf-8"
            };
            assert_eq!(answer.headers["content-type"], format!("text/plain; {version}"), "{path}");
            let told = String::from_utf8_lossy(&answer.body).into_owned();
            // On a machine that has other work the store may be too late for once.
            let late = told.contains("[-]etcd") || told.contains("the store did not answer in time");
            if !late || turns.next().is_none() {
                break (answer.code.as_u16(), told);
            }
        }
    };
    for endpoint in ["healthz", "livez", "readyz"] {
        assert_eq!(text(&format!("/{endpoint}")).await, (200, "ok".to_owned()));
        let (code, told) = text(&format!("/{endpoint}?verbose")).await;
        assert_eq!(code, 200);
        assert!(told.starts_with("[+]ping ok\n[+]log ok\n[+]etcd ok\n"), "{told}");
        assert!(told.contains("\n[+]poststarthook/rbac/bootstrap-roles ok\n"), "{told}");
        assert!(told.ends_with(&format!("ok\n{endpoint} check passed\n")), "{told}");
        assert_eq!(told.contains("[+]etcd-readiness ok\n[+]informer-sync ok\n"), endpoint == "readyz", "{told}");
        for check in ["ping", "etcd", "poststarthook/rbac/bootstrap-roles"] {
            assert_eq!(text(&format!("/{endpoint}/{check}")).await, (200, "ok".to_owned()), "{check}");
        }
        assert_eq!(text(&format!("/{endpoint}/nonesuch")).await.0, 404);
    }
    let (code, told) = text("/metrics/slis").await;
    assert_eq!(code, 200);
    assert!(told.lines().any(|line| line == "kubernetes_healthcheck{name=\"etcd\",type=\"livez\"} 1"), "{told}");
    assert!(!told.contains("apiserver_request"), "it tells of checks alone");
    assert_eq!(text("/livez/etcd-readiness").await.0, 404, "it is a matter of readiness alone");
    let (_, told) = text("/livez?verbose&exclude=etcd&exclude=nonesuch&exclude=more").await;
    assert!(told.contains("[+]etcd excluded: ok\n"), "{told}");
    let warning = "warn: some health checks cannot be excluded: no matches for \"more\",\"nonesuch\"\n";
    assert!(told.contains(warning), "{told}");
    let root = admin.get("/").await.ok();
    assert!(root["paths"].as_array().unwrap().contains(&json!("/readyz/poststarthook/crd-informer-synced")));

    cluster.server.shutdown();
    let (code, told) = text("/readyz").await;
    assert_eq!(code, 500, "{told}");
    assert!(told.ends_with("[-]shutdown failed: reason withheld\nreadyz check failed\n"), "{told}");
    assert_eq!(text("/readyz/shutdown").await, (500, "internal server error: process is shutting down\n".to_owned()));
    assert_eq!(text("/livez").await.0, 200, "who shuts down is alive");
    assert_eq!(text("/readyz?exclude=shutdown").await.0, 200);
}

#[tokio::test]
async fn pages_tell_of_this_process_to_those_who_monitor_it() {
    let flags = [("data-dir".to_owned(), Some("d".to_owned())), ("bootstrap-token".to_owned(), None)].into();
    let config = Config { flags, ..Config::default() };
    let cluster = Cluster::start_with(tempfile::tempdir().unwrap(), config).await;
    let monitor = cluster.client(User::new("m", ["system:monitoring".to_owned()]));
    let text = async |path: &str| {
        let answer = monitor.get(path).await;
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8", "{path}");
        String::from_utf8(answer.body.to_vec()).unwrap()
    };
    let told = text("/statusz").await;
    assert!(told.starts_with("\napiserver statusz\nWarning: "), "{told}");
    assert!(told.lines().any(|line| line == "Binary version: 1.36.0"), "{told}");
    assert!(told.ends_with("\nPaths: /flagz /healthz /livez /metrics /readyz /statusz /version\n"), "{told}");
    let told = text("/flagz").await;
    assert!(told.starts_with("\napiserver flagz\nWarning: "), "{told}");
    assert!(told.ends_with("only.\nbootstrap-token=CLASSIFIED\ndata-dir=d\n"), "{told}");

    let asked = async |path: &str, form: &str| {
        let accept = format!("application/{form};g=config.k8s.io");
        monitor.clone().with("accept", &accept).get(path).await
    };
    let status = asked("/statusz", "json;v=v1beta1;as=Statusz").await;
    assert!(!status.headers.contains_key("warning"));
    let status = status.ok();
    assert_eq!((&status["kind"], &status["apiVersion"]), (&json!("Statusz"), &json!("config.k8s.io/v1beta1")));
    assert!(status["uptimeSeconds"].as_i64().is_some_and(|seconds| (0..3600).contains(&seconds)), "{status}");
    let old = asked("/flagz", "json;v=v1alpha1;as=Flagz").await;
    let warning = "This version of the flagz endpoint is deprecated. Please use a newer version.";
    assert_eq!(old.headers["warning"], format!("299 - \"{warning}\""));
    assert_eq!(old.ok()["flags"], json!({"bootstrap-token": "CLASSIFIED", "data-dir": "d"}));
    let yaml = asked("/flagz", "yaml;v=v1beta1;as=Flagz").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml;g=config.k8s.io;v=v1beta1;as=Flagz");
    assert!(String::from_utf8_lossy(&yaml.body).lines().any(|line| line == "  data-dir: d"), "{:?}", yaml.body);
    let offered = "application/json, application/yaml, text/plain";
    let why = format!("only the following media types are accepted: {offered}");
    assert_eq!(monitor.clone().with("accept", "application/json").get("/statusz").await.failure(), (406, why));
    let jane = cluster.client(User::new("jane", []));
    for path in ["/statusz", "/flagz"] {
        let why = format!("forbidden: User \"jane\" cannot get path {path:?}");
        assert_eq!(jane.get(path).await.failure(), (403, why));
    }
}

#[tokio::test]
async fn an_aggregated_api_that_hangs_keeps_no_server_from_being_ready() {
    const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
    let mut cluster = Cluster::start().await;
    // The kernel takes connections, and nobody ever speaks on them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "silent"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    cluster.admin().create("/api/v1/namespaces/default/services", &service).await.ok();
    // The verdict takes five seconds, in which a machine that has other work may not get far: who waits for it has it each time.
    let mut waited = true;
    for turn in 0..8 {
        let group = format!("g{turn}.silent.example.com");
        let api = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": format!("v1.{group}")},
            "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
                "insecureSkipTLSVerify": true,
                "service": {"namespace": "default", "name": "silent", "port": silent.local_addr().unwrap().port()}}});
        cluster.admin().create(API_SERVICES, &api).await.ok();
        cluster = Cluster::start_in(cluster.stop().await).await;
        let admin = cluster.admin();
        until("readiness", async || admin.get("/readyz").await.code == 200).await;
        let api = admin.get(&format!("{API_SERVICES}/v1.{group}")).await.ok();
        assert_eq!(admin.get(&format!("/apis/{group}/v1/things")).await.code, 503);
        waited = !api["status"]["conditions"][0].is_null();
        if !waited {
            break;
        }
    }
    assert!(!waited, "nobody waits for the verdict");
}
