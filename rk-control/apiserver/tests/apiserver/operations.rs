//! Every stored kind through the whole of its API: discovery, create, get, list, watch, patch, update, status, delete, delete by
//! collection, with the label selectors and versions that clients use. What the conformance suite calls "API operations".

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rk_api::patch::merge_patch;
use rk_api::resources::{Registry, Resource, Verb};
use serde_json::{Value, json};

use crate::support::{Client, Cluster};

/// Kinds whose objects the server makes or binds to others in ways that this round trip would break.
const APART: &[&str] = &["customresourcedefinitions", "apiservices", "namespaces"];
/// Kinds whose deletion waits for a controller.
const HELD: &[&str] = &["persistentvolumes", "persistentvolumeclaims", "servicecidrs", "volumeattributesclasses"];

fn pod_spec() -> Value {
    json!({"containers": [{"name": "c", "image": "example.com/i:1"}]})
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": pod_spec()})
}

/// A request for a certificate, the same one each time.
fn signing_request() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| {
        let key = rcgen::KeyPair::generate().expect("key");
        let request = rcgen::CertificateParams::default().serialize_request(&key).expect("request");
        STANDARD.encode(request.pem().expect("pem"))
    })
}

/// What an ordinary object has besides its metadata; `number` keeps names apart that must differ.
fn body(plural: &str, number: usize) -> Value {
    let workload = json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template()}});
    let never = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let rules = json!([{"operations": ["CREATE"], "apiGroups": ["none.example.com"], "apiVersions": ["v1"], "resources": ["nothings"]}]);
    let webhooks = json!({"webhooks": [{"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "rules": rules}]});
    let claim = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}});
    let about = json!({"kind": "Pod", "name": "p", "namespace": "default", "apiVersion": "v1"});
    match plural {
        "pods" => json!({"spec": pod_spec()}),
        "podtemplates" => json!({"template": template()}),
        "replicationcontrollers" => json!({"spec": {"template": template()}}),
        "services" => json!({"spec": {"ports": [{"port": 80}], "selector": {"app": "a"}}}),
        "endpoints" => json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
        "configmaps" => json!({"data": {"k": "v"}}),
        "secrets" => json!({"stringData": {"k": "v"}}),
        "nodes" => json!({"spec": {"podCIDRs": [format!("10.244.{number}.0/24")]}}),
        "events" => json!({"involvedObject": about, "reason": "Tested", "type": "Normal"}),
        "limitranges" => json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}}),
        "resourcequotas" => json!({"spec": {"hard": {"count/nothings.example.com": "10"}}}),
        "persistentvolumes" => {
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}})
        }
        "persistentvolumeclaims" => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
        }
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" => workload,
        "controllerrevisions" => json!({"data": {"a": 1}, "revision": 1}),
        "jobs" => json!({"spec": {"template": never}}),
        "cronjobs" => json!({"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": never}}}}),
        "horizontalpodautoscalers" => {
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}})
        }
        "poddisruptionbudgets" => json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}}),
        "leases" => json!({"spec": {"holderIdentity": "n", "leaseDurationSeconds": 40}}),
        "endpointslices" => {
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80, "name": "http"}]})
        }
        "ingresses" => json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
        "ingressclasses" => json!({"spec": {"controller": "example.com/x"}}),
        "networkpolicies" => json!({"spec": {"podSelector": {}}}),
        "ipaddresses" => json!({"spec": {"parentRef": {"resource": "gateways", "name": "s", "namespace": "n"}}}),
        "servicecidrs" => json!({"spec": {"cidrs": [format!("10.{}.0.0/24", 50 + number)]}}),
        "roles" | "clusterroles" => json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        "rolebindings" => json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}}),
        "clusterrolebindings" => {
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}})
        }
        "storageclasses" => json!({"provisioner": "example.com/x"}),
        "csidrivers" => json!({"spec": {}}),
        "csinodes" => json!({"spec": {"drivers": []}}),
        "csistoragecapacities" => json!({"storageClassName": "c", "capacity": "1Gi"}),
        "volumeattachments" => {
            json!({"spec": {"attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}})
        }
        "volumeattributesclasses" => json!({"driverName": "d.example.com", "parameters": {"a": "b"}}),
        "priorityclasses" => json!({"value": 100}),
        "runtimeclasses" => json!({"handler": "h"}),
        "certificatesigningrequests" => {
            json!({"spec": {"request": signing_request(), "signerName": "example.com/s", "usages": ["client auth"]}})
        }
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => webhooks,
        "validatingadmissionpolicies" => {
            json!({"spec": {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}]}})
        }
        "mutatingadmissionpolicies" => json!({"spec": {"matchConstraints": {"resourceRules": rules},
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: \"remove\", path: \"/x\"}]"}}]}}),
        "validatingadmissionpolicybindings" => json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}}),
        "mutatingadmissionpolicybindings" => json!({"spec": {"policyName": "p"}}),
        "flowschemas" => json!({"spec": {"priorityLevelConfiguration": {"name": "p"}, "rules": []}}),
        "prioritylevelconfigurations" => {
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}})
        }
        "resourceclaims" => json!({"spec": claim}),
        "resourceclaimtemplates" => json!({"spec": {"spec": claim}}),
        "deviceclasses" => json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}}),
        "resourceslices" => json!({"spec": {"driver": "d.example.com", "nodeName": "n",
            "pool": {"name": "n", "resourceSliceCount": 1}, "devices": [{"name": "d"}]}}),
        _ => json!({}),
    }
}

/// A harmless change of status, for kinds that have one.
fn status(plural: &str) -> Value {
    let condition = json!([{"type": "Tested", "status": "True", "reason": "Test", "message": "it was tested",
        "lastTransitionTime": "2030-01-01T00:00:00Z"}]);
    match plural {
        "cronjobs" => json!({"lastScheduleTime": "2030-01-01T00:00:00Z"}),
        "ingresses" => json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}),
        "volumeattachments" => json!({"attached": true}),
        "resourcequotas" => json!({"hard": {"cpu": "1"}}),
        "resourceclaims" => json!({"reservedFor": []}),
        "validatingadmissionpolicies" => json!({"observedGeneration": 1}),
        "persistentvolumes" => json!({"message": "tested", "reason": "Tested"}),
        "horizontalpodautoscalers" => json!({"desiredReplicas": 2, "currentMetrics": null}),
        "poddisruptionbudgets" => json!({"currentHealthy": 2}),
        "certificatesigningrequests" => {
            json!({"conditions": [{"type": "Tested", "status": "True", "reason": "Test", "message": "m"}]})
        }
        _ => json!({"conditions": condition}),
    }
}

struct Kind<'a> {
    client: &'a Client,
    resource: &'a Resource,
    collection: String,
}

impl Kind<'_> {
    fn name(&self, number: usize) -> String {
        match &*self.resource.plural {
            "ipaddresses" => format!("10.1.2.{number}"),
            _ => format!("tested-{number}"),
        }
    }

    fn path(&self, number: usize) -> String {
        format!("{}/{}", self.collection, self.name(number))
    }

    fn object(&self, number: usize, round: &str) -> Value {
        let mut object = body(&self.resource.plural, number);
        let metadata = json!({"name": self.name(number), "labels": {"round": round}});
        merge_patch(&mut object, &json!({"metadata": metadata})).unwrap();
        object
    }

    async fn names(&self, selector: &str) -> Vec<String> {
        let list = self.client.get(&format!("{}?labelSelector={selector}", self.collection)).await.ok();
        assert_eq!(list["kind"], self.resource.list_kind(), "{}", self.resource.plural);
        let items = list["items"].as_array().unwrap();
        let living = items.iter().filter(|item| item["metadata"]["deletionTimestamp"].is_null());
        living.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    async fn is_discovered(&self) {
        let gvk = &self.resource.gvk;
        let root = if gvk.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", gvk.group) };
        if !gvk.group.is_empty() {
            let groups = self.client.get("/apis").await.ok();
            assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == *gvk.group));
            let group = self.client.get(&root).await.ok();
            let versions = group["versions"].as_array().unwrap();
            assert!(versions.iter().any(|version| version["version"] == *gvk.version));
            assert!(versions.contains(&group["preferredVersion"]), "{group}");
        }
        let found = self.client.get(&format!("{root}/{}", gvk.version)).await.ok();
        let named: Vec<&str> =
            found["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert!(named.contains(&&*self.resource.plural), "{named:?}");
    }

    async fn lives(&self) {
        let plural = &*self.resource.plural;
        let context =
            |what: &str| format!("{plural}.{}/{}: {what}", self.resource.gvk.group, self.resource.gvk.version);
        for number in 1..=3 {
            let made = self.client.create(&self.collection, &self.object(number, "one")).await;
            assert_eq!(made.code, 201, "{}: {}", context("create"), String::from_utf8_lossy(&made.body));
        }
        let read = self.client.get(&self.path(1)).await.ok();
        assert_eq!(read["kind"], *self.resource.gvk.kind);
        assert!(read["metadata"]["uid"].is_string() && read["metadata"]["creationTimestamp"].is_string());
        assert_eq!(self.names("round=one").await.len(), 3, "{}", context("list"));

        let version = read["metadata"]["resourceVersion"].as_str().unwrap();
        let query = format!("?watch=1&fieldSelector=metadata.name={}&resourceVersion={version}", self.name(1));
        let mut watch = self.client.watch(&format!("{}{query}", self.collection)).await;
        let note = json!({"metadata": {"annotations": {"patched": "yes"}}});
        let patched = self.client.patch(&self.path(1), "application/merge-patch+json", &note).await.ok();
        assert_eq!(patched["metadata"]["annotations"]["patched"], "yes", "{}", context("patch"));
        // Loops of the server may write at any moment, too: the present object is what is replaced.
        let updated = loop {
            let mut changed = self.client.get(&self.path(1)).await.ok();
            changed["metadata"]["annotations"]["updated"] = json!("yes");
            let answer = self.client.put(&self.path(1), &changed).await;
            if answer.code != 409 {
                break answer.ok();
            }
        };
        assert_eq!(updated["metadata"]["annotations"]["updated"], "yes", "{}", context("update"));
        loop {
            let event = watch.next().await.unwrap_or_else(|| panic!("{}", context("watch")));
            assert_eq!(event["type"], "MODIFIED", "{}", context("watch"));
            if event["object"]["metadata"]["annotations"]["updated"] == "yes" {
                break;
            }
        }
        if self.resource.subresource("status").is_some() {
            self.has_status().await;
        }
        self.client.delete(&format!("{}?propagationPolicy=Background&gracePeriodSeconds=0", self.path(1))).await.ok();
        assert_eq!(self.names("round=one").await.len(), 2, "{}", context("delete"));
        if !HELD.contains(&plural) {
            loop {
                let event = watch.next().await.unwrap_or_else(|| panic!("{}", context("watch of the deletion")));
                if event["type"] == "DELETED" {
                    break;
                }
            }
            assert_eq!(self.client.get(&self.path(1)).await.code, 404, "{}", context("delete"));
        }
        if self.resource.verbs.contains(Verb::DeleteCollection) {
            let query = "?labelSelector=round%3Done&propagationPolicy=Background&gracePeriodSeconds=0";
            self.client.delete(&format!("{}{query}", self.collection)).await.ok();
            assert!(self.names("round=one").await.is_empty(), "{}", context("deletecollection"));
        }
    }

    async fn has_status(&self) {
        let path = format!("{}/status", self.path(1));
        let change = json!({"status": status(&self.resource.plural)});
        let kind = "application/merge-patch+json";
        let answer = self.client.patch(&path, kind, &change).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let patched = answer.ok();
        for (field, value) in change["status"].as_object().unwrap().iter().filter(|(_, value)| !value.is_null()) {
            let kept = patched["status"].get(field).unwrap_or(&Value::Null);
            // An empty list is not written, and conditions of others stay.
            let empty = value.as_array().is_some_and(Vec::is_empty) && kept.is_null();
            assert!(kept == value || empty || field == "conditions", "{} {field}: {text}", self.resource.plural);
        }
        loop {
            let mut whole = self.client.get(&path).await.ok();
            whole["metadata"]["annotations"]["status"] = json!("kept apart");
            let answer = self.client.put(&path, &whole).await;
            if answer.code != 409 {
                answer.ok();
                break;
            }
        }
    }
}

#[tokio::test]
async fn every_kind_supports_all_of_its_operations() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let registry = Registry::builtin();
    let mut tested = 0;
    for resource in registry.iter().filter(|r| r.is_stored() && !APART.contains(&&*r.plural)) {
        let gvk = &resource.gvk;
        let root = if gvk.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", gvk.group) };
        let scope = if resource.namespaced() { "/namespaces/default" } else { "" };
        let collection = format!("{root}/{}{scope}/{}", gvk.version, resource.plural);
        let kind = Kind { client: &admin, resource, collection };
        // The newer Event has fields of its own.
        if &*gvk.group == "events.k8s.io" {
            kind.is_discovered().await;
            continue;
        }
        kind.is_discovered().await;
        kind.lives().await;
        tested += 1;
    }
    assert!(tested > 50, "{tested}");
}

#[tokio::test]
async fn the_newer_events_and_the_older_ones_are_the_same_objects() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let newer = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = json!({"metadata": {"name": "e", "labels": {"round": "two"}}, "eventTime": "2030-01-01T00:00:00.000000Z",
        "reportingController": "example.com/test", "reportingInstance": "test-1", "action": "Testing", "reason": "Tested",
        "type": "Normal", "note": "it was tested", "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}});
    let made = admin.create(newer, &event).await.ok();
    assert_eq!(made["note"], "it was tested");
    let older = admin.get("/api/v1/namespaces/default/events/e").await.ok();
    assert_eq!((&older["message"], &older["involvedObject"]["name"]), (&json!("it was tested"), &json!("p")));
    let patch = json!({"series": {"count": 2, "lastObservedTime": "2030-01-01T00:00:01.000000Z"}});
    let patched = admin.patch(&format!("{newer}/e"), "application/strategic-merge-patch+json", &patch).await.ok();
    assert_eq!(patched["series"]["count"], 2);
    let mut changed = admin.get(&format!("{newer}/e")).await.ok();
    changed["series"]["count"] = json!(100);
    changed["metadata"]["resourceVersion"] = json!("");
    assert_eq!(admin.put(&format!("{newer}/e"), &changed).await.ok()["series"]["count"], 100, "whatever its version");
    for (events, reporter) in [("/api/v1/namespaces/default/events", "source"), (newer, "reportingController")] {
        let of = |name: &str| format!("{events}?fieldSelector={reporter}%3Dexample.com%2F{name}");
        assert_eq!(admin.get(&of("test")).await.ok()["items"].as_array().map(Vec::len), Some(1), "{reporter}");
        assert_eq!(admin.get(&of("other")).await.ok()["items"].as_array().map(Vec::len), Some(0), "{reporter}");
    }
    assert_eq!(
        admin.get(&format!("{newer}?labelSelector=round%3Dtwo")).await.ok()["items"].as_array().unwrap().len(),
        1
    );
    admin.delete(&format!("{newer}?labelSelector=round%3Dtwo")).await.ok();
    assert_eq!(admin.get(&format!("{newer}/e")).await.code, 404);
}

#[tokio::test]
async fn field_managers_are_short_and_printable() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let map =
        |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}});
    admin.create(MAPS, &map("kept")).await.ok();
    let long = "m".repeat(129);
    for (manager, why) in [
        (long.as_str(), "Too long: may not be more than 128 bytes"),
        ("be%07ll", "invalid character U+0007 (at position 2)"),
    ] {
        let (all, one) = (format!("{MAPS}?fieldManager={manager}"), format!("{MAPS}/kept?fieldManager={manager}"));
        for (options, answer) in [
            ("CreateOptions", admin.create(&all, &map("new")).await),
            ("UpdateOptions", admin.put(&one, &map("kept")).await),
            ("PatchOptions", admin.patch(&one, "application/merge-patch+json", &json!({"data": {"k": "w"}})).await),
            ("PatchOptions", admin.patch(&one, "application/apply-patch+yaml", &map("kept")).await),
        ] {
            let (code, message) = answer.failure();
            assert_eq!(code, 422, "{message}");
            assert!(
                message.starts_with(&format!("{options}.meta.k8s.io \"\" is invalid: fieldManager: ")),
                "{message}"
            );
            assert!(message.ends_with(why), "{message}");
        }
    }
    assert_eq!(admin.get(&format!("{MAPS}/new")).await.code, 404);
}
