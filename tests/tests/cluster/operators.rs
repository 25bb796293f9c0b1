//! `rkctl` beside kubectl: a new cluster has an operator, too.

use super::cluster;
use rk_tests::{Operator, limit};

#[test]
fn the_operator_of_a_new_cluster_finds_all_of_its_machines_and_they_are_well() {
    let shared = cluster();
    let state = shared.cluster.state();
    let file = state.operator.as_ref().expect("an operator's file").display().to_string();
    let operator = Operator::new(&shared.artifacts, &shared.artifacts.work);
    let rkctl = |args: &[&str]| operator.run(&[&["--rkctl-config", &file, "--timeout", "120"], args].concat());
    let wait = format!("{}s", limit(60).as_secs());
    rkctl(&["health", "--wait", &wait]).good();
    let told = rkctl(&["version"]).good();
    for node in &state.nodes {
        assert!(told.contains(&node.name), "{} is missing:\n{told}", node.name);
    }
}
