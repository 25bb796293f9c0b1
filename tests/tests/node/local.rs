//! A local volume that is a device, as its pods see it.

use super::driver::{sh, wait_ready};
use super::single;
use rk_tests::{Kubectl, eventually, limit};

/// Where the node keeps the file behind the device.
const HOME: &str = "/var/lib/rk-test-local";
/// Makes the device and tells its name. A new loop device is not among those that the container began with.
const ATTACH: &str = r#"truncate -s 64M /w/disk
[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
dev=$(losetup -f)
[ -e "$dev" ] || mknod "$dev" b 7 "${dev#/dev/loop}"
losetup "$dev" /w/disk
echo "$dev""#;

fn user(kubectl: &Kubectl, name: &str) {
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         tolerations: [{{operator: Exists}}]\n  securityContext: {{fsGroup: 2000}}\n  volumes:\n  \
         - {{name: v, persistentVolumeClaim: {{claimName: files}}}}\n  containers:\n  - name: main\n    \
         image: rk.local/busybox:demo\n    command: [sleep, '36000']\n    volumeMounts: [{{name: v, mountPath: /v}}]\n"
    ));
}

#[test]
fn a_device_of_the_node_is_a_tree_of_its_pods_and_is_let_go_after_them() {
    let shared = single();
    shared.kubectl.run(&["delete", "pv", "local-device", "--ignore-not-found", "--wait=false"]);
    let kubectl = shared.kubectl.new_namespace("local-device");
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: maker}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         tolerations: [{{operator: Exists}}]\n  volumes:\n  - {{name: w, hostPath: {{path: {HOME}, type: DirectoryOrCreate}}}}\n  \
         containers:\n  - name: main\n    image: rk.local/busybox:demo\n    command: [sleep, '36000']\n    \
         securityContext: {{privileged: true}}\n    volumeMounts: [{{name: w, mountPath: /w}}]\n"
    ));
    wait_ready(&kubectl, "maker");
    let device = sh(&kubectl, "maker", ATTACH).expect("a loop device");
    let node = kubectl.try_path(&["pod", "maker"], "{.spec.nodeName}").expect("the maker's node");
    let common = "accessModes: [ReadWriteOnce]\n  storageClassName: ''";
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: local-device}}\nspec:\n  {common}\n  capacity: {{storage: 64Mi}}\n  \
         persistentVolumeReclaimPolicy: Retain\n  claimRef: {{namespace: local-device, name: files}}\n  local: {{path: {device}}}\n  \
         nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchFields: [{{key: metadata.name, operator: In, values: [{node}]}}]}}]}}}}\n\
         ---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: files}}\nspec:\n  {common}\n  volumeName: local-device\n  \
         resources: {{requests: {{storage: 64Mi}}}}\n"
    ));
    user(&kubectl, "first");
    eventually("the pod to hear of it", limit(120), || {
        let told = kubectl.try_path(&["events"], "{.items[*].message}")?;
        if told.contains("the device is not formatted") { Ok(()) } else { Err(told) }
    });
    sh(&kubectl, "maker", &format!("mke2fs {device}")).expect("a file system");
    wait_ready(&kubectl, "first");
    let seen = sh(&kubectl, "first", "grep -c ' /v ext4 rw' /proc/mounts; stat -c %g /v");
    assert_eq!(seen.as_deref(), Ok("1\n2000"));
    sh(&kubectl, "first", "echo kept > /v/file").expect("writing");
    kubectl.ok(&["delete", "pod", "first", "--wait=true"]);
    user(&kubectl, "second");
    wait_ready(&kubectl, "second");
    assert_eq!(sh(&kubectl, "second", "cat /v/file").as_deref(), Ok("kept"));
    kubectl.ok(&["delete", "pod", "second", "--wait=true"]);
    // It is not the loop driver's any more once nobody has it mounted.
    sh(&kubectl, "maker", &format!("losetup -d {device}")).expect("detaching");
    eventually("the device to be let go", limit(60), || sh(&kubectl, "maker", &format!("! losetup {device}")));
    sh(&kubectl, "maker", "rm /w/disk").expect("removing");
}
