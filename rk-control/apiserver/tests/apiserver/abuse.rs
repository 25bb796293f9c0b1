//! Clients that mean harm or are broken: each is answered or dropped alone, and the others are served as ever.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::sockets::{connect, connect_h2, exchange, get, listen, pair};
use crate::support::{Cluster, MAPS, config_map};

/// Every hostile body is judged within this, however it is nested; on a machine that has other work, and without an end otherwise.
const JUDGED: Duration = Duration::from_secs(60);

#[tokio::test]
async fn hostile_bodies_are_refused_soon_and_by_their_place() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, of) in ["b", "c", "d", "e", "f", "g", "h", "i"].iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"]) {
        bomb.push_str(&format!("{name}: &{name} [*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of}]\n"));
    }
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(100_000), close.repeat(100_000));
        format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"x"}},"data":{open}{close}}}"#)
    };
    let (json, yaml) = ("application/json", "application/yaml");
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (yaml, bomb.into_bytes(), ""),
        (yaml, "- ".repeat(50_000).into_bytes(), ""),
        (json, deep("[", "]").into_bytes(), "depth"),
        (json, deep(r#"{"a":"#, "}").into_bytes(), ""),
        (
            json,
            br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":NaN}}"#.to_vec(),
            "invalid character 'N'",
        ),
        (json, br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","generation":1e999}}"#.to_vec(), ""),
        (json, b"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"\xff\xfe\"}}".to_vec(), ""),
        (
            json,
            br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"1","a":"2"}}"#.to_vec(),
            r#"duplicate field "data.a""#,
        ),
        (json, b"{".to_vec(), "unexpected end of JSON input"),
        (json, Vec::new(), ""),
        ("application/vnd.kubernetes.protobuf", b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), ""),
    ];
    for (kind, body, want) in cases {
        let begin = Instant::now();
        let answer =
            admin.answer(Method::POST, &format!("{MAPS}?fieldValidation=Strict"), kind, body.clone().into()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let (code, message) = answer.failure();
        assert!((400..500).contains(&code), "{shown}: {code} {message}");
        assert!(message.contains(want), "{shown}: {message}");
        assert!(begin.elapsed() < JUDGED, "{shown} took {:?}", begin.elapsed());
    }
    let patch = format!("[{}]", vec![r#"{"op":"test","path":"/metadata/name","value":"x"}"#; 10_001].join(","));
    admin.create(MAPS, &config_map("x", json!({}))).await.ok();
    let answer = admin.answer(Method::PATCH, &format!("{MAPS}/x"), "application/json-patch+json", patch.into()).await;
    assert_eq!(answer.code, 413);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_while_it_is_sent() {
    let cluster = Cluster::start().await;
    let address = listen(&cluster).await;
    let admin = || pair(&cluster.pki.admin.certificate, &cluster.pki.admin.key);
    let mut stream = connect(&cluster, address, Some(admin())).await;
    let head =
        format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n");
    let answer = exchange(&mut stream, &format!("{head}{}", " ".repeat(4_000_000)), "limit is").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let mut stream = connect(&cluster, address, Some(admin())).await;
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    let answer = exchange(&mut stream, &format!("{head}{}0\r\n\r\n", chunk.repeat(4)), "limit is").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn connections_that_never_get_to_the_point_hinder_nobody() {
    let cluster = Cluster::start().await;
    let address = listen(&cluster).await;
    let mut held = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Some say nothing, some begin a handshake that they never finish, some speak no TLS at all.
        let words: &[u8] = match number % 3 {
            0 => b"",
            1 => b"\x16\x03\x01\x02\x00\x01",
            _ => b"GET / HTTP/1.1\r\n",
        };
        stream.write_all(words).await.unwrap();
        held.push(stream);
    }
    let mut half = Vec::new();
    for _ in 0..100 {
        let mut stream = connect(&cluster, address, None).await;
        stream.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
        half.push(stream);
    }
    let begin = Instant::now();
    let answer = exchange(&mut connect(&cluster, address, None).await, &get("/version", ""), "gitVersion").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(begin.elapsed() < JUDGED, "{:?}", begin.elapsed());
    let long = format!("GET /version HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "y".repeat(100_000));
    let answer = exchange(&mut connect(&cluster, address, None).await, &long, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn resets_in_a_row_end_their_own_connection_at_most() {
    let cluster = Cluster::start().await;
    let address = listen(&cluster).await;
    let request = || Request::get("https://x/version").body(Full::new(Bytes::new())).unwrap();
    let stream = connect_h2(&cluster, address).await;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut sent = 0;
    for _ in 0..5000 {
        if sender.ready().await.is_err() {
            break;
        }
        let answer = sender.send_request(request());
        tokio::select! {
            biased;
            _ = answer => {}
            // Polled once, so that the stream is opened; dropping it resets it.
            () = std::future::ready(()) => {}
        }
        sent += 1;
        tokio::task::yield_now().await;
    }
    assert!(sent > 50, "{sent}");
    let stream = connect_h2(&cluster, address).await;
    let (mut other, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = tokio::time::timeout(JUDGED, other.send_request(request())).await.expect("others are served").unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_left_behind_alone() {
    let cluster = Cluster::start().await;
    let address = listen(&cluster).await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &config_map("busy", json!({}))).await.ok();
    let version = made["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let login = pair(&cluster.pki.admin.certificate, &cluster.pki.admin.key);
    let mut stalled = connect(&cluster, address, Some(login)).await;
    let watch = format!("{MAPS}?watch=1&resourceVersion={version}");
    exchange(&mut stalled, &get(&watch, ""), "\r\n\r\n").await;
    let mut reader = admin.watch(&watch).await;
    // More than sockets and windows hold: four and a half thousand events of four kilobytes.
    let filler = "x".repeat(4096);
    let writes = async {
        for number in 0..4500 {
            let change = json!({"data": {"number": number.to_string(), "filler": filler}});
            admin.patch(&format!("{MAPS}/busy"), "application/merge-patch+json", &change).await.ok();
        }
    };
    let reads = async {
        loop {
            let event = reader.next().await.expect("the reader is not left behind");
            if event["object"]["data"]["number"] == "4499" {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(300), futures::future::join(writes, reads))
        .await
        .expect("writes and reads go on");
}
