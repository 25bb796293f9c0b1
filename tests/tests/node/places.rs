//! Places that pods mount of any host.

use super::pods::{pod, ready, sh};
use super::single;

#[test]
fn an_installer_finds_the_places_of_a_host_and_may_write_where_it_does_on_others() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("places");
    let volumes = "  volumes:\n\
        \x20 - {name: plugins, hostPath: {path: /opt/cni/bin, type: DirectoryOrCreate}}\n\
        \x20 - {name: local, hostPath: {path: /opt/local-path-provisioner, type: DirectoryOrCreate}}\n\
        \x20 - {name: driver, hostPath: {path: /usr/libexec/kubernetes/kubelet-plugins/volume/exec/own~uds, type: DirectoryOrCreate}}\n\
        \x20 - {name: modules, hostPath: {path: /lib/modules}}\n\
        \x20 - {name: zone, hostPath: {path: /etc/localtime, type: File}}\n\
        \x20 - {name: root, hostPath: {path: /}}\n";
    let mounts = "    volumeMounts:\n\
        \x20   - {name: plugins, mountPath: /host/plugins}\n\
        \x20   - {name: local, mountPath: /host/local}\n\
        \x20   - {name: driver, mountPath: /host/driver}\n\
        \x20   - {name: modules, mountPath: /lib/modules, readOnly: true}\n\
        \x20   - {name: zone, mountPath: /etc/localtime, readOnly: true}\n\
        \x20   - {name: root, mountPath: /host/root, readOnly: true}\n";
    kubectl.apply(&pod("installer", "sleep 3600", volumes, mounts));
    ready(&kubectl, "installer");
    let run = |script: &str| sh(&kubectl, "installer", script).unwrap_or_else(|error| panic!("{script}: {error}"));
    let shown = run("ls /host/plugins");
    for own in ["bridge", "host-local", "loopback", "portmap"] {
        assert!(shown.lines().any(|line| line == own), "{own} is not in {shown}");
    }
    run("cp /bin/busybox /host/plugins/busybox-own && echo kept > /host/local/x && echo kept > /host/driver/x");
    // As the node sees it: by the links of its root.
    assert_eq!(run("/host/root/opt/cni/bin/busybox-own echo ran").trim(), "ran");
    assert_eq!(run("cat /host/root/opt/local-path-provisioner/x").trim(), "kept");
    assert_eq!(
        run("stat -c %F /host/root/opt/. /host/root/mnt/. /host/root/srv/.").trim(),
        ["directory"; 3].join("\n")
    );
    assert!(run("date").contains("UTC"));
    run("rm -r /host/plugins/busybox-own /host/local/x /host/driver/x");
}

#[test]
fn a_pod_may_have_the_devices_of_its_node_and_leaves_none_of_its_own_there() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("devices");
    let host = "  volumes: [{name: dev, hostPath: {path: /dev, type: Directory}}]\n";
    let more = "    securityContext: {privileged: true}\n    volumeMounts: [{name: dev, mountPath: /dev}]\n";
    // The second one would see what the first one's mounts had left on the node.
    for name in ["first", "second"] {
        kubectl.apply(&pod(name, "sleep 3600", host, more));
        ready(&kubectl, name);
        let run = |script: &str| sh(&kubectl, name, script).unwrap_or_else(|error| panic!("{script}: {error}"));
        run(
            "test -c /dev/loop-control && test -c /dev/null && test -e /dev/pts/ptmx && echo word > /dev/termination-log",
        );
        for place in ["/dev", "/dev/termination-log", "/dev/shm"] {
            let seen = run(&format!("awk '$2 == \"{place}\" {{print $3}}' /proc/mounts | tail -n 1"));
            assert_eq!(seen.trim() == "devtmpfs", place == "/dev", "{place} is {seen}");
        }
        assert_eq!(run("grep -c ' /dev/termination-log ' /proc/mounts").trim(), "1");
    }
}
