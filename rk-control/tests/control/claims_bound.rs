//! Pods that claim devices, against a real control plane, seen through kubectl.

use crate::cluster::{ControlPlane, eventually, start};

const CLASS: &str = "
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: gpu}
spec: {selectors: [{cel: {expression: \"device.driver == 'd.example.com'\"}}]}
";

const SLICE: &str = "
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: n2-d}
spec:
  driver: d.example.com
  nodeName: n2
  pool: {name: n2, generation: 1, resourceSliceCount: 1}
  devices: [{name: x, attributes: {model: {string: a}}}]
";

/// A claim of one device whose model is `a`, and a pod that uses it.
fn claim_and_pod(claim: &str, pod: &str) -> String {
    format!(
        "
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {{name: {claim}}}
spec: {{devices: {{requests: [{{name: r, exactly: {{deviceClassName: gpu,
  selectors: [{{cel: {{expression: \"device.attributes['d.example.com'].model == 'a'\"}}}}]}}}}]}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {pod}}}
spec:
  resourceClaims: [{{name: gpu, resourceClaimName: {claim}}}]
  containers: [{{name: c, image: x, resources: {{claims: [{{name: gpu}}]}}}}]
"
    )
}

/// Waits until the scheduler says of a pod that it fits nowhere, for this reason.
async fn waits(plane: &ControlPlane, pod: &str, why: &str) {
    let path = "{.status.conditions[?(@.type=='PodScheduled')].message}";
    eventually(&format!("{pod} to wait: {why}"), || async {
        let said = plane.kubectl(&format!("get pod {pod} -o jsonpath={path}"));
        if said.starts_with(&format!("0/2 nodes are available: {why}.")) { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_bound_where_its_claim_gets_a_device() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    plane.apply(&claim_and_pod("one", "first"));
    waits(&plane, "first", "request r: device class gpu does not exist").await;
    plane.apply(CLASS);
    waits(&plane, "first", "2 cannot allocate all claims").await;
    plane.apply(SLICE);
    plane.shows("pod first", ".spec.nodeName", "n2").await;
    let claim = |path: &str| plane.kubectl(&format!("get resourceclaim one -o jsonpath={{{path}}}"));
    for (field, value) in [("request", "r"), ("driver", "d.example.com"), ("pool", "n2"), ("device", "x")] {
        assert_eq!(claim(&format!(".status.allocation.devices.results[*].{field}")), value);
    }
    let selector = ".status.allocation.nodeSelector.nodeSelectorTerms[0].matchFields[0].values[0]";
    assert_eq!((claim(selector), claim(".status.reservedFor[*].name")), ("n2".to_owned(), "first".to_owned()));
    assert_eq!(claim(".metadata.finalizers[*]"), "resource.kubernetes.io/delete-protection");
    assert_ne!(claim(".status.allocation.allocationTimestamp"), "");
    plane.apply(&claim_and_pod("one", "second"));
    plane.shows("pod second", ".spec.nodeName", "n2").await;
    assert_eq!(claim(".status.reservedFor[*].name"), "first second", "they share it");
    plane.apply(&claim_and_pod("two", "third"));
    waits(&plane, "third", "2 cannot allocate all claims").await;
}

const NAMED: &str = "
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: lamps}
spec: {extendedResourceName: example.com/lamp}
";

/// A pod that asks for a device by the name of an extended resource.
fn asking_pod(name: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec: {{containers: [{{name: c, image: x, resources: {{limits: {{example.com/lamp: 1}}}}}}]}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_devices_by_the_name_of_an_extended_resource() {
    let (plane, _nodes) = start(&["n1", "n2"]).await;
    plane.apply(&asking_pod("first"));
    waits(&plane, "first", "2 Insufficient example.com/lamp").await;
    plane.apply(NAMED);
    waits(&plane, "first", "2 cannot allocate all claims").await;
    plane.apply(SLICE);
    plane.shows("pod first", ".spec.nodeName", "n2").await;
    let told = |path: &str| {
        plane.kubectl(&format!("get pod first -o jsonpath={{.status.extendedResourceClaimStatus.{path}}}"))
    };
    let mapping = |field: &str| told(&format!("requestMappings[*].{field}"));
    let mapped = (mapping("containerName"), mapping("resourceName"), mapping("requestName"));
    assert_eq!(mapped, ("c".to_owned(), "example.com/lamp".to_owned(), "container-0-request-0".to_owned()));
    let name = told("resourceClaimName");
    assert!(name.starts_with("first-extended-resources-"), "{name}");
    let claim = |path: &str| plane.kubectl(&format!("get resourceclaim {name} -o jsonpath={{{path}}}"));
    for (path, value) in [
        (".metadata.ownerReferences[*].name", "first"),
        (".spec.devices.requests[*].exactly.deviceClassName", "lamps"),
        (".spec.devices.requests[*].exactly.count", "1"),
        (".status.allocation.devices.results[*].request", "container-0-request-0"),
        (".status.allocation.devices.results[*].device", "x"),
        (".status.reservedFor[*].name", "first"),
    ] {
        assert_eq!(claim(path), value, "{path}");
    }
    plane.apply(&asking_pod("second"));
    waits(&plane, "second", "2 cannot allocate all claims").await;
    assert_eq!(plane.kubectl("get resourceclaims -o name").lines().count(), 1, "who waits has no claim");
}
