//! Rules of storage classes, drivers, capacities and attachments, one broken at a time.

use serde_json::{Value, json};

use super::apps::refuses;
use super::extensions::merged;
use super::others::lets_in;
use super::{breaks, sample};

#[test]
fn a_driver_of_storage_is_named_by_a_short_domain_of_any_case() {
    let named = |name: &str| json!({"metadata": {"name": name}});
    lets_in("csidrivers", &named("CSI.Example.com"));
    let long = "d".repeat(64);
    breaks(
        "csidrivers",
        &[
            (named(&long), "name: Too long: may not be more than 63 bytes"),
            (named("a_b"), "name: Invalid value: \"a_b\": a lowercase RFC 1123 subdomain"),
            (named("a/b"), "metadata.name: Invalid value: \"a/b\": may not contain '/'"),
            (json!({"spec": {"fsGroupPolicy": "Some"}}), "spec.fsGroupPolicy: Unsupported value: \"Some\""),
            (
                json!({"spec": {"volumeLifecycleModes": ["Brief"]}}),
                "spec.volumeLifecycleModes: Unsupported value: \"Brief\": supported values: \"Persistent\", \"Ephemeral\"",
            ),
            (
                json!({"spec": {"tokenRequests": [{"audience": "a", "expirationSeconds": 4_294_967_297_i64}]}}),
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
            ),
        ],
    );
    lets_in("csidrivers", &json!({"spec": {"tokenRequests": [{"audience": ""}, {"audience": "a"}]}}));
    for (key, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
        ("seLinuxMount", "seLinuxMount"),
    ] {
        let want = format!("spec.{shown}: Required value");
        refuses("csidrivers", None, &[(json!({}), json!({"spec": {key: null}}), want.as_str())]);
    }
    refuses(
        "csidrivers",
        None,
        &[
            (
                json!({}),
                json!({"spec": {"attachRequired": false}}),
                "spec.attachedRequired: Invalid value: false: field is immutable",
            ),
            (
                json!({}),
                json!({"spec": {"volumeLifecycleModes": ["Ephemeral"]}}),
                "spec.volumeLifecycleModes: Invalid value: [\"Ephemeral\"]: field is immutable",
            ),
        ],
    );
}

#[test]
fn drivers_of_a_node_change_in_how_much_they_take_alone() {
    let driver = |more: Value| {
        let driver = merged(&sample("csinodes")["spec"]["drivers"][0], &more);
        json!({"spec": {"drivers": [driver]}})
    };
    breaks(
        "csinodes",
        &[
            (driver(json!({"name": "d".repeat(64)})), "spec.drivers[0].name: Too long: may not be more than 63 bytes"),
            (driver(json!({"nodeID": ""})), "spec.drivers[0].nodeID: Required value"),
            (driver(json!({"topologyKeys": [""]})), "spec.drivers[0]: Required value"),
            (driver(json!({"topologyKeys": ["a b"]})), "spec.drivers[0]: Invalid value: \"a b\""),
        ],
    );
    let both = json!({"spec": {"drivers": [{"name": "d", "nodeID": "n"}, {"name": "d", "nodeID": "n"}]}});
    breaks("csinodes", &[(both, "spec.drivers[1].name: Duplicate value: \"d\"")]);
    lets_in("csinodes", &driver(json!({"nodeID": "n".repeat(256), "allocatable": {"count": 0}})));
    let moved = driver(json!({"nodeID": "m"}));
    refuses("csinodes", None, &[(json!({}), moved, ": field is immutable")]);
}

#[test]
fn classes_and_capacities_are_for_ever() {
    let many: serde_json::Map<String, Value> = (0..513).map(|n| (format!("p{n}"), json!("v"))).collect();
    for (plural, why) in [
        ("storageclasses", "Invalid value: {\"other\":\"v\"}: field is immutable"),
        ("volumeattributesclasses", "Forbidden: updates to parameters are forbidden."),
    ] {
        breaks(
            plural,
            &[
                (json!({"parameters": {"": "v"}}), "parameters: Invalid value: \"\": field can not be empty."),
                (json!({"parameters": many}), "parameters: Too long: may not be more than 512 bytes"),
            ],
        );
        let want = format!("parameters: {why}");
        refuses(plural, None, &[(json!({}), json!({"parameters": {"other": "v"}}), want.as_str())]);
    }
    breaks(
        "storageclasses",
        &[
            (json!({"provisioner": ""}), "provisioner: Required value"),
            (
                json!({"provisioner": "a/b/c"}),
                "provisioner: Invalid value: \"a/b/c\": a valid label key must consist of",
            ),
            (
                json!({"reclaimPolicy": "Recycle"}),
                "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
            ),
        ],
    );
    refuses(
        "storageclasses",
        None,
        &[
            (
                json!({}),
                json!({"reclaimPolicy": "Retain"}),
                "reclaimPolicy: Invalid value: \"Retain\": field is immutable",
            ),
            (
                json!({}),
                json!({"volumeBindingMode": "WaitForFirstConsumer"}),
                "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
            ),
        ],
    );
    breaks("volumeattributesclasses", &[(json!({"driverName": ""}), "driverName: Required value")]);
    refuses(
        "volumeattributesclasses",
        None,
        &[(json!({}), json!({"driverName": "e"}), "driverName: Forbidden: updates to driverName are forbidden.")],
    );
    let near = json!({"nodeTopology": {"matchExpressions": [{"key": "zone", "operator": "Near", "values": ["a"]}]}});
    breaks(
        "csistoragecapacities",
        &[
            (json!({"storageClassName": ""}), "storageClassName: Invalid value: \"\": a lowercase RFC 1123 subdomain"),
            (json!({"capacity": "-11"}), "capacity: Invalid value: \"-11\": must be greater than or equal to 0"),
            (near, "nodeTopology.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator"),
        ],
    );
    lets_in("csistoragecapacities", &json!({"capacity": null, "nodeTopology": {}}));
    refuses(
        "csistoragecapacities",
        None,
        &[
            (json!({}), json!({"storageClassName": "d"}), "storageClassName: Invalid value: \"d\": field is immutable"),
            (json!({}), json!({"nodeTopology": {}}), "nodeTopology: Invalid value: {"),
        ],
    );
}

#[test]
fn an_attachment_is_of_one_volume_to_one_node() {
    let described = json!({"accessModes": ["ReadWriteOnce"], "csi": {"driver": "d.example.com", "volumeHandle": "h"}});
    let source = |source: Value| json!({"spec": {"source": source}});
    let what = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let none = format!("spec.source: Required value: {what}");
    let both = format!("spec.source: Forbidden: {what}");
    breaks(
        "volumeattachments",
        &[
            (json!({"spec": {"attacher": ""}}), "spec.attacher: Required value"),
            (json!({"spec": {"nodeName": ""}}), "spec.nodeName: Invalid value: \"\": a lowercase RFC 1123 subdomain"),
            (source(json!({"persistentVolumeName": null})), none.as_str()),
            (source(json!({"inlineVolumeSpec": described})), both.as_str()),
        ],
    );
    let metadata = json!({"status": {"attachmentMetadata": {"k": "v".repeat(256 * 1024)}}});
    refuses(
        "volumeattachments",
        Some("status"),
        &[
            (json!({}), metadata, "status.attachmentMetadata: Too long: may not be more than 262144 bytes"),
            (
                json!({}),
                json!({"status": {"attachError": {"errorCode": -1}}}),
                "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ),
        ],
    );
    for change in [json!({"attacher": "e"}), json!({"nodeName": "m"}), json!({"source": {"persistentVolumeName": "w"}})]
    {
        refuses("volumeattachments", None, &[(json!({}), json!({"spec": change}), ": field is immutable")]);
    }
}
