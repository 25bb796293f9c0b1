//! Layers that are files, as a node mounts them: once for all of their containers, and for no longer than these are there.

use super::{HOLDINGS, back_to, cluster, delete, observers, pod, ready, ready_node, sh, unharmed};
use crate::images::{fresh, pushed};
use rk_qemu::oci::Entry;
use rk_tests::{Kubectl, eventually, limit};

/// Mounted layers of the node whose files are named `marked`.
fn mounted(kubectl: &Kubectl) -> Result<String, String> {
    let script = "cd /proc/1/root/var/lib/rk/images/layers; for l in *; do grep -q \" /var/lib/rk/images/layers/$l/fs \" \
                  /proc/1/mounts && test -e $l/fs/marked && echo $l; done; true";
    sh(kubectl, "inspector", script).map(|told| told.trim().to_owned())
}

#[test]
fn a_layer_is_one_file_that_is_mounted_once_for_all_of_its_containers() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("layers");
    observers(&kubectl);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    let stamp = fresh();
    pushed(&shared, "marked", &[Entry::file("marked", 0o640, stamp.clone())]);
    // One pod has the image as a volume beside busybox, the other in a user namespace of its own.
    let volume = "  volumes: [{name: i, image: {reference: 'rk.local/marked:demo'}}]\n";
    let mount = "    volumeMounts: [{name: i, mountPath: /i}]\n";
    let says = "cat /i/marked; stat -c '%u %a' /i/marked; touch /bin/new && echo written; exec sleep 36000";
    let own = format!("  hostUsers: false\n{volume}");
    for (name, more) in [("plain", volume), ("own", own.as_str())] {
        kubectl.apply(&pod(name, says, more, mount));
        ready(&kubectl, name);
        eventually("its words", limit(60), || {
            let answer = kubectl.run(&["logs", name]);
            let seen = answer.out.contains(&stamp) && answer.out.contains("0 640") && answer.out.contains("written");
            if seen { Ok(()) } else { Err(answer.out + &answer.err) }
        });
    }
    let layer = mounted(&kubectl).expect("mounts");
    assert_eq!(layer.lines().count(), 1, "{layer}");
    // Its file is what the mount is of; overlays name the directory.
    let of_it = format!("grep '^/var/lib/rk/images/layers/{layer}/layer.erofs ' /proc/1/mounts");
    let line = sh(&kubectl, "inspector", &of_it).expect("mounts");
    assert_eq!(line.lines().count(), 1, "one mount serves both: {line}");
    assert!(line.contains(" erofs ro,nosuid,nodev,") && line.contains("directio"), "{line}");

    // The next agent finds what is mounted, and mounts nothing again.
    let all = sh(&kubectl, "inspector", "wc -l < /proc/1/mountinfo").expect("mounts");
    sh(&kubectl, "inspector", "kill -9 $(pidof rk-node)").ok();
    ready_node(&kubectl);
    for name in ["plain", "own"] {
        // A node that was Ready a moment ago may not answer yet.
        let again = eventually("a file of the layer", limit(60), || sh(&kubectl, name, "cat /i/marked"));
        assert_eq!(again, stamp);
    }
    assert_eq!(sh(&kubectl, "inspector", "wc -l < /proc/1/mountinfo"), Ok(all));
    delete(&kubectl, &["pod", "own"]);
    assert_eq!(mounted(&kubectl).as_deref(), Ok(layer.as_str()), "the other still stands on it");
    delete(&kubectl, &["pod", "plain"]);
    eventually("nobody stands on it", limit(60), || match mounted(&kubectl)? {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
    back_to(&kubectl, &before);
    unharmed(&kubectl);
}
