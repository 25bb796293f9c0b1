//! What concerns devices, changed in every way there is, as somebody sees it who watches.

use rk_api::patch::merge_patch;
use serde_json::{Value, json};

use super::MERGE;
use crate::support::{Client, Cluster, Watch};

const APPLY: &str = "application/apply-patch+yaml";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const STEPS: &str = "application/json-patch+json";
const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
/// Finds what these tests make.
const OURS: &str = "labelSelector=round%3Dtwo";

/// What a watcher has seen last.
struct Seen {
    watch: Watch,
    version: u64,
}

impl Seen {
    async fn by(client: &Client, collection: &str) -> Self {
        Self { watch: client.watch(&format!("{collection}?watch=1&{OURS}")).await, version: 0 }
    }

    /// The next event is of this type, and its object no older than the one before.
    async fn next(&mut self, kind: &str) {
        let event = self.watch.next().await.expect("an event");
        assert_eq!(event["type"], kind, "{event}");
        let version = event["object"]["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
        let version: u64 = version.expect("a version that counts");
        assert!(self.version <= version, "{event} after {}", self.version);
        self.version = version;
    }
}

/// An object that finds itself in [`OURS`], as those send it who know what it is without being told.
fn object(body: &Value) -> Value {
    let mut object = json!({"metadata": {"name": "one", "labels": {"round": "two"}}});
    merge_patch(&mut object, body).unwrap();
    object
}

fn claim() -> Value {
    let devices = json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "d.example.com"}}]});
    object(&json!({"spec": {"devices": devices}, "status": {}}))
}

/// The patch, which says of which object it is.
fn identified(patch: &Value, made: &Value) -> Value {
    let mut whole = json!({"apiVersion": made["apiVersion"], "kind": made["kind"], "metadata": {}});
    for key in ["name", "namespace", "uid"] {
        if let Some(value) = made["metadata"].get(key) {
            whole["metadata"][key] = value.clone();
        }
    }
    merge_patch(&mut whole, patch).unwrap();
    whole
}

/// Whether a change has been made.
fn holds(object: &Value, change: &Value) -> bool {
    let mut again = object.clone();
    merge_patch(&mut again, change).unwrap();
    again == *object
}

async fn patch(client: &Client, path: &str, kind: &str, patch: &Value, made: &Value) -> Value {
    let more = if kind == APPLY { "&fieldManager=tester&force=true" } else { "" };
    let patch = if patch.is_array() { patch.clone() } else { identified(patch, made) };
    client.patch(&format!("{path}?fieldValidation=Strict{more}"), kind, &patch).await.ok()
}

/// Makes an object, changes it by PUT and by every kind of patch that is an object itself, each time anew, and removes it.
async fn lives(client: &Client, collection: &str, body: &Value, change: &Value) {
    let (path, wanted) = (format!("{collection}/one"), object(body));
    let mut seen = Seen::by(client, collection).await;
    let mut made = client.create(&format!("{collection}?fieldValidation=Strict"), &wanted).await.ok();
    seen.next("ADDED").await;
    merge_patch(&mut made, change).unwrap();
    let put = client.put(&path, &made).await.ok();
    assert!(holds(&put, change), "{put}");
    seen.next("MODIFIED").await;
    for kind in [STRATEGIC, APPLY, MERGE] {
        client.delete(&path).await.ok();
        seen.next("DELETED").await;
        let made = client.create(collection, &wanted).await.ok();
        seen.next("ADDED").await;
        let patched = patch(client, &path, kind, change, &made).await;
        assert!(holds(&patched, change), "{kind}: {patched}");
        seen.next("MODIFIED").await;
    }
    let list = client.get(&format!("{collection}?{OURS}")).await.ok();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
    client.delete(&format!("{collection}?{OURS}")).await.ok();
    seen.next("DELETED").await;
    assert_eq!(client.get(&path).await.code, 404);
}

#[tokio::test]
async fn what_concerns_devices_is_changed_in_every_way_and_watched() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let root = "/apis/resource.k8s.io/v1";
    let chooses = |expression: &str| json!({"spec": {"selectors": [{"cel": {"expression": expression}}]}});
    let label = json!({"metadata": {"labels": {"tested.example.com": "yes"}}});
    let claim = claim();
    let offer = json!({"spec": {"driver": "d.example.com", "nodeName": "nowhere",
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}});
    lives(&admin, &format!("{root}/deviceclasses"), &chooses("false"), &chooses("1 == 0")).await;
    lives(&admin, CLAIMS, &claim, &label).await;
    let template = json!({"spec": {"metadata": {}, "spec": claim["spec"]}});
    lives(&admin, &format!("{root}/namespaces/default/resourceclaimtemplates"), &template, &label).await;
    // Nothing is offered yet, by a node that is not there.
    lives(&admin, &format!("{root}/resourceslices"), &offer, &json!({"spec": {"devices": [{"name": "d"}]}})).await;
}

#[tokio::test]
async fn a_claim_gets_an_allocation_in_every_way_though_it_holds_nothing() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let (path, nothing) = (format!("{CLAIMS}/one"), json!({"devices": {}}));
    let status = format!("{path}/status");
    let mut seen = Seen::by(&admin, CLAIMS).await;
    let mut made = admin.create(CLAIMS, &claim()).await.ok();
    seen.next("ADDED").await;
    made["status"]["allocation"] = nothing.clone();
    let put = admin.put(&status, &made).await.ok();
    assert_ne!(put["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!((&put["status"]["allocation"], &admin.get(&status).await.ok()), (&nothing, &put));
    seen.next("MODIFIED").await;
    let whole = json!({"status": {"allocation": {}}});
    let steps = json!([{"op": "add", "path": "/status/allocation", "value": {}}]);
    for (kind, change) in [(STRATEGIC, &whole), (APPLY, &whole), (MERGE, &whole), (STEPS, &steps)] {
        admin.delete(&path).await.ok();
        seen.next("DELETED").await;
        let made = admin.create(CLAIMS, &claim()).await.ok();
        seen.next("ADDED").await;
        let label = json!([{"op": "add", "path": "/metadata/labels/tested.example.com", "value": "yes"}]);
        let labelled = patch(&admin, &path, STEPS, &label, &made).await;
        assert_eq!(labelled["metadata"]["labels"]["tested.example.com"], "yes");
        seen.next("MODIFIED").await;
        let patched = patch(&admin, &status, kind, change, &made).await;
        assert_eq!(patched["status"]["allocation"], nothing, "{kind}");
        seen.next("MODIFIED").await;
    }
}
