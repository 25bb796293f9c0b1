//! Decisions on pods that claim devices, as a table: a cluster, a pod, and where it goes or why it does not.

use std::sync::Arc;

use rk_scheduler::{Cluster, Decision, PodInfo, decide};
use serde_json::{Value, json};

struct World(Cluster);

/// Nodes `a` and `b` in zones of the same name, and a class of all devices of driver `d`.
fn world() -> World {
    let mut cluster = Cluster::default();
    for name in ["a", "b"] {
        let node = json!({"metadata": {"name": name, "labels": {"zone": name}},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}});
        cluster.set_node(&serde_json::from_value(node).expect("a node"));
    }
    let selector = json!([{"cel": {"expression": "device.driver == 'd'"}}]);
    let class = json!({"metadata": {"name": "gpu"}, "spec": {"selectors": selector}});
    cluster.set_device_class(&Arc::new(serde_json::from_value(class).expect("a class")));
    World(cluster)
}

impl World {
    /// A pool of one node.
    fn devices(mut self, node: &str, names: &[&str]) -> Self {
        let devices: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        let pool = json!({"name": node, "generation": 1, "resourceSliceCount": 1});
        let spec = json!({"driver": "d", "nodeName": node, "pool": pool, "devices": devices});
        let slice = json!({"metadata": {"name": format!("{node}-d")}, "spec": spec});
        self.0.set_device_slice(&Arc::new(serde_json::from_value(slice).expect("a slice")));
        self
    }

    /// A claim of one device.
    fn claim(mut self, name: &str, status: Value) -> Self {
        let request =
            json!({"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}});
        let claim = json!({"metadata": {"namespace": "n", "name": name, "uid": name},
            "spec": {"devices": {"requests": [request]}}, "status": status});
        self.0.set_device_claim(&Arc::new(serde_json::from_value(claim).expect("a claim")));
        self
    }

    fn decide(&mut self, claims: &[&str], more: Value) -> Result<String, String> {
        let named: Vec<Value> = claims.iter().map(|name| json!({"name": name, "resourceClaimName": name})).collect();
        let mut spec = json!({"containers": [{"name": "c"}], "resourceClaims": named});
        for (key, value) in more.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "p"}, "spec": spec});
        let pod = PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule");
        match decide(&mut self.0, &pod) {
            Decision::Node(placement) => Ok(placement.node),
            Decision::Unschedulable(diagnosis) => Err(diagnosis.message(&diagnosis.no_victims())),
        }
    }
}

fn allocated(node: &str, device: &str) -> Value {
    let result = json!({"request": "r", "driver": "d", "pool": node, "device": device});
    let is_node = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    json!({"devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [is_node]}]}})
}

fn used_by(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"resource": "pods", "name": name, "uid": name})).collect()
}

const NOT_HELPFUL: &str = "0/2 nodes are available: 2 Preemption is not helpful for scheduling.";

#[test]
fn a_pod_goes_where_its_claims_can_have_devices() {
    let mut one = world().devices("b", &["x"]).claim("free", json!({}));
    assert_eq!(one.decide(&["free"], json!({})), Ok("b".into()));
    let mut taken = one.claim("other", json!({"allocation": allocated("b", "x")}));
    let why = "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: ";
    assert_eq!(taken.decide(&["free"], json!({})), Err(format!("{why}{NOT_HELPFUL}")));
    let mut more = taken.devices("a", &["x"]);
    assert_eq!(more.decide(&["free"], json!({})), Ok("a".into()), "a device of the same name in another pool");
    let nowhere = more.decide(&["free"], json!({"nodeSelector": {"zone": "b"}})).expect_err("b has none left");
    assert_eq!(
        nowhere,
        format!(
            "0/2 nodes are available: 1 cannot allocate all claims, 1 node(s) didn't match Pod's node affinity/selector. \
             still not schedulable, preemption: {NOT_HELPFUL}"
        )
    );
}

#[test]
fn a_pod_goes_where_the_devices_of_its_claims_are() {
    let here = |users: Value| json!({"allocation": allocated("b", "x"), "reservedFor": users});
    let mut world = world().devices("b", &["x"]).claim("settled", here(used_by(&["q"])));
    assert_eq!(world.decide(&["settled"], json!({})), Ok("b".into()), "it is shared");
    let elsewhere = json!({"nodeSelector": {"zone": "a"}});
    let stuck = |after: &str| {
        let why = "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
                   1 resourceclaim not available on the node.";
        Err(format!("{why} {after}, preemption: {NOT_HELPFUL}"))
    };
    assert_eq!(world.decide(&["settled"], elsewhere.clone()), stuck("still not schedulable"));
    let mut idle = world.claim("settled", here(used_by(&["p"])));
    assert_eq!(idle.decide(&["settled"], elsewhere.clone()), stuck("deallocation of ResourceClaim completed"));
    let mut idle = idle.claim("settled", here(json!([])));
    assert_eq!(idle.decide(&["settled"], elsewhere), stuck("deallocation of ResourceClaim completed"));
}

#[test]
fn a_pod_whose_claims_are_not_there_says_so_once_for_all_nodes() {
    let none = |why: &str| {
        Err(format!(
            "0/2 nodes are available: {why}. no new claims to deallocate, preemption: 0/2 nodes are available: 2 \
                     Preemption is not helpful for scheduling."
        ))
    };
    let mut world = world().devices("a", &["x"]);
    assert_eq!(world.decide(&["gone"], json!({})), none("resourceclaim \"gone\" not found"));
    let many: Vec<String> = (0..256).map(|n| format!("q{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut world = world.claim("full", json!({"allocation": allocated("a", "x"), "reservedFor": used_by(&many)}));
    assert_eq!(world.decide(&["full"], json!({})), none("resourceclaim in use"));
    let failing = json!({"metadata": {"name": "gpu"}, "spec": {"selectors":
        [{"cel": {"expression": "device.attributes['d'].cores > 1"}}]}});
    world.0.set_device_class(&Arc::new(serde_json::from_value(failing).expect("a class")));
    let mut world = world.devices("a", &["x", "y"]).claim("free", json!({}));
    // Only where there is a device is anything asked of it.
    let said = world.decide(&["free"], json!({"nodeSelector": {"zone": "a"}})).expect_err("the selector fails");
    assert!(said.contains("class gpu: selector #0: CEL runtime error: no such key: cores."), "{said}");
}

#[test]
fn a_pod_whose_volumes_are_missing_is_told_of_as_if_nobody_looked_for_devices() {
    let volumes = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    let told = world().decide(&[], volumes);
    assert_eq!(told, Err("0/2 nodes are available: persistentvolumeclaim \"data\" not found. not found".into()));
}

#[test]
fn a_pod_that_asks_by_the_name_of_a_resource_goes_where_its_class_has_devices() {
    let asks = |resource: &str, amount: &str| json!({"containers": [{"name": "c", "resources": {"requests": {resource: amount}}}]});
    let (lamp, implicit) = ("example.com/lamp", "deviceclass.resource.kubernetes.io/gpu");
    let stuck = |why: &str| Err(format!("0/2 nodes are available: {why}, preemption: {NOT_HELPFUL}"));
    let mut world = world().devices("b", &["x"]);
    let unknown = stuck("2 Insufficient example.com/lamp. no new claims to deallocate");
    assert_eq!(world.decide(&[], asks(lamp, "1")), unknown, "no class stands behind it");
    assert_eq!(world.decide(&[], asks(implicit, "1")), Ok("b".into()));
    let class = json!({"metadata": {"name": "lamps"}, "spec": {"extendedResourceName": lamp}});
    world.0.set_device_class(&Arc::new(serde_json::from_value(class).expect("a class")));
    assert_eq!(world.decide(&[], asks(lamp, "1")), Ok("b".into()));
    let few = stuck("2 cannot allocate all claims. still not schedulable");
    assert_eq!(world.decide(&[], asks(lamp, "2")), few);
    let mut world = world.claim("mine", json!({}));
    assert_eq!(world.decide(&["mine"], asks(lamp, "1")), few, "one device is not given twice");
    let offers = json!({"metadata": {"name": "a", "labels": {"zone": "a"}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10", lamp: "2"}}});
    world.0.set_node(&serde_json::from_value(offers).expect("a node"));
    assert_eq!(world.decide(&[], asks(lamp, "2")), Ok("a".into()), "a device plugin brings them there");
    let short = "1 Insufficient example.com/lamp, 1 cannot allocate all claims. still not schedulable";
    assert_eq!(world.decide(&[], asks(lamp, "3")), stuck(short));
    let offers = json!({"metadata": {"name": "a", "labels": {"zone": "a"}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10", lamp: "64"}}});
    world.0.set_node(&serde_json::from_value(offers).expect("a node"));
    assert_eq!(world.decide(&[], asks(lamp, "40")), Ok("a".into()), "no claim has so many, and none is needed there");
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    let claim = json!({"metadata": {"namespace": "n", "name": "p-extended-resources-x", "uid": "left",
        "ownerReferences": owner, "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"}}, "spec": {}});
    world.0.set_device_claim(&Arc::new(serde_json::from_value(claim).expect("a claim")));
    let left = "2 cannot schedule extended resource claim. deletion of ResourceClaim completed";
    assert_eq!(world.decide(&[], asks(lamp, "1")), stuck(left), "what an earlier attempt left has to go");
    assert_eq!(world.decide(&[], asks("cpu", "1")).map(|_| ()), Ok(()), "it matters to nobody who asks for none");
}

#[test]
fn a_pod_without_claims_is_told_of_in_the_same_words() {
    let said = world().decide(&[], json!({"nodeSelector": {"zone": "c"}})).expect_err("no such zone");
    assert_eq!(
        said,
        format!(
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, \
             preemption: {NOT_HELPFUL}"
        )
    );
}
