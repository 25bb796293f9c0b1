use super::*;
use serde_json::{Value, json};

fn pod(name: &str, claims: &[&str]) -> PodInfo {
    let volume = |claim: &&str| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
    let volumes: Vec<Value> = claims.iter().map(volume).collect();
    let pod = json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"containers": [], "volumes": volumes}});
    PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule")
}

fn node(name: &str) -> NodeInfo {
    let labels = [("zone".to_owned(), name.to_owned())].into();
    NodeInfo { name: name.to_owned(), labels, ..NodeInfo::default() }
}

fn add_claim(storage: &mut Storage, name: &str, class: &str, size: &str, selected: Option<&str>) {
    let annotations = json!({"volume.kubernetes.io/selected-node": selected});
    let annotations = if selected.is_some() { annotations } else { json!({}) };
    let spec = json!({"storageClassName": class, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
    let claim =
        json!({"metadata": {"name": name, "namespace": "n", "uid": name, "annotations": annotations}, "spec": spec});
    storage.set_claim(&serde_json::from_value(claim).expect("a claim"));
}

fn add_volume(storage: &mut Storage, name: &str, size: &str, zone: &str) {
    let reach = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]}});
    let spec = json!({"storageClassName": "local", "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
        "nodeAffinity": reach});
    let volume = json!({"metadata": {"name": name}, "spec": spec, "status": {"phase": "Available"}});
    storage.set_volume(&serde_json::from_value(volume).expect("a volume"));
}

fn add_class(storage: &mut Storage, name: &str, provisioner: &str, zones: Value) {
    let topologies = json!([{"matchLabelExpressions": [{"key": "zone", "values": zones}]}]);
    let class = json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer",
        "allowedTopologies": if zones == json!([]) { json!([]) } else { topologies }});
    storage.set_class(&serde_json::from_value(class).expect("a class"));
}

fn given(storage: &Storage, pod: &PodInfo, on: &str) -> Result<Vec<Option<String>>, &'static str> {
    storage.choose(pod, &node(on)).map(|all| all.into_iter().map(|choice| choice.volume).collect())
}

#[test]
fn claims_that_wait_get_volumes_that_their_node_reaches_and_no_two_the_same() {
    let mut storage = Storage::default();
    add_class(&mut storage, "local", "kubernetes.io/no-provisioner", json!([]));
    for (name, size, zone) in [("a-big", "9Gi", "a"), ("a-small", "1Gi", "a"), ("b-big", "9Gi", "b")] {
        add_volume(&mut storage, name, size, zone);
    }
    add_claim(&mut storage, "large", "local", "5Gi", None);
    add_claim(&mut storage, "little", "local", "1Gi", None);
    let both = pod("p", &["large", "little"]);
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(storage.problem(&both), None);
    assert_eq!(given(&storage, &both, "a"), Ok(vec![some("a-small"), some("a-big")]));
    assert_eq!(given(&storage, &both, "b"), Err(NOTHING_TO_BIND));
    let (first, second) = (pod("first", &["little"]), pod("second", &["large"]));
    let choices = storage.choose(&first, &node("b")).expect("there is one");
    storage.promise(&first.key, "b", &choices);
    assert_eq!(given(&storage, &second, "b"), Err(NOTHING_TO_BIND), "it is another's by now");
    assert_eq!(given(&storage, &pod("third", &["little"]), "a"), Err(NOTHING_TO_BIND), "it is bound for b");
    assert_eq!(given(&storage, &pod("third", &["little"]), "b"), Ok(vec![]));
    storage.release(&first.key);
    assert_eq!(given(&storage, &second, "b"), Ok(vec![some("b-big")]));
    storage.promise(&second.key, "b", &storage.choose(&second, &node("b")).expect("there is one"));
    assert!(!storage.is_given_up(&second));
    storage.remove_volume("b-big");
    assert!(storage.is_given_up(&second), "there is nothing to wait for");
    let large = ObjectKey::new("n", "large");
    storage.remove_claim(&large);
    add_claim(&mut storage, "large", "local", "5Gi", None);
    assert_eq!(given(&storage, &second, "a"), Ok(vec![some("a-big")]), "it is another claim by now");
}

#[test]
fn a_pod_is_told_which_volume_its_claim_has_lost() {
    let mut storage = Storage::default();
    let mut claim =
        json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {"volumeName": "pv"}, "status": {"phase": "Lost"}});
    let told = |storage: &Storage| storage.problem(&pod("p", &["c"])).map(|problem| problem.message());
    storage.set_claim(&serde_json::from_value(claim.clone()).expect("a claim"));
    let lost = "persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"pv\"";
    assert_eq!(told(&storage).as_deref(), Some(lost));
    claim["status"]["phase"] = json!("Bound");
    storage.set_claim(&serde_json::from_value(claim).expect("a claim"));
    assert_eq!(told(&storage), None);
}

#[test]
fn a_pod_waits_for_the_claim_that_is_made_for_it_and_takes_no_other_of_its_name() {
    let mut storage = Storage::default();
    let volumes = json!([{"name": "a", "persistentVolumeClaim": {"claimName": "p-a"}}, {"name": "v", "ephemeral": {}}]);
    let own = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [], "volumes": volumes}});
    let own = PodInfo::new(&serde_json::from_value(own).expect("a pod")).expect("a pod to schedule");
    let told = |storage: &Storage| storage.problem(&own).map(|problem| problem.message());
    let add = |storage: &mut Storage, name: &str, owner: &str, status: Value| {
        let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true}]);
        let claim = json!({"metadata": {"name": name, "namespace": "n", "ownerReferences": owner},
            "spec": {"volumeName": name}, "status": status});
        storage.set_claim(&serde_json::from_value(claim).expect("a claim"));
    };
    // That of its name is no claim that was made for it.
    add(&mut storage, "p-a", "other", json!({"phase": "Pending"}));
    let waits = "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-v\"";
    assert_eq!(told(&storage).as_deref(), Some(waits));
    add(&mut storage, "p-v", "other", json!({"phase": "Bound"}));
    let strange = "PVC n/p-v was not created for pod n/p (pod is not owner)";
    assert_eq!(told(&storage).as_deref(), Some(strange));
    add(&mut storage, "p-v", "u", json!({"phase": "Bound"}));
    assert_eq!(told(&storage).as_deref(), Some("pod has unbound immediate PersistentVolumeClaims"));
    add(&mut storage, "p-a", "other", json!({"phase": "Bound"}));
    assert_eq!(told(&storage), None);
}

#[test]
fn volumes_are_made_where_their_class_and_an_earlier_choice_allow_it() {
    let mut storage = Storage::default();
    add_class(&mut storage, "fast", "csi.example", json!(["a", "c"]));
    add_claim(&mut storage, "new", "fast", "1Gi", None);
    add_claim(&mut storage, "begun", "fast", "1Gi", Some("c"));
    let fresh = pod("p", &["new"]);
    assert_eq!(given(&storage, &fresh, "a"), Ok(vec![None]));
    assert_eq!(given(&storage, &fresh, "b"), Err(NOTHING_TO_BIND));
    assert_eq!(given(&storage, &pod("q", &["begun"]), "a"), Err(NOTHING_TO_BIND));
    assert_eq!(given(&storage, &pod("q", &["begun"]), "c"), Ok(vec![None]));
    assert!(!storage.is_given_up(&pod("q", &["begun"])));
    storage.promise(&fresh.key, "a", &storage.choose(&fresh, &node("a")).expect("it can be made"));
    assert!(storage.is_given_up(&fresh), "nobody is asked to make it any more");
    assert!(!storage.is_given_up(&pod("other", &["new"])), "who waits for another's choice goes on waiting");
    assert!(storage.is_given_up(&pod("lost", &["gone"])));
    storage.release(&fresh.key);
    let driver = json!({"metadata": {"name": "csi.example"}, "spec": {"storageCapacity": true}});
    storage.capacities.set_driver(&serde_json::from_value(driver).expect("a driver"));
    assert_eq!(given(&storage, &fresh, "a"), Err(NO_SPACE));
}

#[test]
fn a_node_takes_as_many_volumes_of_a_driver_as_that_says() {
    let mut storage = Storage::default();
    add_class(&mut storage, "fast", "csi.example", json!([]));
    ["one", "two"].into_iter().for_each(|name| add_claim(&mut storage, name, "fast", "1Gi", None));
    let mut there = node("a");
    there.add_pod(std::sync::Arc::new(pod("running", &["one"])));
    assert!(storage.within_limits(&pod("p", &["two"]), &there), "nobody says how many");
    let limits = json!({"metadata": {"name": "a"}, "spec": {"drivers": [
        {"name": "csi.example", "nodeID": "a", "allocatable": {"count": 1}}, {"name": "other", "nodeID": "a"}]}});
    storage.set_limits(&serde_json::from_value(limits).expect("a CSINode"));
    assert!(!storage.within_limits(&pod("p", &["two"]), &there));
    assert!(storage.within_limits(&pod("p", &["one"]), &there), "it is there already");
    assert!(storage.within_limits(&pod("p", &[]), &there));
    storage.remove_limits("a");
    assert!(storage.within_limits(&pod("p", &["two"]), &there));
}
