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
fn addresses_and_ports_are_shown_as_far_as_there_is_room() {
    let endpoints =
        |subsets: Value| cells("v1", "Endpoints", json!({"metadata": {"name": "e"}, "subsets": subsets}))[1].clone();
    let both = json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}, {"port": 443}]}]);
    assert_eq!(endpoints(both), "10.0.0.1:80,[fd00::1]:80,10.0.0.1:443 + 1 more...");
    assert_eq!(endpoints(json!([{"addresses": [{"ip": "10.0.0.1"}]}])), "10.0.0.1");
    assert_eq!(endpoints(json!([{"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}])), "");
    assert_eq!(endpoints(json!([])), "<none>");

    let slice = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"port": 80}, {"name": "all"}, {}]});
    assert_eq!(cells("discovery.k8s.io/v1", "EndpointSlice", slice), ["s", "IPv4", "80,all,*", "<unset>", "60m"]);

    let points = json!({"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"hostname": "a.b"}, {"ip": "1.1.1.1"}, {"ip": "2.2.2.2"}]}});
    let rules = json!([{"host": "a"}, {"host": "b"}, {}, {"host": "c"}, {}]);
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"rules": rules}, "status": points});
    assert_eq!(
        cells("networking.k8s.io/v1", "Ingress", ingress),
        ["i", "<none>", "a,b,c + 2 more...", "1.1.1.1,2.2.2.2,a.b", "80", "60m"]
    );
    let balanced = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]}, "status": points});
    assert_eq!(cells("v1", "Service", balanced)[3], "1.1.1.1,2.2.2.2,a.b,9.9.9.9");
    let address =
        json!({"metadata": {"name": "a"}, "spec": {"parentRef": {"group": "x.io", "resource": "Things", "name": "n"}}});
    assert_eq!(cells("networking.k8s.io/v1", "IPAddress", address)[1], "things.x.io/n");
}

#[test]
fn metrics_say_what_is_measured_and_what_is_wanted() {
    let targets = |metrics: Value, current: Value| {
        let object =
            json!({"metadata": {"name": "a"}, "spec": {"metrics": metrics}, "status": {"currentMetrics": current}});
        cells("autoscaling/v2", "HorizontalPodAutoscaler", object)[2].clone()
    };
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
    let container = json!({"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c", "target": {"averageValue": "1Gi"}}});
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"averageValue": "10"}}});
    let queue = json!({"type": "External", "external": {"metric": {"name": "q"}, "target": {"averageValue": "30"}}});
    let object = json!({"type": "Object", "object": {"metric": {"name": "o"}, "target": {"value": "5"}}});
    let none = json!([]);
    assert_eq!(targets(none.clone(), none.clone()), "<none>");
    let now = json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40}}}]);
    assert_eq!(targets(json!([cpu]), now), "cpu: 40%/80%");
    assert_eq!(targets(json!([cpu, container]), none.clone()), "cpu: <unknown>/80%, memory: <unknown>/1Gi");
    let now = json!([{"external": {"current": {"averageValue": "7"}}}]);
    assert_eq!(targets(json!([queue, pods, object]), now), "7/30 (avg), <unknown>/10 + 1 more...");
    assert_eq!(targets(json!([object]), none), "<unknown>/5");
}

#[test]
fn cells_and_columns_have_the_types_that_clients_are_told_of() {
    let registry = Registry::builtin();
    let column = |api_version: &str, kind: &str, name: &str| {
        let gvk = GroupVersionKind::from_api_version(api_version, kind).unwrap();
        let columns = columns(registry.by_kind(&gvk).unwrap());
        columns.as_array().unwrap().iter().find(|column| column["name"] == name).unwrap().clone()
    };
    for (api_version, kind, name, field, want) in [
        ("storage.k8s.io/v1", "StorageClass", "Name", "format", json!("name")),
        ("v1", "Event", "Name", "format", json!("name")),
        ("scheduling.k8s.io/v1", "PriorityClass", "PreemptionPolicy", "priority", json!(0)),
        ("scheduling.k8s.io/v1", "PriorityClass", "Global-Default", "type", json!("boolean")),
        ("apps/v1", "Deployment", "Available", "type", json!("string")),
        ("resource.k8s.io/v1", "DeviceClass", "Age", "type", json!("string")),
    ] {
        assert_eq!(column(api_version, kind, name)[field], want, "{kind} {name}");
    }
    let raw = |group: &str, plural: &str, object: Value| {
        row(registry.get(group, "v1", plural).unwrap(), &object, IncludeObject::None, NOW.parse().unwrap())
    };
    assert_eq!(raw("", "configmaps", json!({"data": {"a": ""}, "binaryData": {"b": ""}}))["cells"][1], 2);
    assert_eq!(raw("storage.k8s.io", "storageclasses", json!({"allowVolumeExpansion": true}))["cells"][4], true);
    let binding = |reference: Value| {
        let object = json!({"spec": {"policyName": "p", "paramRef": reference}});
        raw("admissionregistration.k8s.io", "validatingadmissionpolicybindings", object)["cells"][2].clone()
    };
    assert_eq!(binding(json!({"name": "n"})), "*/n");
    assert_eq!(binding(json!({"name": "n", "namespace": "s"})), "s/n");
    assert_eq!(
        binding(
            json!({"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]}})
        ),
        "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}"
    );
    assert_eq!(binding(Value::Null), "<unset>");
    let bound = json!({"spec": {"volumeName": "v"}, "status": {"phase": "Pending"}});
    assert_eq!(raw("", "persistentvolumeclaims", bound)["cells"][3], "0", "a claim that is on its way to its volume");
}

#[test]
fn rows_of_pods_say_that_these_are_over() {
    let pods = Registry::builtin().get("", "v1", "pods").unwrap().clone();
    let said = |phase: &str| {
        let object = json!({"metadata": {"name": "p"}, "status": {"phase": phase}});
        row(&pods, &object, IncludeObject::None, NOW.parse().unwrap())["conditions"].clone()
    };
    assert_eq!(said("Running"), Value::Null);
    assert_eq!(
        said("Failed"),
        json!([{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}])
    );
    assert_eq!(said("Succeeded")[0]["message"], "The pod has completed successfully.");
}

#[test]
fn a_workload_seen_as_a_scale_has_columns_of_its_own() {
    let scale = json!({"kind": "Scale", "metadata": {"name": "w", "resourceVersion": "7", "creationTimestamp": "2024-05-01T11:00:00Z"},
        "spec": {"replicas": 3}, "status": {"replicas": 2}});
    let table = super::scale(&scale, IncludeObject::None, NOW.parse().unwrap());
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(
        (&table["rows"][0]["cells"], &table["metadata"]),
        (&json!(["w", 3, 2, "60m"]), &json!({"resourceVersion": "7"}))
    );
}

#[test]
fn rules_of_flow_control_stand_in_the_order_in_which_they_are_tried() {
    let schemas = Registry::builtin().get("flowcontrol.apiserver.k8s.io", "v1", "flowschemas").unwrap().clone();
    let of =
        |name: &str, precedence: u32| json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": precedence}});
    let all = [of("a", 9000), of("c", 1), of("b", 1)];
    let table = table(&schemas, all.iter(), &json!({}), IncludeObject::None, NOW.parse().unwrap());
    let names: Vec<&str> =
        table["rows"].as_array().unwrap().iter().filter_map(|row| row["cells"][0].as_str()).collect();
    assert_eq!(names, ["b", "c", "a"]);
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
