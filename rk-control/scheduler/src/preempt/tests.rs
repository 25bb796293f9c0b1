use super::*;
use crate::decide::{Decision, decide};
use serde_json::{Value, json};

fn pod(name: &str, priority: i32, cpu: &str) -> Arc<PodInfo> {
    let pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": name}},
        "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    Arc::new(PodInfo::new(&serde_json::from_value(pod).unwrap()).unwrap())
}

/// A pod's name, priority and request for processors.
type Row<'a> = (&'a str, i32, &'a str);

fn cluster(nodes: &[(&str, &[Row])]) -> Cluster {
    let mut cluster = Cluster::default();
    for (name, pods) in nodes {
        let node = json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4", "pods": "10"}}});
        cluster.set_node(&serde_json::from_value(node).unwrap());
        for (pod_name, priority, cpu) in *pods {
            cluster.place(pod(pod_name, *priority, cpu), name);
        }
    }
    cluster
}

fn evict(cluster: &mut Cluster, pod: &PodInfo, budgets: &[Budget]) -> Option<(String, Vec<String>)> {
    let Decision::Unschedulable(diagnosis) = decide(cluster, pod) else { panic!("the pod fits without eviction") };
    let eviction = preempt(cluster, pod, &diagnosis, budgets)?;
    Some((eviction.node, eviction.victims.iter().map(|victim| victim.key.name.clone()).collect()))
}

fn budget(app: &str, allowed: i32) -> Budget {
    let budget: Value = json!({"metadata": {"name": app, "namespace": "n"},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    Budget::new(&serde_json::from_value(budget).unwrap()).unwrap()
}

#[test]
fn as_few_and_as_unimportant_pods_as_possible_leave() {
    let mut cluster = cluster(&[("a", &[("a1", 5, "2"), ("a2", 1, "2")]), ("b", &[("b1", 5, "3")])]);
    assert_eq!(evict(&mut cluster, &pod("new", 10, "2"), &[]), Some(("a".into(), vec!["a2".into()])));
}

#[test]
fn equals_and_pods_that_may_not_preempt_evict_nobody() {
    let mut full = cluster(&[("a", &[("a1", 10, "4")])]);
    assert_eq!(evict(&mut full, &pod("new", 10, "2"), &[]), None);
    let mut meek = PodInfo::clone(&pod("meek", 20, "2"));
    meek.preemption = Preemption::Never;
    assert_eq!(evict(&mut full, &meek, &[]), None);
    let Decision::Unschedulable(diagnosis) = decide(&mut full, &meek) else { panic!("it is full") };
    let why = ineligible(&full, &meek, &diagnosis).expect("it may not");
    assert_eq!(
        diagnosis.message(why),
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to \
         preemptionPolicy=Never."
    );
}

#[test]
fn who_has_not_begun_leaves_before_who_has() {
    let mut cluster = cluster(&[("a", &[("late", 1, "2")])]);
    let started = "2026-01-01T00:00:00Z".parse().unwrap();
    cluster.place(Arc::new(PodInfo { started, ..PodInfo::clone(&pod("begun", 1, "2")) }), "a");
    assert_eq!(evict(&mut cluster, &pod("new", 10, "2"), &[]), Some(("a".into(), vec!["late".into()])));
}

#[test]
fn who_is_promised_room_keeps_others_off_as_if_it_were_there() {
    let user = |name: &str, priority: i32, spec: &Value| {
        let mut pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}});
        spec.as_object().into_iter().flatten().for_each(|(key, value)| pod["spec"][key] = value.clone());
        pod["spec"]["priority"] = json!(priority);
        Arc::new(PodInfo::new(&serde_json::from_value(pod).unwrap()).unwrap())
    };
    let with = |affinity: &str, app: &str| {
        let term = json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "host"});
        json!({"containers": [], "affinity": {affinity: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
    };
    let (port, plain) = (json!({}), json!({"containers": []}));
    let selector = json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]});
    let apart = json!({"containers": [], "topologySpreadConstraints": [{"maxSkew": 1, "minDomains": 2,
        "topologyKey": "host", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}]});
    for (promised, asks, priority, fits) in [
        (&port, &port, 1, false),
        (&port, &port, 11, true),
        (&port, &plain, 1, true),
        (&plain, &with("podAntiAffinity", "first"), 1, false),
        (&with("podAntiAffinity", "second"), &plain, 1, false),
        (&with("podAntiAffinity", "third"), &plain, 1, true),
        (&plain, &apart, 1, false),
        (&plain, &apart, 11, true),
        // It may never come.
        (&plain, &with("podAffinity", "first"), 1, false),
    ] {
        let mut cluster = Cluster::default();
        let node =
            json!({"metadata": {"name": "a", "labels": {"host": "a"}}, "status": {"allocatable": {"pods": "9"}}});
        cluster.set_node(&serde_json::from_value(node).unwrap());
        cluster.nominate(user("first", 10, promised), "a");
        let decision = decide(&mut cluster, &user("second", priority, asks));
        assert_eq!(matches!(decision, Decision::Node(_)), fits, "{promised} {asks} {priority}");
    }
}

#[test]
fn what_only_one_pod_may_use_is_anothers_until_that_leaves() {
    let mut cluster = cluster(&[("a", &[]), ("b", &[])]);
    let claim = json!({"metadata": {"name": "data", "namespace": "n"}, "status": {"phase": "Bound"},
        "spec": {"volumeName": "pv", "accessModes": ["ReadWriteOncePod"]}});
    cluster.set_claim(&serde_json::from_value(claim).unwrap());
    cluster.set_volume(&serde_json::from_value(json!({"metadata": {"name": "pv"}})).unwrap());
    let user = |name: &str, priority: i32| {
        Arc::new(PodInfo { claims: vec!["data".to_owned()], ..PodInfo::clone(&pod(name, priority, "1")) })
    };
    cluster.place(user("has", 5), "a");
    assert_eq!(evict(&mut cluster, &user("lesser", 1), &[]), None);
    assert_eq!(evict(&mut cluster, &user("greater", 10), &[]), Some(("a".into(), vec!["has".into()])));
    cluster.remove_pod(&user("has", 5).key);
    assert!(matches!(decide(&mut cluster, &user("lesser", 1)), Decision::Node(_)));
}

#[test]
fn a_pod_larger_than_every_node_evicts_nobody() {
    let mut cluster = cluster(&[("a", &[("a1", 0, "1")])]);
    assert_eq!(evict(&mut cluster, &pod("huge", 10, "5"), &[]), None);
}

#[test]
fn a_budget_is_broken_only_when_nothing_else_helps() {
    let mut cluster = cluster(&[("a", &[("guarded", 1, "4")]), ("b", &[("free", 2, "4")])]);
    let budgets = [budget("guarded", 0)];
    assert_eq!(evict(&mut cluster, &pod("new", 10, "2"), &budgets), Some(("b".into(), vec!["free".into()])));
    cluster.remove_node("b");
    assert_eq!(evict(&mut cluster, &pod("new", 10, "2"), &budgets), Some(("a".into(), vec!["guarded".into()])));
}

#[test]
fn no_budget_is_broken_while_a_node_is_left_where_none_has_to_be() {
    let mut cluster = cluster(&[]);
    for number in 0..=MIN_CANDIDATES {
        let (name, last) = (format!("n{number}"), number == MIN_CANDIDATES);
        let node = json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4", "pods": "10"}}});
        cluster.set_node(&serde_json::from_value(node).unwrap());
        let app = if last { "free" } else { "guarded" };
        let labels = [("app".to_owned(), app.to_owned())].into();
        let own = PodInfo { labels, ..PodInfo::clone(&pod(&format!("p{number}"), if last { 5 } else { 1 }, "4")) };
        cluster.place(Arc::new(own), &name);
    }
    let (node, _) = evict(&mut cluster, &pod("new", 10, "2"), &[budget("guarded", 0)]).unwrap();
    assert_eq!(node, format!("n{MIN_CANDIDATES}"));
}

#[test]
fn who_waits_for_victims_evicts_no_others_unless_the_node_is_lost_to_it() {
    let mut cluster = cluster(&[("a", &[]), ("b", &[("b1", 1, "4")])]);
    let leaving = PodInfo { gives_way: true, ..PodInfo::clone(&pod("a1", 1, "4")) };
    cluster.place(Arc::new(leaving), "a");
    let new = PodInfo { nominated: Some("a".into()), ..PodInfo::clone(&pod("new", 10, "2")) };
    assert_eq!(evict(&mut cluster, &new, &[]), None);
    let Decision::Unschedulable(diagnosis) = decide(&mut cluster, &new) else { panic!("both are full") };
    let waits = Some("not eligible due to a terminating pod on the nominated node.");
    assert_eq!(ineligible(&cluster, &new, &diagnosis), waits);
    cluster.place(Arc::new(PodInfo { deleting: true, ..PodInfo::clone(&pod("a1", 1, "4")) }), "a");
    assert_eq!(ineligible(&cluster, &new, &diagnosis), None, "it leaves for another reason");
    cluster.place(Arc::new(PodInfo { gives_way: true, ..PodInfo::clone(&pod("a1", 1, "4")) }), "a");
    let cordoned = json!({"metadata": {"name": "a"}, "spec": {"unschedulable": true},
        "status": {"allocatable": {"cpu": "4", "pods": "10"}}});
    cluster.set_node(&serde_json::from_value(cordoned).unwrap());
    assert_eq!(evict(&mut cluster, &new, &[]), Some(("b".into(), vec!["b1".into()])));
}

#[test]
fn all_nodes_share_the_steps_of_the_search_for_devices() {
    let mut cluster = cluster(&[("a", &[("a1", 2, "4")]), ("b", &[("b1", 1, "4")])]);
    let class = json!({"metadata": {"name": "any"}, "spec": {}});
    cluster.set_device_class(&Arc::new(serde_json::from_value(class).unwrap()));
    for node in ["a", "b"] {
        let pool = json!({"name": node, "generation": 1, "resourceSliceCount": 1});
        let slice = json!({"metadata": {"name": node},
            "spec": {"driver": "d", "nodeName": node, "pool": pool, "devices": [{"name": "x"}]}});
        cluster.set_device_slice(&Arc::new(serde_json::from_value(slice).unwrap()));
    }
    let request = json!({"name": "r", "exactly": {"deviceClassName": "any"}});
    let claim =
        json!({"metadata": {"name": "c", "namespace": "n", "uid": "c"}, "spec": {"devices": {"requests": [request]}}});
    cluster.set_device_claim(&Arc::new(serde_json::from_value(claim).unwrap()));
    let new = json!({"metadata": {"name": "new", "namespace": "n", "uid": "new"}, "spec": {"priority": 10,
        "resourceClaims": [{"name": "r", "resourceClaimName": "c"}],
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}});
    let new = PodInfo::new(&serde_json::from_value(new).unwrap()).unwrap();
    let Decision::Unschedulable(diagnosis) = decide(&mut cluster, &new) else { panic!("both are full") };
    let chosen = |steps: u64| preempt_within(&Cell::new(steps), &cluster, &new, &diagnosis, &[]).map(|own| own.node);
    assert_eq!(chosen(100).as_deref(), Some("b"), "its pod is the least important");
    assert_eq!(chosen(2).as_deref(), Some("a"), "the first takes one, and the last is one too few to be sure");
    assert_eq!(chosen(1), None);
}
