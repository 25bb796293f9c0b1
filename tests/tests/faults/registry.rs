//! A worker whose registry is out of reach runs what an operator hands it.

use super::{IMAGE, Worker, plane};
use rk_tests::{eventually, limit};

/// Nobody listens there.
const NOWHERE: &str = "http://10.0.2.2:1";

#[test]
fn a_pod_runs_from_an_archive_that_was_pushed_with_no_registry_in_reach() {
    let shared = plane();
    let mut worker = Worker::new(&shared, 51);
    for mirror in &mut worker.config.registries.mirrors {
        mirror.endpoints = vec![NOWHERE.to_owned()];
    }
    worker.start(1024);
    worker.wait_ready();
    worker.answers();
    let kubectl = worker.kubectl.new_namespace("no-registry");
    let name = &worker.name;
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: preloaded}}\nspec:\n  nodeName: {name}\n  terminationGracePeriodSeconds: 1\n  \
         tolerations: [{{operator: Exists}}]\n  containers:\n  - name: main\n    image: {IMAGE}\n    imagePullPolicy: Never\n    \
         command: [sh, -c, 'exec sleep 36000']\n"
    ));
    eventually("the pod to miss its image", limit(60), || {
        let seen = kubectl.try_path(&["pod", "preloaded"], "{.status.containerStatuses[0].state.waiting.reason}")?;
        if seen == "ErrImageNeverPull" { Ok(()) } else { Err(seen) }
    });
    let layout = shared.artifacts.images.join("busybox").display().to_string();
    let made = worker.operator.run(&["image", "cache", "create", "--output", "images.tar", &layout]).good();
    assert!(made.contains(IMAGE), "{made}");
    // Bytes that are no archive are refused, and the node goes on.
    std::fs::write(worker.dir.join("noise.tar"), [7; 4096]).expect("noise");
    assert_ne!(worker.rkctl(&["image", "cache", "push", "noise.tar"]).code, 0);
    let pushed = worker.rkctl(&["image", "cache", "push", "images.tar"]);
    assert!(pushed.code == 0 && pushed.err.contains(&format!("took {IMAGE}")), "{pushed:?}");
    let timeout = format!("--timeout={}s", limit(120).as_secs());
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/preloaded", &timeout]);
    kubectl.ok(&["delete", "pod", "preloaded", "--wait=true", &timeout]);
}
