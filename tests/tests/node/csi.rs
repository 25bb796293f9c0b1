//! Volumes of a CSI driver that runs in a pod: trees with a group, raw devices, and their growth, as containers see them.

use super::driver::{push_driver, sh, wait_ready};
use super::single;
use rk_tests::{Kubectl, eventually, limit};

const OBJECTS: &str = include_str!("../../fixtures/csi.yaml");
/// Bytes of a volume at first, and when it has grown.
const SIZES: [&str; 2] = ["67108864", "134217728"];

fn user(kubectl: &Kubectl, name: &str, device: &str) {
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         tolerations: [{{operator: Exists}}]\n  securityContext: {{fsGroup: 2000}}\n  volumes:\n  \
         - {{name: v, persistentVolumeClaim: {{claimName: files}}}}\n  - {{name: b, persistentVolumeClaim: {{claimName: block}}}}\n  \
         containers:\n  - name: main\n    image: rk.local/busybox:demo\n    command: [sleep, '36000']\n    \
         volumeMounts: [{{name: v, mountPath: /v}}, {{name: v, mountPath: /part, subPath: part}}]\n    volumeDevices: [{{name: b, devicePath: {device}}}]\n"
    ));
    wait_ready(kubectl, name);
}

#[test]
fn volumes_of_a_driver_in_a_pod_are_trees_and_devices_that_grow_and_last() {
    let shared = single();
    push_driver(&shared, "csi-driver", env!("CARGO_BIN_EXE_csi-driver"));
    shared.kubectl.run(&["delete", "pv", "csi-files", "csi-block", "--ignore-not-found", "--wait=false"]);
    let kubectl = shared.kubectl.new_namespace("csi");
    kubectl.apply(OBJECTS);
    wait_ready(&kubectl, "driver");
    user(&kubectl, "first", "/dev/block");
    assert_eq!(sh(&kubectl, "first", "stat -c %g /v").as_deref(), Ok("2000"), "the group owns the tree");
    assert_eq!(sh(&kubectl, "first", "grep -c ' /v ext4 rw' /proc/mounts").as_deref(), Ok("1"));
    assert_eq!(sh(&kubectl, "first", "blockdev --getsize64 /dev/block").as_deref(), Ok(SIZES[0]));
    sh(&kubectl, "first", "echo kept > /v/file && printf raw | dd of=/dev/block conv=notrunc,fsync").expect("writing");
    assert_eq!(sh(&kubectl, "first", "echo x > /part/file && cat /v/part/file").as_deref(), Ok("x"));

    // As an external resizer does, up to the part of the node.
    kubectl.ok(&["patch", "pv", "csi-block", "--type=merge", "-p", r#"{"spec":{"capacity":{"storage":"128Mi"}}}"#]);
    let pending = r#"{"status":{"conditions":[{"type":"FileSystemResizePending","status":"True"}]}}"#;
    kubectl.ok(&["patch", "pvc", "block", "--subresource=status", "--type=merge", "-p", pending]);
    eventually("the device to grow", limit(180), || {
        let size = sh(&kubectl, "first", "blockdev --getsize64 /dev/block")?;
        let told = kubectl.try_path(&["pvc", "block"], "{.status.capacity.storage}")?;
        if (size.as_str(), told.as_str()) == (SIZES[1], "128Mi") { Ok(()) } else { Err(format!("{size} {told}")) }
    });
    kubectl.ok(&["delete", "pod", "first", "--wait=true"]);
    user(&kubectl, "second", "/mnt/block");
    assert_eq!(
        sh(&kubectl, "second", "cat /v/file; test -b /mnt/block && head -c 3 /mnt/block").as_deref(),
        Ok("kept\nraw")
    );
    kubectl.ok(&["delete", "pod", "second", "--wait=true"]);
    eventually("all to be unstaged", limit(60), || {
        match sh(&kubectl, "driver", "ls /var/lib/kubelet/plugins/loops.csi.example")? {
            files if files.contains(".dev") => Err(files),
            _ => Ok(()),
        }
    });
}
