//! Devices of a DRA driver that runs in a pod, as containers see them. The test allocates, as a scheduler of another make would.

use super::driver::{push_driver, sh, wait_ready};
use super::single;
use rk_tests::{eventually, limit};

const OBJECTS: &str = include_str!("../../fixtures/dra.yaml");

#[test]
fn a_claim_of_a_driver_in_a_pod_is_prepared_for_its_container_and_taken_back() {
    let shared = single();
    push_driver(&shared, "dra-driver", env!("CARGO_BIN_EXE_dra-driver"));
    let kubectl = shared.kubectl.new_namespace("dra");
    kubectl.apply(OBJECTS);
    wait_ready(&kubectl, "driver");
    let node = kubectl.try_path(&["pod", "driver"], "{.spec.nodeName}").expect("the driver's node");
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: lit}}\nspec:\n  terminationGracePeriodSeconds: 1\n  nodeName: {node}\n  \
         tolerations: [{{operator: Exists}}]\n  resourceClaims: [{{name: mine, resourceClaimName: light}}]\n  containers:\n  \
         - name: main\n    image: rk.local/busybox:demo\n    command: [sleep, '36000']\n    \
         resources: {{claims: [{{name: mine, request: lamp}}]}}\n  \
         - {{name: dark, image: rk.local/busybox:demo, command: [sleep, '36000']}}\n"
    ));
    eventually("the pod to say what it waits for", limit(60), || {
        let events = kubectl.run(&["get", "events", "--field-selector=involvedObject.name=lit"]).out;
        let told = events.contains("FailedPrepareDynamicResources")
            && events.contains("is not allowed to use ResourceClaim light");
        if told { Ok(()) } else { Err(events) }
    });
    let uid = kubectl.try_path(&["pod", "lit"], "{.metadata.uid}").expect("the pod's UID");
    let status = format!(
        r#"{{"status":{{"allocation":{{"devices":{{"results":[{{"request":"lamp","driver":"lamps.example.com","pool":"pool","device":"left"}}]}}}},"reservedFor":[{{"resource":"pods","name":"lit","uid":"{uid}"}}]}}}}"#
    );
    kubectl.ok(&["patch", "resourceclaim", "light", "--subresource=status", "--type=merge", "-p", &status]);
    wait_ready(&kubectl, "lit");
    let own = "tr '\\0' '\\n' < /proc/1/environ | grep -c ^LAMP=light$";
    assert_eq!(sh(&kubectl, "lit", own).as_deref(), Ok("1"));
    let dark = kubectl.run(&["exec", "lit", "-c", "dark", "--", "sh", "-c", own]);
    assert_eq!(dark.out.trim(), "0", "a container that names no claim has nothing of it: {}", dark.err);
    assert!(sh(&kubectl, "driver", "ls /run/cdi").expect("the driver's files").contains("lamp-"));
    kubectl.ok(&["delete", "pod", "lit", "--wait=true"]);
    let left = sh(&kubectl, "driver", "ls /run/cdi").expect("the driver's files");
    assert!(!left.contains("lamp-"), "the driver has taken it back before the pod has gone: {left}");
}
