//! Decisions as a table: a cluster, a pod, and where it goes or why it does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use rk_scheduler::{Cluster, Decision, PodInfo, decide};
use serde_json::{Value, json};

fn info(pod: Value) -> Arc<PodInfo> {
    Arc::new(PodInfo::new(&serde_json::from_value(pod).unwrap()).unwrap())
}

fn pod(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    let containers = json!([{"name": "c", "image": "app"}]);
    spec.as_object_mut().unwrap().entry("containers").or_insert(containers);
    json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"}}, "spec": spec})
}

fn node(name: &str, zone: &str, more: Value) -> Value {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
    });
    for (section, fields) in more.as_object().unwrap() {
        for (key, value) in fields.as_object().unwrap() {
            node[section][key] = value.clone();
        }
    }
    node
}

struct World(Cluster);

impl World {
    fn new(nodes: Vec<Value>) -> Self {
        let mut cluster = Cluster::default();
        for node in nodes {
            cluster.set_node(&serde_json::from_value(node).unwrap());
        }
        cluster.set_namespace(
            &serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"team": "a"}}})).unwrap(),
        );
        Self(cluster)
    }

    fn with(mut self, node: &str, pod: Value) -> Self {
        self.0.place(info(pod), node);
        self
    }

    fn decide(&mut self, pod: Value) -> Result<String, String> {
        match decide(&mut self.0, &info(pod)) {
            Decision::Node(placement) => Ok(placement.node),
            Decision::Unschedulable(diagnosis) => Err(diagnosis.message("")),
        }
    }
}

fn requests(cpu: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
}

#[test]
fn what_the_pod_cannot_have_is_said_per_node() {
    let nodes = vec![
        node("a", "z1", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}})),
        node("b", "z1", json!({"spec": {"unschedulable": true}})),
        node("c", "z1", json!({"status": {"allocatable": {"cpu": "1", "memory": "8Gi", "pods": "10"}}})),
        node("d", "z1", json!({"status": {"allocatable": {"cpu": "1", "memory": "8Gi", "pods": "0"}}})),
    ];
    let said = World::new(nodes).decide(pod("p", requests("2"))).unwrap_err();
    assert_eq!(
        said,
        "0/4 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, \
         2 Insufficient cpu."
    );
    assert_eq!(World::new(vec![]).decide(pod("p", json!({}))), Err("no nodes available to schedule pods".into()));
}

#[test]
fn tolerations_and_selectors_steer() {
    let nodes = || {
        vec![
            node("tainted", "z1", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}})),
            node("plain", "z2", json!({})),
        ]
    };
    let tolerant = json!({"tolerations": [{"key": "k", "operator": "Exists"}], "nodeSelector": {"topology.kubernetes.io/zone": "z1"}});
    assert_eq!(World::new(nodes()).decide(pod("p", tolerant)), Ok("tainted".into()));
    assert_eq!(World::new(nodes()).decide(pod("p", json!({}))), Ok("plain".into()));
    let by_name = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["tainted"]}]}]}}}});
    assert_eq!(
        World::new(nodes()).decide(pod("p", by_name)),
        Err("0/2 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity], 1 node(s) had untolerated taint(s).".into())
    );
}

#[test]
fn a_pod_that_names_its_nodes_is_asked_of_no_others() {
    let named = |terms: &[&[&[&str]]]| {
        let field = |names: &&[&str]| json!({"key": "metadata.name", "operator": "In", "values": names});
        let term = |fields: &&[&[&str]]| json!({"matchFields": fields.iter().map(field).collect::<Vec<_>>()});
        let terms: Vec<Value> = terms.iter().map(term).collect();
        let nodes = vec![node("a", "z1", json!({})), node("b", "z1", json!({"spec": {"unschedulable": true}}))];
        World::new(nodes).decide(pod(
            "p",
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": terms}}}}),
        ))
    };
    let refused = |why: &str| Err(format!("0/2 nodes are available: {why}."));
    assert_eq!(named(&[&[&["a"]]]), Ok("a".into()));
    assert_eq!(named(&[&[&["b"]], &[&["a", "gone"]]]), Ok("a".into()), "one of several will do");
    assert_eq!(
        named(&[&[&["b"]]]),
        refused("1 node(s) didn't satisfy plugin(s) [NodeAffinity], 1 node(s) were unschedulable")
    );
    assert_eq!(named(&[&[&["gone"]]]), refused("2 node(s) didn't satisfy plugin(s) [NodeAffinity]"));
    assert_eq!(named(&[&[&["a"], &["b"]]]), refused("pod affinity terms conflict"));
    assert_eq!(
        named(&[&[]]),
        refused("1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable")
    );
}

#[test]
fn a_pod_goes_where_the_node_declares_what_it_needs() {
    let nodes = |features: Value| vec![node("a", "z1", json!({"status": {"declaredFeatures": features}}))];
    let rule = |action: &str| {
        json!({"containers": [{"name": "c", "image": "app", "restartPolicy": "Never", "restartPolicyRules":
            [{"action": action, "exitCodes": {"operator": "In", "values": [42]}}]}]})
    };
    let none = nodes(json!(["ExtendWebSocketsToKubelet"]));
    let all = pod("p", rule("RestartAllContainers"));
    assert_eq!(
        World::new(none.clone()).decide(all.clone()),
        Err("0/1 nodes are available: 1 node(s) didn't match Pod's required features.".into())
    );
    assert_eq!(World::new(none).decide(pod("p", rule("Restart"))), Ok("a".into()));
    let some = nodes(json!(["RestartAllContainersOnContainerExits"]));
    assert_eq!(World::new(some).decide(all), Ok("a".into()));
}

#[test]
fn preferences_decide_among_equals() {
    let nodes = || vec![node("a", "z1", json!({})), node("b", "z2", json!({}))];
    let likes_z2 = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["z2"]}]}}]}}});
    assert_eq!(World::new(nodes()).decide(pod("p", likes_z2)), Ok("b".into()));
    let busy = World::new(nodes()).with("a", pod("x", requests("3")));
    assert_eq!({ busy }.decide(pod("p", requests("500m"))), Ok("b".into()));
}

#[test]
fn replicas_of_one_controller_spread_over_the_nodes() {
    let mut world =
        World::new(vec![node("a", "z1", json!({})), node("b", "z1", json!({})), node("c", "z1", json!({}))]);
    let mut used = BTreeSet::new();
    for name in ["p1", "p2", "p3"] {
        let mut replica = pod(name, json!({}));
        replica["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}]);
        let node = world.decide(replica.clone()).unwrap();
        world = world.with(&node, replica);
        used.insert(node);
    }
    assert_eq!(used.len(), 3);
}

#[test]
fn strict_spread_constraints_hold() {
    let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let nodes = || {
        vec![
            node("a", "z1", json!({})),
            node("b", "z2", json!({})),
            node("c", "z1", json!({"spec": {"unschedulable": true}})),
        ]
    };
    let mut world = World::new(nodes()).with("a", pod("x", json!({})));
    assert_eq!(world.decide(pod("p", spread.clone())), Ok("b".into()));
    let mut only_z1 = spread;
    only_z1["nodeSelector"] = json!({"kubernetes.io/hostname": "a"});
    only_z1["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = json!("Ignore");
    assert_eq!(
        world.decide(pod("p", only_z1)),
        Err("0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) didn't match pod topology \
             spread constraints, 1 node(s) were unschedulable."
            .into())
    );
}

#[test]
fn a_spread_constraint_with_an_empty_selector_counts_nobody() {
    let spread = json!({"nodeSelector": {"kubernetes.io/hostname": "a"}, "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {}, "nodeAffinityPolicy": "Ignore"}]});
    let nodes = vec![node("a", "z1", json!({})), node("b", "z2", json!({}))];
    assert_eq!(World::new(nodes).with("a", pod("x", json!({}))).decide(pod("p", spread)), Ok("a".into()));
}

#[test]
fn pods_keep_near_and_apart() {
    let term = json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"});
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let nodes = || vec![node("a", "z1", json!({})), node("b", "z2", json!({}))];
    let with_one = || World::new(nodes()).with("a", pod("x", json!({})));
    assert_eq!(with_one().decide(pod("p", near.clone())), Ok("a".into()));
    assert!(World::new(nodes()).decide(pod("p", near)).is_ok(), "the first of a group may start anywhere");
    assert_eq!(with_one().decide(pod("p", apart.clone())), Ok("b".into()));
    let mut shy = World::new(nodes()).with("a", pod("x", apart.clone()));
    assert_eq!(shy.decide(pod("p", json!({}))), Ok("b".into()), "the wish to be alone binds others too");
    let mut full = with_one().with("b", pod("y", json!({})));
    assert_eq!(
        full.decide(pod("p", apart)),
        Err("0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.".into())
    );
}

#[test]
fn host_ports_and_volumes_bind_to_nodes() {
    let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let nodes = || vec![node("a", "z1", json!({})), node("b", "z2", json!({}))];
    let mut taken = World::new(nodes()).with("a", pod("x", port.clone()));
    assert_eq!(taken.decide(pod("p", port)), Ok("b".into()));

    let claim = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    let mut world = World::new(nodes());
    assert_eq!(
        world.decide(pod("p", claim.clone())),
        Err("0/2 nodes are available: persistentvolumeclaim \"data\" not found.".into())
    );
    let mut pvc = json!({"metadata": {"name": "data", "namespace": "n"}, "spec": {"volumeName": "pv"}});
    world.0.set_claim(&serde_json::from_value(pvc.clone()).unwrap());
    assert_eq!(
        world.decide(pod("p", claim.clone())),
        Err("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.".into())
    );
    pvc["status"] = json!({"phase": "Bound"});
    world.0.set_claim(&serde_json::from_value(pvc).unwrap());
    let volume = json!({"metadata": {"name": "pv"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}]}}}});
    world.0.set_volume(&serde_json::from_value(volume).unwrap());
    assert_eq!(world.decide(pod("p", claim)), Ok("b".into()));
}
