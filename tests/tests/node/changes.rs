//! Pods that change while they run, and what they get of the API: resizes, generations, late annotations, many small volumes, tokens.

use super::pods::{pod, ready, sh};
use super::single;
use rk_tests::{Kubectl, eventually, limit};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Requests and limits in millicores and MiB; zero leaves one out.
type Amounts = [u32; 4];

fn resources([cpu, memory, cpu_limit, memory_limit]: Amounts) -> Value {
    let list = |cpu: u32, memory: u32| {
        let mut list = serde_json::Map::new();
        if cpu > 0 {
            list.insert("cpu".into(), format!("{cpu}m").into());
        }
        if memory > 0 {
            list.insert("memory".into(), format!("{memory}Mi").into());
        }
        list
    };
    json!({"requests": list(cpu, memory), "limits": list(cpu_limit, memory_limit)})
}

fn resizable(name: &str, containers: &[(&str, Amounts)]) -> String {
    let containers: Vec<Value> = containers
        .iter()
        .map(|(name, amounts)| {
            json!({"name": name, "image": "rk.local/busybox:demo", "command": ["sleep", "36000"], "resources": resources(*amounts)})
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}], "containers": containers}})
    .to_string()
}

/// What a pod's status says of its containers: requests, limits, restarts; and of a resize that is not over.
fn held(kubectl: &Kubectl, pod: &str) -> Result<String, String> {
    let path = "{range .status.containerStatuses[*]}{.name}={.resources.requests.cpu}/{.resources.requests.memory}/\
        {.resources.limits.cpu}/{.resources.limits.memory}/{.restartCount} {end}\
        {.status.conditions[?(@.type==\"PodResizeInProgress\")].status}{.status.conditions[?(@.type==\"PodResizePending\")].status}";
    kubectl.try_path(&["pod", pod], path)
}

fn told(containers: &[(&str, Amounts)]) -> String {
    let amount = |n: u32, unit: &str| if n == 0 { String::new() } else { format!("{n}{unit}") };
    let one = |(name, [cpu, memory, cpu_limit, memory_limit]): &(&str, Amounts)| {
        format!(
            "{name}={}/{}/{}/{}/0 ",
            amount(*cpu, "m"),
            amount(*memory, "Mi"),
            amount(*cpu_limit, "m"),
            amount(*memory_limit, "Mi")
        )
    };
    containers.iter().map(one).collect()
}

fn changed(kubectl: &Kubectl, pod: &str, containers: &[(&str, Amounts)]) {
    let wanted = told(containers);
    eventually("the new amounts", limit(60), || match held(kubectl, pod)? {
        seen if seen.trim() == wanted.trim() => Ok(()),
        seen => Err(format!("{seen} instead of {wanted}")),
    });
}

fn patch(kubectl: &Kubectl, pod: &str, containers: &[(&str, Amounts)]) {
    let list: Vec<Value> =
        containers.iter().map(|(name, amounts)| json!({"name": name, "resources": resources(*amounts)})).collect();
    let patch = json!({"spec": {"containers": list}}).to_string();
    kubectl.ok(&["patch", "pod", pod, "--subresource", "resize", "--patch", &patch]);
}

fn limits(kubectl: &Kubectl, pod: &str, container: &str) -> String {
    let files = "cd /sys/fs/cgroup; cat cpu.max memory.max | tr '\\n' ' '";
    kubectl.ok(&["exec", pod, "-c", container, "--", "sh", "-c", files]).trim().to_owned()
}

/// A container's weight among those that want processors: 1 for the least request there is, 100 for a whole one.
fn weighs(kubectl: &Kubectl, pod: &str, container: &str) -> String {
    kubectl.ok(&["exec", pod, "-c", container, "--", "cat", "/sys/fs/cgroup/cpu.weight"]).trim().to_owned()
}

#[test]
fn containers_get_first_limits_equal_ones_and_others_by_patch_and_by_replacement() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("resizes");
    let six = [
        ("c1", [20, 16, 0, 0]),
        ("c2", [0, 0, 0, 0]),
        ("c3", [20, 0, 40, 0]),
        ("c4", [0, 16, 0, 32]),
        ("c5", [30, 16, 60, 32]),
        ("c6", [20, 16, 40, 32]),
    ];
    let after = [
        ("c1", [30, 24, 0, 0]),
        ("c2", [20, 16, 50, 32]),
        ("c3", [30, 16, 50, 32]),
        ("c4", [10, 24, 30, 48]),
        ("c5", [20, 24, 50, 48]),
        ("c6", [20, 16, 40, 32]),
    ];
    let small = [("c1", [2, 0, 10, 0]), ("c2", [4, 0, 12, 0])];
    let equal = [("c1", [1, 0, 5, 0]), ("c2", [3, 0, 11, 0])];
    kubectl.apply(&resizable("six", &six));
    kubectl.apply(&resizable("small", &small));
    ready(&kubectl, "six");
    ready(&kubectl, "small");
    changed(&kubectl, "six", &six);
    // A container that asked for nothing is said to have nothing, which is not to say nothing.
    assert_eq!(kubectl.path(&["pod", "six"], "{.status.containerStatuses[1].resources}"), "{}");
    patch(&kubectl, "six", &after);
    patch(&kubectl, "small", &equal);
    changed(&kubectl, "six", &after);
    changed(&kubectl, "small", &equal);
    for (container, weight) in [("c1", "7"), ("c2", "6"), ("c3", "7"), ("c4", "4"), ("c5", "6"), ("c6", "6")] {
        assert_eq!(weighs(&kubectl, "six", container), weight, "{container}");
    }
    assert_eq!((weighs(&kubectl, "small", "c1"), weighs(&kubectl, "small", "c2")), ("1".into(), "2".into()));
    assert_eq!(limits(&kubectl, "six", "c1"), "max 100000 max");
    assert_eq!(limits(&kubectl, "six", "c2"), format!("5000 100000 {}", 32 << 20));
    assert_eq!(limits(&kubectl, "six", "c5"), format!("5000 100000 {}", 48 << 20));
    // Less than the kernel's least quota is the least quota.
    assert!(limits(&kubectl, "small", "c1").starts_with("1000 100000 "));
    assert!(limits(&kubectl, "small", "c2").starts_with("1100 100000 "));
    let mut whole = kubectl.json(&["get", "pod", "small"]);
    let replaced = [("c1", [20, 0, 30, 0]), equal[1]];
    *whole.pointer_mut("/spec/containers/0/resources").expect("resources") = resources(replaced[0].1);
    let path = "/api/v1/namespaces/resizes/pods/small/resize";
    let answer = kubectl.fed(&["replace", "--raw", path, "-f", "-"], &whole.to_string());
    assert!(answer.success, "{answer:?}");
    changed(&kubectl, "small", &replaced);
    assert!(limits(&kubectl, "small", "c1").starts_with("3000 100000 "));
    kubectl.ok(&["delete", "pods", "--all", "--grace-period=1", "--wait=false"]);
}

#[test]
fn memory_that_a_container_uses_is_not_taken_from_it() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("used");
    let (before, after) = ([("one", [20, 32, 40, 64])], [("one", [20, 16, 40, 16])]);
    kubectl.apply(&resizable("full", &before));
    ready(&kubectl, "full");
    sh(&kubectl, "full", "dd if=/dev/zero of=/dev/shm/fill bs=1M count=24").expect("memory in use");
    patch(&kubectl, "full", &after);
    let condition = "{.status.conditions[?(@.type==\"PodResizeInProgress\")]";
    let path = format!("{condition}.reason}} {condition}.message}}");
    eventually("the reason why it is not done", limit(60), || {
        let told = kubectl.try_path(&["pod", "full"], &path)?;
        let why = format!("memory limit ({}) below current usage", 16 << 20);
        if told.starts_with("Error ") && told.contains(&why) { Ok(()) } else { Err(told) }
    });
    assert_eq!(limits(&kubectl, "full", "one"), format!("4000 100000 {}", 64 << 20));
    patch(&kubectl, "full", &before);
    changed(&kubectl, "full", &before);
    kubectl.ok(&["delete", "pod", "full", "--grace-period=1", "--wait=false"]);
}

#[test]
fn neighbours_in_a_pod_tell_their_new_amounts_while_one_waits_for_its_restart() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("restarts");
    let mut whole: Value =
        serde_json::from_str(&resizable("two", &[("slow", [20, 16, 40, 32]), ("quick", [20, 16, 40, 32])]))
            .expect("JSON");
    whole["spec"]["terminationGracePeriodSeconds"] = 40.into();
    // It ends well, which this policy takes for done.
    whole["spec"]["restartPolicy"] = "OnFailure".into();
    whole["spec"]["containers"][0]["resizePolicy"] =
        json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
    whole["spec"]["containers"][0]["command"] =
        json!(["sh", "-c", "trap 'until [ -e /go ]; do sleep 0.2; done; exit 0' TERM; while true; do sleep 0.2; done"]);
    kubectl.apply(&whole.to_string());
    ready(&kubectl, "two");
    patch(&kubectl, "two", &[("slow", [20, 16, 50, 32]), ("quick", [20, 16, 60, 32])]);
    eventually("the neighbour's amounts, before the restart", limit(30), || match held(&kubectl, "two")? {
        seen if seen.contains("slow=20m/16Mi/40m/32Mi/0")
            && seen.contains("quick=20m/16Mi/60m/32Mi/0")
            && seen.contains("True") =>
        {
            Ok(())
        }
        seen => Err(seen),
    });
    kubectl.ok(&["exec", "two", "-c", "slow", "--", "touch", "/go"]);
    eventually("the restart", limit(60), || match held(&kubectl, "two")? {
        seen if seen.trim() == "quick=20m/16Mi/60m/32Mi/0 slow=20m/16Mi/50m/32Mi/1" => Ok(()),
        seen => Err(seen),
    });
    // It is counted when it is made, and told of commands when it runs.
    ready(&kubectl, "two");
    assert!(limits(&kubectl, "two", "slow").starts_with("5000 100000 "));
    kubectl.ok(&["delete", "pod", "two", "--grace-period=1", "--wait=false"]);
}

/// How many changes are counted; `RK_CHANGES=500` makes as many as the community's suite does.
fn changes() -> u32 {
    std::env::var("RK_CHANGES").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[test]
fn many_changes_of_a_spec_are_all_counted_and_all_seen() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("counted");
    let turn = |left: u32| pod("counted", "exec sleep 36000", &format!("  activeDeadlineSeconds: {left}\n"), "");
    kubectl.apply(&turn(9000));
    ready(&kubectl, "counted");
    // One kubectl over one connection makes them all.
    kubectl.apply(&(9000 - changes()..9000).rev().map(turn).collect::<Vec<_>>().join("---\n"));
    let wanted = format!("{0} {0}", changes() + 1);
    eventually("all changes seen", limit(60), || {
        match kubectl.try_path(&["pod", "counted"], "{.metadata.generation} {.status.observedGeneration}")?.as_str() {
            seen if seen == wanted => Ok(()),
            seen => Err(seen.to_owned()),
        }
    });
}

#[test]
fn a_part_of_a_volume_named_by_variables_stays_inside_and_may_become_right_later() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("expansion");
    let volume = "  volumes: [{name: v, emptyDir: {}}]\n";
    let mount = |value: &str, expression: &str| {
        format!(
            "    env: [{{name: PART, {value}}}]\n    volumeMounts: [{{name: v, mountPath: /v, subPathExpr: {expression:?}}}]\n"
        )
    };
    let late = "valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['part']\"}}";
    kubectl.apply(
        &[
            pod("absolute", "exec sleep 36000", volume, &mount("value: /tmp", "$(PART)")),
            pod("upwards", "exec sleep 36000", volume, &mount("value: ..", "$(PART)")),
            pod("late", "exec sleep 36000", volume, &mount(late, "$(PART)/inside")),
        ]
        .join("---\n"),
    );
    for name in ["absolute", "upwards", "late"] {
        eventually(name, limit(60), || {
            match kubectl.try_path(&["pod", name], "{.status.containerStatuses[0].state.waiting.reason}")?.as_str() {
                "CreateContainerConfigError" => Ok(()),
                seen => Err(seen.to_owned()),
            }
        });
    }
    kubectl.ok(&["annotate", "pod", "late", "part=mine"]);
    ready(&kubectl, "late");
    sh(&kubectl, "late", "grep -q mine/inside /proc/self/mountinfo || touch /v/there").expect("a writable part");
    kubectl.ok(&["delete", "pods", "--all", "--grace-period=1", "--wait=false"]);
}

#[test]
fn many_small_volumes_of_several_pods_do_not_get_in_each_others_way() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("wrapped");
    let (mut maps, mut volumes, mut mounts) = (String::new(), String::new(), String::new());
    for n in 0..30 {
        let _ = write!(maps, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{n}}}\ndata: {{k: v{n}}}\n");
        let _ = write!(volumes, "{{name: m{n}, configMap: {{name: m{n}}}}}, ");
        let _ = write!(mounts, "{{name: m{n}, mountPath: /m/{n}}}, ");
    }
    kubectl
        .apply(&format!("{maps}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{k: secret}}\n"));
    let volumes = format!(
        "  volumes: [{volumes}{{name: s, secret: {{secretName: s}}}}, {{name: e, emptyDir: {{medium: Memory}}}}]\n"
    );
    let mounts = format!("    volumeMounts: [{mounts}{{name: s, mountPath: /s}}, {{name: e, mountPath: /e}}]\n");
    let names = ["a", "b", "c"];
    kubectl.apply(&names.map(|name| pod(name, "exec sleep 36000", &volumes, &mounts)).join("---\n"));
    for name in names {
        ready(&kubectl, name);
        let said = sh(&kubectl, name, "cat /m/*/k /s/k | tr -d '\\n'; touch /e/x").expect("all files");
        let wanted: Vec<String> = (0..30).map(|n| format!("v{n}")).collect();
        assert!(wanted.iter().all(|word| said.contains(word)) && said.ends_with("secret"), "{said}");
    }
    kubectl.ok(&["delete", "pods", "--all", "--wait=true", &format!("--timeout={}s", limit(60).as_secs())]);
}

#[test]
fn tokens_of_the_service_account_are_in_the_pod_and_the_api_knows_whose_they_are() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("tokens");
    kubectl.ok(&["create", "serviceaccount", "other"]);
    let projected = "  serviceAccountName: other\n  volumes:\n  - name: t\n    projected: {sources: [{serviceAccountToken: {path: own, audience: vault, expirationSeconds: 900}}]}\n";
    kubectl.apply(&pod("mounted", "exec sleep 36000", projected, "    volumeMounts: [{name: t, mountPath: /t}]\n"));
    kubectl.apply(&pod("without", "exec sleep 36000", "  automountServiceAccountToken: false\n", ""));
    ready(&kubectl, "mounted");
    ready(&kubectl, "without");
    let files = sh(
        &kubectl,
        "mounted",
        "cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; echo; grep -c BEGIN ca.crt; stat -L -c %a /t/own",
    );
    assert_eq!(files.as_deref().map(|s| s.split_whitespace().collect::<Vec<_>>()), Ok(vec!["tokens", "1", "644"]));
    let review = |file: &str, audiences: Value| {
        let token = sh(&kubectl, "mounted", &format!("cat {file}")).expect("a token");
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": audiences}});
        let answer = kubectl.fed(&["create", "-f", "-", "-o", "json"], &review.to_string());
        let told: Value = serde_json::from_str(&answer.out).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
        let text = |path: &str| told.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        assert_eq!(told.pointer("/status/authenticated"), Some(&Value::Bool(true)), "{told}");
        (text("/status/user/username"), text("/status/user/extra/authentication.kubernetes.io~1pod-name/0"))
    };
    let owner = ("system:serviceaccount:tokens:other".to_owned(), "mounted".to_owned());
    assert_eq!(review("/var/run/secrets/kubernetes.io/serviceaccount/token", Value::Null), owner);
    assert_eq!(review("/t/own", json!(["vault"])), owner);
    sh(&kubectl, "without", "test ! -e /var/run/secrets/kubernetes.io/serviceaccount").expect("no token");
}

#[test]
fn a_pod_is_resized_as_a_whole() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("whole");
    let asks = |cpu: u32, memory: u32| json!({"resources": resources([cpu, memory, cpu, memory])});
    let mut whole: Value = serde_json::from_str(&resizable("whole", &[("one", [0; 4])])).expect("a pod");
    whole["spec"]["resources"] = asks(100, 64)["resources"].clone();
    kubectl.apply(&whole.to_string());
    ready(&kubectl, "whole");
    assert_eq!(limits(&kubectl, "whole", "one"), format!("10000 100000 {}", 64 << 20));
    let patch = json!({"spec": asks(150, 96)}).to_string();
    kubectl.ok(&["patch", "pod", "whole", "--subresource", "resize", "--patch", &patch]);
    let path = "{.status.allocatedResources.cpu}/{.status.resources.limits.cpu}/{.status.resources.limits.memory} \
        {.status.conditions[?(@.type==\"PodResizeInProgress\")].status}{.status.containerStatuses[0].restartCount}";
    eventually("the new amounts", limit(60), || match kubectl.try_path(&["pod", "whole"], path)?.as_str() {
        "150m/150m/96Mi 0" => Ok(()),
        seen => Err(seen.to_owned()),
    });
    assert_eq!(limits(&kubectl, "whole", "one"), format!("15000 100000 {}", 96 << 20));
}
