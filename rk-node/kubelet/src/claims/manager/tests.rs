//! Claims without drivers: what is held, given and taken for prepared.

use super::*;
use kube::client::Body;
use serde_json::json;

/// The claims of a node without drivers.
fn claims(dir: &Path) -> Claims {
    let api = tower::service_fn(|_: http::Request<Body>| {
        std::future::ready(Ok::<_, tower::BoxError>(http::Response::new(Body::empty())))
    });
    Claims::open(dir, kube::Client::new(api, "default"), "n", Arc::default())
}

fn claim() -> Claim {
    let drivers = BTreeMap::from([("d".to_owned(), Vec::new())]);
    Claim { uid: "1".to_owned(), name: "x".to_owned(), namespace: "ns".to_owned(), drivers, ..Default::default() }
}

fn prepare(table: &mut Table) -> Result<(), String> {
    let device = Device { cdi_ids: vec!["v/k=0".to_owned()], ..Default::default() };
    table.note("ns/x", "d", vec![device]);
    table.prepared(["ns/x".to_owned()].iter());
    Ok(())
}

#[tokio::test]
async fn a_claim_is_a_pod_s_once_its_devices_are_known_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {
        "containers": [{"name": "c", "resources": {"claims": [{"name": "a"}]}}],
        "resourceClaims": [{"name": "a", "resourceClaimName": "x"}]}}))
    .unwrap();
    let given = |claims: &Claims| {
        let mut config = cri::ContainerConfig::default();
        claims.provide(&pod, &spec::app_containers(&pod)[0], &mut config).map(|()| config.cdi_devices.len())
    };
    let before = claims(dir.path());
    before.change(|table| table.refer("u", claim())).unwrap();
    assert!(!before.are_held(&pod) && given(&before).is_err(), "no driver has prepared it");
    before.change(prepare).unwrap();
    for claims in [&before, &claims(dir.path())] {
        assert!(claims.are_held(&pod));
        assert_eq!(given(claims), Ok(1));
    }
}

#[tokio::test]
async fn what_may_have_been_taken_back_is_prepared_anew_for_the_next_pod() {
    let dir = tempfile::tempdir().unwrap();
    let claims = claims(dir.path());
    claims.change(|table| table.refer("u", claim())).unwrap();
    claims.change(prepare).unwrap();
    let problem = "unprepare dynamic resources: DRA driver d is not registered";
    assert_eq!(claims.unprepare("u").await, Err(problem.to_owned()));
    assert!(claims.has_any("u") && !claims.has_any("other"), "it is not over for the pod");
    assert_eq!(claims.change(|table| table.refer("other", claim())), Ok(true));
    assert_eq!(claims.unprepare("u").await, Ok(()), "the other one has it");
    assert_eq!(claims.holders(), BTreeSet::from(["other".to_owned()]));
}

#[tokio::test]
async fn a_table_that_cannot_be_read_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(CHECKPOINT), "{\"ns/x\": ").unwrap();
    let broken = claims(dir.path());
    assert!(broken.holders().is_empty());
    broken.change(|table| table.refer("u", claim())).unwrap();
    assert_eq!(claims(dir.path()).holders(), BTreeSet::from(["u".to_owned()]));
}
