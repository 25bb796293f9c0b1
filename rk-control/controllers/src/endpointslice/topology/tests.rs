//! Which zones endpoints are for, case by case.

use super::super::plan::Group;
use super::*;
use serde_json::json;

const HALVES: [(&str, f64); 2] = [("a", 0.5), ("b", 0.5)];

fn node(zone: Option<&str>, cpu: &str, ready: &str, label: &str) -> Arc<Node> {
    let labels = json!({"topology.kubernetes.io/zone": zone, label: ""});
    let labels: BTreeMap<String, Option<String>> = serde_json::from_value(labels).expect("labels");
    let labels: BTreeMap<_, _> = labels.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let status = json!({"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]});
    Arc::new(serde_json::from_value(json!({"metadata": {"labels": labels}, "status": status})).expect("a node"))
}

/// One endpoint for each letter of `homes`, in the zone of this name, and for that of the same place in `now` but for dashes.
fn endpoints(slice: usize, homes: &str, now: &str) -> Vec<Endpoint> {
    let endpoint = |(at, (zone, now)): (usize, (char, char))| {
        let address = format!("10.0.{slice}.{at}");
        let endpoint = json!({"addresses": [address], "conditions": {"ready": true}, "zone": zone.to_string()});
        let mut endpoint: Endpoint = serde_json::from_value(endpoint).expect("an endpoint");
        endpoint.hints = (now != '-').then(|| hints(now.to_string()));
        endpoint
    };
    homes.chars().zip(now.chars().chain(std::iter::repeat('-'))).enumerate().map(endpoint).collect()
}

/// The zones that they are for, in their order.
fn zones<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> String {
    let zone = |endpoint: &Endpoint| given_zone(endpoint).cloned().unwrap_or_else(|| "-".to_owned());
    endpoints.into_iter().map(zone).collect()
}

/// What becomes of endpoints in a new slice.
fn created(endpoints: Vec<Endpoint>, shares: Option<&[(&str, f64)]>) -> (Result<(), String>, String) {
    let shares = shares.map(|all| all.iter().map(|(zone, share)| ((*zone).to_owned(), *share)).collect::<Shares>());
    let group = Group { family: "IPv4", ports: Vec::new() };
    let mut plan = Plan { create: vec![(group, endpoints)], ..Plan::default() };
    let given = assign(&mut plan, "IPv4", shares.as_ref());
    (given, zones(plan.written("IPv4").into_iter().map(|endpoint| &*endpoint)))
}

/// What becomes of a slice that is written and of others that are not, each told by homes and zones: what is written, what is kept.
fn updated(written: [&str; 2], kept: &[[&str; 2]]) -> (String, String) {
    let shares: Shares = HALVES.iter().map(|(zone, share)| ((*zone).to_owned(), *share)).collect();
    let slice = |at: usize, [homes, now]: [&str; 2]| EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints(at, homes, now)),
        ..EndpointSlice::default()
    };
    let keep = kept.iter().enumerate().map(|(at, kept)| slice(at + 1, *kept)).collect();
    let mut plan = Plan { update: vec![slice(0, written)], keep, ..Plan::default() };
    assign(&mut plan, "IPv4", Some(&shares)).expect("zones");
    let told = |slices: &[EndpointSlice]| {
        slices.iter().map(|slice| zones(slice.endpoints.iter().flatten())).collect::<Vec<_>>().join(" ")
    };
    (told(&plan.update), told(&plan.keep))
}

#[test]
fn zones_have_shares_by_the_processors_of_their_nodes_that_are_ready() {
    let (a, b) = (node(Some("a"), "3", "True", "x"), node(Some("b"), "1000m", "True", "x"));
    let expected = Shares::from([("a".to_owned(), 0.75), ("b".to_owned(), 0.25)]);
    let leader = node(None, "8", "True", "node-role.kubernetes.io/control-plane");
    let away = node(Some("c"), "8", "False", "x");
    assert_eq!(shares(&[Arc::clone(&a), Arc::clone(&b), leader, away]), Some(expected));
    for other in [node(None, "1", "True", "x"), node(Some(""), "1", "True", "x"), node(Some("c"), "0", "True", "x")] {
        assert_eq!(shares(&[Arc::clone(&a), Arc::clone(&b), other]), None);
    }
    assert_eq!(shares(&[Arc::clone(&a), a]), None, "one zone");
}

/// What is given out, to whom and in which shares, and what comes of it.
type Row = (&'static str, &'static str, &'static [(&'static str, f64)], &'static str);

#[test]
fn endpoints_are_for_their_own_zone_and_for_others_where_those_lack_some() {
    const THIRDS: [(&str, f64); 3] = [("a", 0.5), ("b", 0.25), ("c", 0.25)];
    let table: [Row; 6] = [
        ("ab", "", &HALVES, "ab"),
        ("aaab", "", &HALVES, "baab"),
        ("aaaa", "", &HALVES, "bbaa"),
        ("aaaabbbb", "", &THIRDS, "aaaaccbb"),
        // The one that is for another zone already stays for it.
        ("aaab", "--b-", &HALVES, "aabb"),
        ("aabb", "--a-", &HALVES, "aabb"),
    ];
    for (homes, now, shares, expected) in table {
        let given = created(endpoints(0, homes, now), Some(shares));
        assert_eq!(given, (Ok(()), expected.to_owned()), "{homes} {now}");
    }
    let mut unready = endpoints(0, "aab", "");
    unready[1].conditions = None;
    assert_eq!(created(unready, Some(&HALVES)).1, "a-b");
}

#[test]
fn slices_that_nothing_else_changes_keep_their_zones_while_those_are_bearable() {
    let texts = |written: &str, kept: &str| (written.to_owned(), kept.to_owned());
    // They could all be for their own zones, and need not.
    let twenty = ["aaaaaaaaaabbbbbbbbbb", "baaaaaaaaabbbbbbbbbb"];
    assert_eq!(updated(["", ""], &[twenty]), texts("", twenty[1]));
    assert_eq!(updated(["ab", ""], &[["aaab", "baab"]]), texts("ab", "baab"));
    // The new ones make up for what the others have.
    assert_eq!(updated(["bbb", ""], &[["aaa", "aaa"]]), texts("bbb", "aaa"));
    assert_eq!(updated(["aa", ""], &[["aa", "aa"], ["bb", "bb"]]), texts("ba", "aa bb"));
    assert_eq!(updated(["bb", ""], &[["aaab", "baab"]]), texts("ab", "baab"));
    // Those alone are not enough.
    assert_eq!(updated(["b", ""], &[["aaaaa", "aaaaa"]]), texts("b bbaaa", ""));
    // One is for no zone, or for one that is no more.
    assert_eq!(updated(["aa", ""], &[["bb", "b-"], ["ab", "ab"]]), texts("aa bb", "ab"));
    assert_eq!(updated(["aa", ""], &[["bb", "bc"], ["ab", "ab"]]), texts("aa bb", "ab"));
}

#[test]
fn endpoints_are_for_the_zones_of_their_slices_until_zones_are_given() {
    let slice = |endpoints| EndpointSlice { endpoints: Some(endpoints), ..EndpointSlice::default() };
    let existing = [slice(endpoints(0, "aab", "aba"))];
    let mut now = endpoints(0, "aabb", "");
    now[2].conditions = None;
    inherit(now.iter_mut(), &existing);
    assert_eq!(zones(&now), "ab--");
}

#[test]
fn where_shares_cannot_be_kept_nobody_gets_a_zone() {
    let (why, all) = created(endpoints(0, "a", "a"), Some(&HALVES));
    assert_eq!(
        (why.unwrap_err().as_str(), all.as_str()),
        ("Insufficient number of endpoints (1 endpoints, 2 zones)", "-")
    );
    let (why, all) = created(endpoints(0, "ab", "ab"), Some(&[("a", 0.9), ("b", 0.1)]));
    let why = why.unwrap_err();
    assert!(why.starts_with("Unable to allocate minimum required endpoints") && all == "--", "{why} {all}");
    let mut homeless = endpoints(0, "ab", "ab");
    homeless[0].zone = None;
    let (why, all) = created(homeless, Some(&HALVES));
    assert!(why.unwrap_err().contains("do not have a zone specified") && all == "--", "{all}");
    assert!(created(Vec::new(), None).0.unwrap_err().starts_with("Insufficient Node information"));
    let slice = EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints(0, "a", "a")),
        ..EndpointSlice::default()
    };
    let mut plan = Plan { keep: vec![slice], ..Plan::default() };
    assert!(assign(&mut plan, "IPv6", None).is_err() && plan.keep.len() == 1, "of another family");
    assert!(assign(&mut plan, "IPv4", None).is_err() && plan.keep.is_empty());
    assert_eq!(zones(plan.written("IPv4").into_iter().map(|endpoint| &*endpoint)), "-", "those that were kept, too");
}

#[test]
fn the_older_annotation_goes_before_the_newer_one() {
    let asks = |pairs: &[(&str, &str)]| {
        let all = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        is_wanted(Some(&all))
    };
    assert!(asks(&[(MODE, "Auto")]) && asks(&[(MODE_OF_OLD, "auto")]));
    assert!(!asks(&[(MODE, "Auto"), (MODE_OF_OLD, "Disabled")]) && !asks(&[(MODE, "AUTO")]) && !is_wanted(None));
}
