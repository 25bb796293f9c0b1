//! What a watch begins with: the present state, and its end.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Cluster, MAPS, bytes, config_map};

#[tokio::test]
async fn a_streaming_list_ends_its_state_with_a_bookmark() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", json!({}))).await.ok();
    let path =
        format!("{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let mut watch = admin.watch(&path).await;
    assert_eq!(watch.brief().await, ("ADDED".to_owned(), "a".to_owned()));
    let mark = watch.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    admin.create(MAPS, &config_map("b", json!({}))).await.ok();
    assert_eq!(watch.brief().await, ("ADDED".to_owned(), "b".to_owned()));
    assert_eq!(admin.get(&format!("{MAPS}?watch=1&sendInitialEvents=true")).await.failure().0, 422);
    for version in ["", "&resourceVersion=0"] {
        let mut watch = admin.watch(&format!("{MAPS}?watch=1&allowWatchBookmarks=true{version}")).await;
        let mut event = watch.next().await.unwrap();
        while event["type"] == "ADDED" {
            event = watch.next().await.unwrap();
        }
        let mark = &event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"];
        assert_eq!(
            (&event["type"], mark),
            (&json!("BOOKMARK"), &json!("true")),
            "who names no version asks for the state"
        );
    }
}

#[tokio::test]
async fn what_is_there_is_told_in_few_pieces() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let names: Vec<String> = (0..60).map(|index| format!("m{index:02}")).collect();
    for name in &names {
        admin.create(MAPS, &config_map(name, json!({"k": "v".repeat(500)}))).await.ok();
    }
    let path =
        format!("{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let mut body = admin.raw(Method::GET, &path, "", Default::default()).await.into_body();
    let (mut text, mut pieces) = (String::new(), 0);
    while !text.contains("initial-events-end") {
        let more = bytes(&mut body, 1).await;
        assert!(more.len() <= 16 * 1024 && more.ends_with(b"\n"), "whole events, as many as a frame holds");
        text.push_str(&String::from_utf8(more).unwrap());
        pieces += 1;
    }
    let told = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told = told.map(|event| event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned());
    let told: Vec<String> = told.filter(|name| names.contains(name)).collect();
    assert_eq!(told, names, "each once, in order");
    assert!(pieces <= 12, "{pieces} pieces");
}
