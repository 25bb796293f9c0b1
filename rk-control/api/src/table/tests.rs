use super::*;
use crate::resources::{GroupVersionKind, Registry};

const NOW: &str = "2024-05-01T12:00:00Z";

fn cells(api_version: &str, kind: &str, mut object: Value) -> Vec<String> {
    let gvk = GroupVersionKind::from_api_version(api_version, kind).unwrap();
    let registry = Registry::builtin();
    let resource = registry.by_kind(&gvk).unwrap();
    object["metadata"]["creationTimestamp"] = json!("2024-05-01T11:00:00Z");
    let row = row(resource, &object, IncludeObject::None, NOW.parse().unwrap());
    let cells = row["cells"].as_array().unwrap();
    assert_eq!(cells.len(), columns(resource).as_array().unwrap().len());
    cells.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect()
}

fn pod(status: Value) -> Vec<String> {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
    cells("v1", "Pod", json!({"metadata": {"name": "p"}, "spec": spec, "status": status}))
}

#[test]
fn pods_say_their_state_in_one_word() {
    let running = json!({"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}});
    let crashed = json!({"name": "b", "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2024-05-01T11:57:00Z"}}});
    let done = json!({"name": "b", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let killed = json!({"name": "b", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 137, "signal": 9}}});
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let init_failed = json!({"name": "i", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
    let init_running = json!({"name": "i", "restartCount": 0, "state": {"running": {}}});
    let cases = [
        (json!({"phase": "Pending"}), "0/2", "Pending", "0"),
        (json!({"phase": "Running", "containerStatuses": [running, crashed]}), "1/2", "CrashLoopBackOff", "3 (3m ago)"),
        (json!({"phase": "Running", "containerStatuses": [running, done], "conditions": ready}), "1/2", "Running", "0"),
        (json!({"phase": "Running", "containerStatuses": [running, done]}), "1/2", "NotReady", "0"),
        (json!({"phase": "Failed", "containerStatuses": [killed]}), "0/2", "Signal:9", "0"),
        (json!({"phase": "Failed", "reason": "Evicted"}), "0/2", "Evicted", "0"),
        (json!({"phase": "Pending", "initContainerStatuses": [init_failed]}), "0/2", "Init:CrashLoopBackOff", "2"),
        (json!({"phase": "Pending", "initContainerStatuses": [init_running]}), "0/2", "Init:0/2", "0"),
    ];
    for (status, ready, word, restarts) in cases {
        let row = pod(status.clone());
        assert_eq!((row[1].as_str(), row[2].as_str(), row[3].as_str()), (ready, word, restarts), "{status}");
        assert_eq!((row[4].as_str(), row[5].as_str()), ("60m", "<none>"));
    }
}

#[test]
fn kinds_show_what_upstream_shows() {
    let node = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"kubeletVersion": "v1.36.0"}, "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
    let row = cells("v1", "Node", node);
    assert_eq!(row[..6], ["n", "Ready,SchedulingDisabled", "control-plane", "60m", "v1.36.0", "10.0.0.1"]);

    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}], "selector": {"app": "web"}}});
    assert_eq!(
        cells("v1", "Service", service),
        ["s", "NodePort", "10.96.0.7", "<none>", "80:30080/TCP", "60m", "app=web"]
    );

    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
        "template": {"spec": {"containers": [{"name": "c", "image": "nginx"}]}}}, "status": {"readyReplicas": 2, "updatedReplicas": 3}});
    assert_eq!(cells("apps/v1", "Deployment", deployment), ["d", "2/3", "3", "0", "60m", "c", "nginx", "app=web"]);

    let event = json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Pulled", "message": "done\n", "count": 4,
        "lastTimestamp": "2024-05-01T11:59:30Z", "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n"}});
    assert_eq!(
        cells("v1", "Event", event),
        ["30s", "Normal", "Pulled", "pod/p", "", "kubelet, n", "done", "<unknown>", "4", "e"]
    );

    let claim = json!({"metadata": {"name": "c"}, "spec": {"volumeName": "v", "storageClassName": "fast"},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}});
    assert_eq!(
        cells("v1", "PersistentVolumeClaim", claim),
        ["c", "Bound", "v", "1Gi", "RWO", "fast", "<unset>", "60m", "<unset>"]
    );

    let request = json!({"metadata": {"name": "r"}, "spec": {"signerName": "s", "username": "u"},
        "status": {"conditions": [{"type": "Approved"}], "certificate": "Y2VydA=="}});
    assert_eq!(
        cells("certificates.k8s.io/v1", "CertificateSigningRequest", request),
        ["r", "60m", "s", "u", "<none>", "Approved,Issued"]
    );

    let role = cells("rbac.authorization.k8s.io/v1", "Role", json!({"metadata": {"name": "r"}}));
    assert_eq!(role, ["r", "2024-05-01T11:00:00Z"]);
}

#[test]
fn every_kind_has_a_table_even_of_an_empty_object() {
    let registry = Registry::builtin();
    for resource in registry.iter() {
        let empty = json!({"metadata": {"name": "x"}});
        let table = table(
            resource,
            [&empty].into_iter(),
            &json!({"resourceVersion": "7", "other": 1}),
            IncludeObject::Metadata,
            NOW.parse().unwrap(),
        );
        assert_eq!(table["metadata"], json!({"resourceVersion": "7"}));
        let (columns, cells) =
            (table["columnDefinitions"].as_array().unwrap(), table["rows"][0]["cells"].as_array().unwrap());
        assert_eq!(columns.len(), cells.len(), "{}", resource.gvk);
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    }
}

#[test]
fn durations_grow_coarser() {
    let cases = [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_000, "3h3m"),
        (28_800, "8h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (691_200, "8d"),
        (63_072_000, "2y"),
        (64_000_000, "2y10d"),
        (300_000_000, "9y"),
        (-1, "0s"),
        (-5, "<invalid>"),
    ];
    for (seconds, text) in cases {
        assert_eq!(age::human(seconds), text, "{seconds}");
    }
}
