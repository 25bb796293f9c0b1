//! What this process wrote, against lists and events that come late.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;

use super::*;

fn informer() -> Informer<ConfigMap> {
    let silent = |_: http::Request<Body>| std::future::pending::<Result<http::Response<Body>, tower::BoxError>>();
    Informer::new(Client::new(tower::service_fn(silent), "default"), "")
}

fn map(name: &str, uid: &str, revision: u64) -> ConfigMap {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("n".to_owned()),
        uid: Some(uid.to_owned()),
        resource_version: Some(revision.to_string()),
        ..ObjectMeta::default()
    };
    ConfigMap { metadata, ..ConfigMap::default() }
}

fn known(informer: &Informer<ConfigMap>) -> Vec<String> {
    let line = |map: &Arc<ConfigMap>| format!("{} {}", ObjectKey::of(map.as_ref()).name, revision(map.as_ref()));
    informer.list().iter().map(line).collect()
}

#[tokio::test]
async fn a_list_hides_nothing_that_was_written_since() {
    let informer = informer();
    for (name, revision) in [("changed", 12), ("made", 11), ("gone", 8), ("unread", 7)] {
        informer.observe(map(name, name, revision));
    }
    let unread = HashSet::from([ObjectKey::new("n", "unread")]);
    informer.replace_all(vec![map("changed", "changed", 9), map("new", "new", 10)], unread, 10);
    assert_eq!(known(&informer), ["changed 12", "made 11", "new 10", "unread 7"]);
    informer.replace_all(Vec::new(), HashSet::new(), u64::MAX);
    assert!(known(&informer).is_empty());
}

#[tokio::test]
async fn a_list_from_before_a_deletion_does_not_bring_back_what_was_deleted() {
    let (informer, key) = (informer(), ObjectKey::new("n", "a"));
    informer.observe(map("a", "one", 5));
    informer.bury(&key, Some("one"));
    informer.replace_all(vec![map("a", "one", 5)], HashSet::new(), 6);
    assert!(informer.get(&key).is_none());
    informer.replace_all(Vec::new(), HashSet::new(), 7);
    assert!(!informer.read(|cache| cache.is_buried(Some("one"))), "nothing will tell of its end any more");
}

#[tokio::test]
async fn an_answer_that_is_older_than_the_list_brings_nothing_back() {
    let informer = informer();
    informer.replace_all(Vec::new(), HashSet::new(), 10);
    informer.observe(map("gone", "gone", 9));
    informer.observe(map("made", "made", 11));
    assert_eq!(known(&informer), ["made 11"]);
    informer.replace_all(Vec::new(), HashSet::new(), u64::MAX);
    informer.observe(map("made", "again", 12));
    assert_eq!(known(&informer), ["made 12"], "a list without a revision says nothing of later writes");
}

#[tokio::test]
async fn late_news_of_an_object_does_not_touch_the_one_that_took_its_place() {
    let informer = informer();
    informer.observe(map("a", "two", 7));
    informer.apply(map("a", "one", 5), true);
    informer.remove(map("a", "one", 6));
    assert_eq!(known(&informer), ["a 7"]);
    informer.apply(map("a", "three", 9), true);
    assert_eq!(known(&informer), ["a 9"]);
}
