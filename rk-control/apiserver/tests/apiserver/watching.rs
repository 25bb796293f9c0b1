//! Lists and watches: consistency, pages, selectors, resuming.

mod beginning;

use http::Method;
use http_body_util::BodyExt;
use rk_apiserver::User;
use serde_json::json;

use crate::support::{Cluster, MAPS, PATIENCE, PODS, bytes, config_map, pod};

const MERGE: &str = "application/merge-patch+json";

#[tokio::test]
async fn pages_of_a_list_are_one_snapshot() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for index in 0..7 {
        admin.create(MAPS, &config_map(&format!("m{index}"), json!({}))).await.ok();
    }
    let first = admin.get(&format!("{MAPS}?limit=3")).await.ok();
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    admin.create(MAPS, &config_map("m3a", json!({}))).await.ok();
    admin.delete(&format!("{MAPS}/m5")).await.ok();
    let mut names: Vec<String> = Vec::new();
    let mut page = first.clone();
    loop {
        let items = page["items"].as_array().unwrap();
        names.extend(items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()));
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        let Some(token) = page["metadata"]["continue"].as_str() else { break };
        page = admin.get(&format!("{MAPS}?limit=3&continue={token}")).await.ok();
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
}

#[tokio::test]
async fn pages_of_a_selection_are_full_and_complete() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for index in 0..12 {
        let mut map = config_map(&format!("m{index:02}"), json!({}));
        map["metadata"]["labels"] = json!({"odd": (index % 2).to_string()});
        admin.create(MAPS, &map).await.ok();
    }
    let mut names: Vec<String> = Vec::new();
    let mut token = String::new();
    loop {
        let page = admin.get(&format!("{MAPS}?labelSelector=odd%3D1&limit=2&continue={token}")).await.ok();
        let items = page["items"].as_array().unwrap();
        names.extend(items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()));
        assert!(page["metadata"].get("remainingItemCount").is_none());
        let Some(next) = page["metadata"]["continue"].as_str() else { break };
        assert_eq!(items.len(), 2);
        token = next.to_owned();
    }
    assert_eq!(names, ["m01", "m03", "m05", "m07", "m09", "m11"]);
}

#[tokio::test]
async fn an_expired_page_says_so() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for index in 0..4 {
        admin.create(MAPS, &config_map(&format!("m{index}"), json!({}))).await.ok();
    }
    let token = admin.get(&format!("{MAPS}?limit=2")).await.ok()["metadata"]["continue"].as_str().unwrap().to_owned();
    admin.create(MAPS, &config_map("n", json!({}))).await.ok();
    cluster.store.compact(cluster.store.revision().await.unwrap()).await.unwrap();
    let answer = admin.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(answer.failure().0, 410);
    assert_eq!(answer.json()["reason"], "Expired");
    let proto = admin.clone().with("accept", "application/vnd.kubernetes.protobuf");
    let packed = proto.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert!(packed.code == 410 && packed.body.starts_with(b"k8s\0"), "{:?}", packed.body);
    // The answer carries a token to go on with inconsistently.
    let next = answer.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = admin.get(&format!("{MAPS}?continue={next}")).await.ok();
    assert_eq!(rest["items"].as_array().unwrap().len(), 3);
    assert_eq!(admin.get(&format!("{MAPS}?continue=nonsense")).await.failure().0, 400);
}

#[tokio::test]
async fn a_list_can_be_had_exactly_as_it_was() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &config_map("a", json!({}))).await.ok();
    admin.delete(&format!("{MAPS}/a")).await.ok();
    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    let then = admin.get(&format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact")).await.ok();
    assert_eq!(then["items"].as_array().unwrap().len(), 1);
    assert!(admin.get(MAPS).await.ok()["items"].as_array().unwrap().is_empty());
    let page = admin.get(&format!("{MAPS}?resourceVersion={version}&limit=500")).await.ok();
    assert_eq!(page, then, "a page without a rule is of its revision");
    let later = admin.get(&format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=NotOlderThan")).await.ok();
    let number = |text: &str| text.parse::<u64>().unwrap();
    assert!(number(later["metadata"]["resourceVersion"].as_str().unwrap()) >= number(version));
    let (code, message) = admin.get(&format!("{MAPS}?resourceVersionMatch=Exact")).await.failure();
    let why = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless";
    assert!(code == 422 && message.starts_with(why), "{message}");
    assert_eq!(admin.get(&format!("{MAPS}?limit=-1")).await.code, 200, "a negative limit is none");
    assert_eq!(admin.get(&format!("{MAPS}?resourceVersion=x")).await.failure().0, 400);
}

#[tokio::test]
async fn a_watch_shows_every_change_in_order() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let version = admin.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&resourceVersion={version}")).await;
    admin.create(MAPS, &config_map("a", json!({"k": "1"}))).await.ok();
    admin.patch(&format!("{MAPS}/a"), MERGE, &json!({"data": {"k": "2"}})).await.ok();
    admin.delete(&format!("{MAPS}/a")).await.ok();
    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        assert_eq!(watch.brief().await, (kind.to_owned(), "a".to_owned()));
    }
}

#[tokio::test]
async fn components_in_the_process_are_told_of_objects_without_their_managers() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let manager = cluster.client(User::new("system:kube-controller-manager", ["system:masters".to_owned()]));
    let version = admin.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let path = format!("{MAPS}?watch=1&resourceVersion={version}");
    let (mut whole, mut reduced) = (admin.watch(&path).await, manager.watch(&path).await);
    admin.create(MAPS, &config_map("a", json!({"managedFields": "data"}))).await.ok();
    admin.patch(&format!("{MAPS}/a"), MERGE, &json!({"data": {"k": "2"}})).await.ok();
    admin.delete(&format!("{MAPS}/a")).await.ok();
    for _ in 0..3 {
        let (mut event, told) = (whole.next().await.unwrap(), reduced.next().await.unwrap());
        let managers = event["object"]["metadata"].as_object_mut().unwrap().remove("managedFields");
        assert!(managers.is_some_and(|list| list[0]["fieldsV1"].is_object()));
        assert_eq!(told, event);
    }
}

#[tokio::test]
async fn a_watch_that_waits_ends_when_the_server_does() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut watch = admin.watch(&format!("{MAPS}?watch=1")).await;
    admin.create(MAPS, &config_map("a", json!({}))).await.ok();
    while watch.brief().await != ("ADDED".to_owned(), "a".to_owned()) {}
    let mut next = std::pin::pin!(watch.next());
    assert!(futures::poll!(next.as_mut()).is_pending());
    cluster.server.shutdown();
    assert!(next.await.is_none());
}

#[tokio::test]
async fn a_watch_resumes_after_a_restart_of_the_server_without_a_gap() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let version = admin.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    admin.create(MAPS, &config_map("before", json!({}))).await.ok();
    let cluster = Cluster::start_in(cluster.stop().await).await;
    let admin = cluster.admin();
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&resourceVersion={version}")).await;
    admin.create(MAPS, &config_map("after", json!({}))).await.ok();
    assert_eq!(watch.brief().await, ("ADDED".to_owned(), "before".to_owned()));
    assert_eq!(watch.brief().await, ("ADDED".to_owned(), "after".to_owned()));
}

#[tokio::test]
async fn a_watch_from_forgotten_history_ends_with_410() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &config_map("a", json!({}))).await.ok();
    admin.create(MAPS, &config_map("b", json!({}))).await.ok();
    cluster.store.compact(cluster.store.revision().await.unwrap()).await.unwrap();
    let cluster = Cluster::start_in(cluster.stop().await).await;
    let old = made["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() - 1;
    let mut watch = cluster.admin().watch(&format!("{MAPS}?watch=1&resourceVersion={old}")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_up_with_a_bookmark_before() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &config_map("a", json!({}))).await.ok();
    let number = |version: &serde_json::Value| version.as_str().unwrap().parse::<u64>().unwrap();
    let version = number(&made["metadata"]["resourceVersion"]);
    let path = format!("{MAPS}?watch=1&resourceVersion={version}");
    let began = std::time::Instant::now();
    let mut late = admin.watch(&format!("{path}&timeoutSeconds=1&allowWatchBookmarks=true")).await;
    let mut silent = admin.watch(&format!("{path}&timeoutSeconds=1")).await;
    let mut marked = admin.watch(&format!("{path}&timeoutSeconds=3&allowWatchBookmarks=true")).await;
    assert!(silent.next().await.is_none(), "who asked for no bookmarks gets none");
    assert!(began.elapsed() >= std::time::Duration::from_secs(1));
    assert_eq!(late.next().await.unwrap()["type"], "BOOKMARK", "who was not read in time is told, too");
    let mark = marked.next().await.unwrap();
    assert_eq!((&mark["type"], &mark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert!(number(&mark["object"]["metadata"]["resourceVersion"]) >= version);
    assert!(marked.next().await.is_none());
    assert!(began.elapsed() >= std::time::Duration::from_secs(3));
    assert_eq!(admin.get(&format!("{path}&timeoutSeconds=x")).await.failure().0, 400);
}

#[tokio::test]
async fn a_watch_of_what_never_rests_ends_in_time_too() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", json!({}))).await.ok();
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&timeoutSeconds=1")).await;
    let writes = async {
        for round in 0_u64.. {
            admin.patch(&format!("{MAPS}/a"), MERGE, &json!({"data": {"k": round.to_string()}})).await.ok();
        }
    };
    let reads = async { while watch.next().await.is_some() {} };
    let ended = tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            () = writes => false,
            () = reads => true,
        }
    });
    assert!(ended.await.unwrap(), "nobody writes for ever");
}

#[tokio::test]
async fn a_watch_comes_in_messages_on_request() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let version = admin.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let made = admin.create(MAPS, &config_map("a", json!({"k": "1"}))).await.ok();
    let changed = admin.patch(&format!("{MAPS}/a"), MERGE, &json!({"data": {"k": "2"}})).await.ok();
    let mut wanted = Vec::new();
    for (kind, object) in [("ADDED", &made), ("MODIFIED", &changed)] {
        wanted.extend(rk_api::proto::watch_frame(kind, &rk_api::proto::encode(object).unwrap()));
    }
    let client = cluster.admin().with("accept", "application/vnd.kubernetes.protobuf;stream=watch");
    let path = format!("{MAPS}?watch=1&resourceVersion={version}");
    let answer = client.raw(Method::GET, &path, "", Default::default()).await;
    assert_eq!(answer.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let mut body = answer.into_body();
    let mut told = bytes(&mut body, wanted.len()).await;
    // Nothing else comes before the end.
    cluster.server.shutdown();
    told.extend_from_slice(&body.collect().await.unwrap().to_bytes());
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn entering_a_selection_is_an_addition_and_leaving_it_a_deletion() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let version = admin.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&resourceVersion={version}&labelSelector=in%3Dyes")).await;
    let path = format!("{MAPS}/a");
    admin.create(MAPS, &config_map("a", json!({}))).await.ok();
    admin.patch(&path, MERGE, &json!({"metadata": {"labels": {"in": "yes"}}})).await.ok();
    admin.patch(&path, MERGE, &json!({"data": {"k": "v"}})).await.ok();
    let left = admin.patch(&path, MERGE, &json!({"metadata": {"labels": {"in": "no"}}})).await.ok();
    assert_eq!(watch.brief().await.0, "ADDED");
    assert_eq!(watch.brief().await.0, "MODIFIED");
    let gone = watch.next().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["metadata"]["labels"]["in"]), (&json!("DELETED"), &json!("yes")));
    assert_eq!(gone["object"]["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn field_selectors_choose_by_node_and_name() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for name in ["a", "b"] {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = json!(format!("node-{name}"));
        admin.create(PODS, &pod).await.ok();
    }
    let on = admin.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a").await.ok();
    assert_eq!((on["items"].as_array().unwrap().len(), &on["items"][0]["metadata"]["name"]), (1, &json!("a")));
    let named = admin.get(&format!("{PODS}?fieldSelector=metadata.name%21%3Da")).await.ok();
    assert_eq!(named["items"][0]["metadata"]["name"], "b");
    let (code, message) = admin.get(&format!("{PODS}?fieldSelector=spec.nonsense%3Da")).await.failure();
    assert_eq!(code, 400);
    assert!(message.contains("field label not supported: spec.nonsense"), "{message}");
}

#[tokio::test]
async fn tables_and_metadata_are_other_shapes_of_the_same_list() {
    let cluster = Cluster::start().await;
    cluster.admin().create(PODS, &pod("p")).await.ok();
    let table = cluster.admin().with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io").get(PODS).await.ok();
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][0]), (&json!("Table"), &json!("p")));
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let metadata = cluster.admin().with("accept", accept).get(PODS).await.ok();
    assert_eq!(metadata["kind"], "PartialObjectMetadataList");
    assert!(metadata["items"][0].get("spec").is_none());
    let older = |shape: &str| format!("application/json;as={shape};v=v1beta1;g=meta.k8s.io");
    let table = cluster.admin().with("accept", &older("Table")).get(&format!("{PODS}/p")).await.ok();
    let row = &table["rows"][0];
    assert_eq!((&table["apiVersion"], &row["cells"][0]), (&json!("meta.k8s.io/v1beta1"), &json!("p")));
    assert_eq!(row["object"]["apiVersion"], "meta.k8s.io/v1beta1");
    let metadata = cluster.admin().with("accept", &older("PartialObjectMetadataList")).get(PODS).await.ok();
    assert_eq!(metadata["items"][0]["apiVersion"], "meta.k8s.io/v1beta1");
    let client = cluster.admin().with("accept", &older("Table"));
    let event = client.watch(&format!("{PODS}?watch=1")).await.next().await.unwrap();
    assert_eq!((&event["object"]["apiVersion"], &event["type"]), (&json!("meta.k8s.io/v1beta1"), &json!("ADDED")));
}

#[tokio::test]
async fn a_watch_from_a_state_that_does_not_come_is_told_so() {
    let cluster = Cluster::start().await;
    let future = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=999999999";
    let event = cluster.admin().watch(&format!("{MAPS}?watch=1&{future}")).await.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(504)));
}

#[tokio::test]
async fn watchers_of_other_shapes_see_the_same_frames() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let version = admin.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let path = format!("{MAPS}?watch=1&resourceVersion={version}");
    let accept = |shape: &str| format!("application/json;as={shape};v=v1;g=meta.k8s.io");
    for shape in ["PartialObjectMetadata", "Table"] {
        let client = cluster.admin().with("accept", &accept(shape));
        let (mut one, mut two) = (client.watch(&path).await, client.watch(&path).await);
        for name in ["a", "b"] {
            admin.create(MAPS, &config_map(&format!("{}-{name}", shape.to_lowercase()), json!({"k": "v"}))).await.ok();
        }
        let mut seen = Vec::new();
        loop {
            let (one, two) = (one.next().await.unwrap(), two.next().await.unwrap());
            // Ages are told in seconds, which may have passed between the two.
            let same = |event: &serde_json::Value| {
                let rows = event["object"]["rows"][0].clone();
                (
                    event["type"].clone(),
                    event["object"]["metadata"].clone(),
                    rows["cells"][0].clone(),
                    rows["object"].clone(),
                )
            };
            assert_eq!(same(&one), same(&two));
            assert_eq!(one["object"]["kind"], shape);
            assert!(one["object"].get("data").is_none() && one["object"].get("spec").is_none());
            let columns = one["object"].get("columnDefinitions").map(serde_json::Value::is_array);
            assert_eq!(columns, (shape == "Table").then_some(seen.is_empty()), "columns are told once, then null");
            let table = &one["object"]["rows"][0]["object"]["metadata"]["name"];
            let name = one["object"]["metadata"]["name"].as_str().or(table.as_str()).unwrap().to_owned();
            seen.push(name.clone());
            if name == format!("{}-b", shape.to_lowercase()) {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_list_of_messages_is_streamed_whole() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let protobuf = cluster.admin().with("accept", "application/vnd.kubernetes.protobuf");
    // None, few in one piece, and several pieces.
    for (from, to, size) in [(0, 0, 0), (0, 3, 10), (3, 40, 9000)] {
        for index in from..to {
            admin.create(MAPS, &config_map(&format!("m{index:03}"), json!({"k": "v".repeat(size)}))).await.ok();
        }
        let version = admin.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let path = format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
        let (plain, messages) = (admin.get(&path).await.ok(), protobuf.get(&path).await);
        assert_eq!(messages.headers["content-type"], "application/vnd.kubernetes.protobuf");
        assert_eq!(plain["items"].as_array().unwrap().len(), to);
        assert_eq!(messages.body, rk_api::proto::encode(&plain).unwrap(), "{to}");
    }
}

#[tokio::test]
async fn a_long_list_is_streamed_whole_and_compressed_on_request() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let creations = (0..300).map(|index| {
        let admin = admin.clone();
        async move { admin.create(MAPS, &config_map(&format!("m{index:03}"), json!({"k": "v".repeat(500)}))).await.ok() }
    });
    futures::future::join_all(creations).await;
    // What the server writes for itself meanwhile would give the second list another version.
    let version = admin.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let path = format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    let plain = admin.get(&path).await;
    assert_eq!(plain.json()["items"].as_array().unwrap().len(), 300);
    let zipped = cluster.admin().with("accept-encoding", "gzip").get(&path).await;
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&zipped.body[..]), &mut text).unwrap();
    assert_eq!(text, plain.body);
}
