//! Over real sockets: TLS, certificates, bearer tokens, and streams to a kubelet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::ServerConfig;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::sockets::{connect, connect_h2, exchange, get, listen, pair, provider, roots};
use crate::support::{Cluster, MAPS, PODS, config_map, pod, until};

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

#[tokio::test]
async fn certificates_and_tokens_tell_who_asks() {
    let cluster = Cluster::start().await;
    let address = listen(&cluster).await;
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let ask = |headers: &str| {
        format!(
            "POST {WHO} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
    };
    let admin = pair(&cluster.pki.admin.certificate, &cluster.pki.admin.key);
    let answer = exchange(&mut connect(&cluster, address, Some(admin)).await, &ask(""), "userInfo").await;
    assert!(answer.contains("kubernetes-admin") && answer.contains("system:masters"), "{answer}");

    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let token =
        cluster.admin().send(Method::POST, path, &request).await.ok()["status"]["token"].as_str().unwrap().to_owned();
    let header = format!("Authorization: Bearer {token}\r\n");
    let answer = exchange(&mut connect(&cluster, address, None).await, &ask(&header), "userInfo").await;
    assert!(answer.contains("system:serviceaccount:default:default"), "{answer}");

    let wrong = exchange(
        &mut connect(&cluster, address, None).await,
        &get("/api", "Authorization: Bearer nonsense\r\n"),
        "Unauthorized",
    )
    .await;
    assert!(wrong.starts_with("HTTP/1.1 401"), "{wrong}");
    let anonymous = exchange(&mut connect(&cluster, address, None).await, &get("/api/v1/nodes", ""), "forbidden").await;
    assert!(anonymous.starts_with("HTTP/1.1 403") && anonymous.contains("system:anonymous"), "{anonymous}");
}

#[tokio::test]
async fn a_connection_outlives_its_certificate_and_its_rights_do_not() {
    let cluster = Cluster::start().await;
    let address = listen(&cluster).await;
    let authority = &cluster.pki.authority;
    let issuer = Issuer::from_ca_cert_der(authority.der(), KeyPair::from_pem(authority.key()).unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "jane");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    // Long enough for the first request on a machine that has other work.
    params.not_after = (SystemTime::now() + Duration::from_secs(20)).into();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let login = pair(&certificate.pem(), &key.serialize_pem());
    let mut stream = connect(&cluster, address, Some(login)).await;
    let first = exchange(&mut stream, &get("/api/v1/nodes", ""), "jane").await;
    assert!(first.starts_with("HTTP/1.1 403"), "{first}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !exchange(&mut stream, &get("/version", ""), "}").await.starts_with("HTTP/1.1 401") {
        assert!(Instant::now() < deadline, "an expired certificate opens doors");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let figures = String::from_utf8(cluster.admin().get("/metrics").await.body.to_vec()).unwrap();
    assert!(figures.contains("authentication_attempts{result=\"error\"} 1"), "{figures}");
}

#[tokio::test]
async fn handshakes_that_fail_and_who_lets_whom_in_are_counted() {
    let cluster = Cluster::start().await;
    let address = listen(&cluster).await;
    let told = async |line: &str| {
        let figures = String::from_utf8(cluster.admin().get("/metrics").await.body.to_vec()).unwrap();
        figures.lines().any(|own| own == line)
    };
    assert!(told("apiserver_tls_handshake_errors_total 0").await);
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(get("/version", "").as_bytes()).await.unwrap();
    until("the count", async || told("apiserver_tls_handshake_errors_total 1").await).await;
    let nobody = "apiserver_authorization_decisions_total{decision=\"allowed\",name=\"rbac\",type=\"RBAC\"} 0";
    let (before, counted) = (told(nobody).await, "authorization_duration_seconds_count{result=\"allowed\"} 0");
    let answer = exchange(&mut connect(&cluster, address, None).await, &get("/version", ""), "}").await;
    assert!(before && answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!told(nobody).await && !told(counted).await);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_answered_with_401() {
    let cluster = Cluster::start().await;
    let address = listen(&cluster).await;
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "kubernetes-admin");
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    let certificate = params.self_signed(&key).unwrap().pem();
    let stranger = pair(&certificate, &key.serialize_pem());
    let answer =
        exchange(&mut connect(&cluster, address, Some(stranger)).await, &get("/api/v1/nodes", ""), "Unauthorized")
            .await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

/// Accepts one connection as a kubelet would, checks its client, and answers with 101 and an echo.
async fn kubelet(cluster: &Cluster) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let issuer_key = KeyPair::from_pem(cluster.pki.authority.key()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(cluster.pki.ca_certificate(), issuer_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let (chain, key) = pair(&certificate.pem(), &key.serialize_pem());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots(cluster), provider()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
            .await
            .unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        String::from_utf8(head).unwrap()
    });
    (address, served)
}

#[tokio::test]
async fn an_exec_reaches_the_kubelet_and_bytes_flow_both_ways() {
    let cluster = Cluster::start().await;
    let address = listen(&cluster).await;
    let (kubelet, served) = kubelet(&cluster).await;
    let admin = cluster.admin();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    admin.create("/api/v1/nodes", &node).await.ok();
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}},
    }});
    admin.patch("/api/v1/nodes/n/status", "application/merge-patch+json", &status).await.ok();
    let mut placed = pod("p");
    placed["spec"]["nodeName"] = json!("n");
    admin.create(PODS, &placed).await.ok();

    let login = pair(&cluster.pki.admin.certificate, &cluster.pki.admin.key);
    let mut stream = connect(&cluster, address, Some(login)).await;
    let request = format!(
        "POST {PODS}/p/exec?command=sh&command=-c&command=a%20b&stdin=true&stdout=true&tty=true HTTP/1.1\r\nHost: x\r\n\
         Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\
         Authorization: Bearer must-not-be-passed-on\r\n\r\n"
    );
    let answer = exchange(&mut stream, &request, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("upgrade: spdy/3.1"), "{answer}");
    assert_eq!(exchange(&mut stream, "hello", "hello").await, "hello");
    let head = served.await.unwrap();
    assert!(
        head.starts_with("POST /exec/default/p/c?input=1&output=1&tty=1&command=sh&command=-c&command=a%20b HTTP/1.1"),
        "{head}"
    );
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains("x-stream-protocol-version: v4.channel.k8s.io") && !head.contains("must-not-be-passed-on"),
        "{head}"
    );
}

#[tokio::test]
async fn a_stream_needs_a_pod_a_container_and_an_upgrade() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut two = pod("p");
    two["spec"]["containers"] = json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]);
    admin.create(PODS, &two).await.ok();
    assert_eq!(admin.get(&format!("{PODS}/none/log")).await.failure().0, 404);
    let (code, message) = admin.get(&format!("{PODS}/p/log")).await.failure();
    assert_eq!(code, 400);
    assert_eq!(message, "a container name must be specified for pod p, choose one of: [a b]");
    let unplaced = admin.get(&format!("{PODS}/p/log?container=a")).await;
    assert_eq!((unplaced.code.as_u16(), unplaced.body.is_empty()), (204, true));
    assert_eq!(admin.get(&format!("{PODS}/p/exec?container=a&command=sh&stdout=1")).await.failure().0, 400);
    let jane = cluster.client(rk_apiserver::User::new("jane", []));
    assert_eq!(jane.get(&format!("{PODS}/p/exec?command=sh")).await.failure().0, 403);
}

#[tokio::test]
async fn a_kubelet_that_does_not_answer_is_told_of_as_upstream_tells_of_it() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    admin.create("/api/v1/nodes", &node).await.ok();
    let mut placed = pod("p");
    placed["spec"]["nodeName"] = json!("n");
    admin.create(PODS, &placed).await.ok();
    let logs = format!("{PODS}/p/log?tailLines=3&follow=true");
    let none = "no preferred addresses found; known addresses: [{Hostname n}]";
    let named = json!({"status": {"addresses": [{"type": "Hostname", "address": "n"}]}});
    admin.patch("/api/v1/nodes/n/status", "application/merge-patch+json", &named).await.ok();
    assert_eq!(admin.get(&logs).await.failure(), (500, none.to_owned()));

    // Held, so that nobody else gets it, and not listened on.
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = held.local_addr().unwrap();
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": nobody.port()}},
    }});
    admin.patch("/api/v1/nodes/n/status", "application/merge-patch+json", &status).await.ok();
    let refused = admin.get(&logs).await;
    assert!(refused.json().get("reason").is_none());
    let container = &placed["spec"]["containers"][0]["name"].as_str().unwrap();
    let url = format!("https://{nobody}/containerLogs/default/p/{container}?follow=true&tailLines=3");
    let why = format!("Get \"{url}\": dial tcp {nobody}: connect: connection refused");
    assert_eq!(refused.failure(), (500, why));
}

#[tokio::test]
async fn nobody_reaches_the_servers_own_host_through_a_pod() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (name, address) in [("own", "127.0.0.1"), ("link", "169.254.169.254")] {
        admin.create(PODS, &pod(name)).await.ok();
        let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
        admin.patch(&format!("{PODS}/{name}/status"), "application/merge-patch+json", &status).await.ok();
        let answer = admin.get(&format!("{PODS}/{name}:80/proxy/latest/meta-data")).await;
        assert_eq!(answer.failure(), (400, "address not allowed".to_owned()), "{address}");
    }
    // Nor anybody through one that has no address yet, or by what names nothing.
    admin.create(PODS, &pod("new")).await.ok();
    for (path, why) in [
        ("pods/new:80", "address not allowed"),
        ("pods/ftp:new:80", "invalid pod request \"ftp:new:80\""),
        ("services/a:b:c:d", "invalid service request \"a:b:c:d\""),
    ] {
        let answer = admin.get(&format!("/api/v1/namespaces/default/{path}/proxy/")).await;
        assert_eq!(answer.failure(), (400, why.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_service_leads_to_addresses_of_its_own_pods_alone() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    // Groups of listeners: slices may have them, and who is led to one is told so before anything is sent.
    let (own, stray) = ("224.0.1.1", "224.0.1.2");
    admin.create(PODS, &pod("p")).await.ok();
    let status = json!({"status": {"phase": "Running", "podIP": own, "podIPs": [{"ip": own}]}});
    admin.patch(&format!("{PODS}/p/status"), "application/merge-patch+json", &status).await.ok();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}]}});
    admin.create("/api/v1/namespaces/default/services", &service).await.ok();
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let of = |address: &str, namespace: &str, name: &str| json!({"addresses": [address], "targetRef": {"kind": "Pod", "namespace": namespace, "name": name}});
    let led = || (400, "address not allowed".to_owned());
    let lost = || (503, "no endpoints available for service \"s:80\"".to_owned());
    for (endpoints, answer) in [
        (json!([of(own, "default", "p")]), led()),
        (json!([of(stray, "default", "p"), of(own, "default", "none"), of(own, "default", "p")]), led()),
        (json!([of(stray, "default", "p")]), lost()),
        (json!([of(own, "default", "none")]), lost()),
        (json!([of(own, "kube-system", "p")]), lost()),
        (json!([{"addresses": [own]}]), lost()),
    ] {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "s"}},
            "ports": [{"name": "", "port": 80, "protocol": "TCP"}], "endpoints": endpoints});
        admin.create(slices, &slice).await.ok();
        let told = admin.get("/api/v1/namespaces/default/services/s:80/proxy/").await.failure();
        assert_eq!(told, answer, "{}", slice["endpoints"]);
        admin.delete(&format!("{slices}/s")).await.ok();
    }
}

/// Reads a watch until it tells of an object.
async fn tells(watch: &mut Incoming, name: &str) {
    let (mut text, wanted) = (Vec::new(), format!(r#""name":"{name}""#));
    while !String::from_utf8_lossy(&text).contains(&wanted) {
        let frame = watch.frame().await.expect("the watch goes on").unwrap();
        text.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
}

#[tokio::test]
async fn watches_of_one_connection_are_told_beside_other_requests_and_end_with_the_server() {
    let cluster = Cluster::start().await;
    let address = listen(&cluster).await;
    let admin = cluster.admin();
    let stream = connect_h2(&cluster, address).await;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let ask = |path: &str| Request::get(format!("https://x{path}")).body(Full::new(Bytes::new())).unwrap();
    let goes_well = async {
        let mut watches = Vec::new();
        for _ in 0..20 {
            sender.ready().await.unwrap();
            let answer = sender.send_request(ask(&format!("{MAPS}?watch=1"))).await.unwrap();
            assert_eq!(answer.status(), 200);
            watches.push(answer.into_body());
        }
        // The first may meet them before they wait, the others find them waiting.
        for name in ["first", "second", "third"] {
            admin.create(MAPS, &config_map(name, json!({}))).await.ok();
            for watch in &mut watches {
                tells(watch, name).await;
            }
            let answer = sender.send_request(ask("/version")).await.unwrap();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&body).contains("gitVersion"));
        }
        cluster.server.shutdown();
        for watch in &mut watches {
            while let Some(frame) = watch.frame().await {
                assert!(frame.unwrap().into_data().unwrap_or_default().is_empty(), "nothing more is told");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), goes_well).await.expect("everybody is served");
}

#[tokio::test]
async fn a_watch_comes_by_web_socket_to_who_asks_for_one() {
    let cluster = Cluster::start().await;
    let address = listen(&cluster).await;
    let admin = cluster.admin();
    for name in ["first", "next"] {
        admin.create(MAPS, &config_map(name, json!({}))).await.ok();
    }
    let asked = async |origin: &str| {
        let login = pair(&cluster.pki.admin.certificate, &cluster.pki.admin.key);
        let stream = connect(&cluster, address, Some(login)).await;
        let request = Request::get(format!("ws://x{MAPS}?watch=1"))
            .header("Host", "x")
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Origin", origin)
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Protocol", "base64.binary.k8s.io")
            .body(())
            .unwrap();
        tokio_tungstenite::client_async(request, stream).await
    };
    let goes_well = async {
        let Err(refused) = asked("null").await else { panic!("a browser tells from where it comes") };
        assert!(matches!(&refused, Error::Http(answer) if answer.status() == 403), "{refused}");
        let (mut socket, _) = asked("https://a.example").await.expect("a handshake");
        for name in ["first", "next", "second"] {
            let Message::Text(text) = socket.next().await.expect("an event").unwrap() else { panic!("no text") };
            let event: serde_json::Value = serde_json::from_str(&text).expect("one event a message");
            assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(name)));
            admin.create(MAPS, &config_map("second", json!({}))).await;
        }
        cluster.server.shutdown();
        while let Some(Ok(message)) = socket.next().await {
            assert!(message.is_close(), "nothing more is told: {message}");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), goes_well).await.expect("events in time");
}
