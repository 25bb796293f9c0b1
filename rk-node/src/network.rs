//! The pod network of this node: its CNI configuration, the routes to other nodes' pods, and what the proxy goes by of its Node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use rk_cni::routes::{self, PodRoute};
use rk_proxy::Place;
use rk_watch::{Event, Selection, follow};
use tokio::sync::watch;

/// Where CNI configurations are.
const CONF_DIR: &str = "/etc/cni/net.d";
/// Routes are compared with the kernel's this often, and soon after a failure.
const RESYNC: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);
/// The cluster autoscaler taints a node so before it deletes it.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// The pod CIDRs of a text that has commas between them. A family that the cluster of this machine's config does not have is left out
/// beside one that it has.
fn ranges(text: &str, cluster: &[IpNet]) -> Result<Vec<IpNet>, ipnet::AddrParseError> {
    let all: Vec<IpNet> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let known = |own: &&IpNet| cluster.iter().any(|of| of.addr().is_ipv4() == own.addr().is_ipv4());
    let of_cluster: Vec<IpNet> = all.iter().filter(known).copied().collect();
    Ok(if of_cluster.is_empty() { all } else { of_cluster })
}

/// Writes the CNI configuration whenever the node's pod CIDRs become known or change; `cluster` are the ranges of all pods. Runs for ever.
pub async fn configure(mut pod_cidr: watch::Receiver<Option<String>>, cluster: Vec<IpNet>) {
    loop {
        let known = pod_cidr.borrow_and_update().clone();
        if let Some(text) = known {
            match ranges(&text, &cluster) {
                Ok(cidrs) => match rk_cni::write_default_conflist(Path::new(CONF_DIR), &cidrs, &cluster) {
                    Ok(true) => tracing::info!(cidr = %text, "the CNI configuration was written"),
                    Ok(false) => tracing::debug!("the CNI configuration stays as it is"),
                    Err(error) => {
                        tracing::error!("writing the CNI configuration: {error}");
                        tokio::time::sleep(RETRY).await;
                        pod_cidr.mark_changed();
                    }
                },
                Err(error) => tracing::error!(cidr = %text, "the node's pod CIDR is not one: {error}"),
            }
        }
        if pod_cidr.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The way to another node's pods, when both ends are known.
fn pod_routes(node: &Node) -> Vec<PodRoute> {
    let spec = node.spec.as_ref();
    let listed = spec.and_then(|s| s.pod_cidrs.clone()).unwrap_or_default();
    let single = spec.and_then(|s| s.pod_cidr.clone()).filter(|_| listed.is_empty());
    let addresses: Vec<IpAddr> = node
        .status
        .iter()
        .flat_map(|s| s.addresses.iter().flatten())
        .filter(|a| a.type_ == "InternalIP")
        .filter_map(|a| a.address.parse().ok())
        .collect();
    listed
        .iter()
        .chain(single.iter())
        .filter_map(|text| text.parse::<IpNet>().ok())
        .filter_map(|pod_cidr| {
            let same_family = |ip: &&IpAddr| ip.is_ipv4() == pod_cidr.addr().is_ipv4();
            addresses.iter().find(same_family).map(|ip| PodRoute { node_ip: *ip, pod_cidr })
        })
        .collect()
}

/// What a node's object says to its proxy.
fn place(node: &Node) -> Place {
    let labels = node.metadata.labels.as_ref();
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let leaving = node.metadata.deletion_timestamp.is_some() || taints.any(|taint| taint.key == TO_BE_DELETED);
    Place { zone: labels.and_then(|labels| labels.get(rk_proxy::ZONE)).cloned(), leaving }
}

/// Tells the place of this node, where it is news.
fn tell(places: &watch::Sender<Place>, own: &str, event: &Event<Node>) {
    let (Event::Listed(node) | Event::Applied(node)) = event else { return };
    if node.metadata.name.as_deref() != Some(own) {
        return;
    }
    let now = place(node);
    places.send_if_modified(|known| {
        let news = *known != now;
        *known = now;
        news
    });
}

/// The ways to pods by the nodes that they are on, and which of them the kernel has.
#[derive(Default)]
struct Ways {
    nodes: BTreeMap<String, Vec<PodRoute>>,
    /// What the list that is being read has brought.
    fresh: BTreeMap<String, Vec<PodRoute>>,
    /// Whether a list was read to its end: before that, the kernel may have routes of nodes that nobody has named yet.
    listed: bool,
    /// What the kernel was brought to last; `None` when it is to be compared again.
    applied: Option<Vec<PodRoute>>,
}

impl Ways {
    fn take(&mut self, event: Event<Node>) {
        let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
        match event {
            Event::Begin => self.fresh.clear(),
            Event::Listed(node) => drop(self.fresh.insert(name(&node), pod_routes(&node))),
            Event::Complete => {
                self.nodes = std::mem::take(&mut self.fresh);
                self.listed = true;
            }
            Event::Applied(node) => drop(self.nodes.insert(name(&node), pod_routes(&node))),
            Event::Deleted(node) => drop(self.nodes.remove(&name(&node))),
            Event::Unread(key) => {
                self.fresh.extend(self.nodes.get(&key.name).cloned().map(|known| (key.name, known)));
            }
            Event::Vanished(key) => drop(self.nodes.remove(&key.name)),
        }
    }

    /// What to bring the kernel to, unless it is there. Node objects change with every heartbeat; routes hardly ever do.
    fn due(&self, own: &str) -> Option<Vec<PodRoute>> {
        let others = self.nodes.iter().filter(|(name, _)| *name != own);
        let want: Vec<PodRoute> = others.flat_map(|(_, routes)| routes.iter().copied()).collect();
        (self.listed && self.applied.as_ref() != Some(&want)).then_some(want)
    }
}

/// Tells the place of this node and, where its pods have a network of ours (`routed`), keeps the routes to all other nodes' pods. Runs for
/// ever.
pub async fn route(client: Client, own: String, places: watch::Sender<Place>, routed: bool) {
    let mut events = follow::<Node>(client, Selection::default());
    let mut ways = Ways::default();
    // It goes on by itself: an API that is away for longer than its period leaves nothing due that could be done.
    let mut resync = tokio::time::interval(RESYNC);
    loop {
        tokio::select! {
            Some(event) = events.next() => {
                tell(&places, &own, &event);
                ways.take(event);
            }
            _ = resync.tick() => ways.applied = None,
        }
        let Some(want) = ways.due(&own).filter(|_| routed) else { continue };
        match routes::sync(&want).await {
            Ok(()) => {
                ways.applied = Some(want);
                resync.reset();
            }
            Err(error) => {
                tracing::warn!("routes to other nodes' pods: {error}");
                resync.reset_after(RETRY);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NodeAddress;
    use rk_watch::ObjectKey;

    use super::*;

    #[test]
    fn a_node_s_pod_cidrs_are_read_in_their_order() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let cluster = [net("10.244.0.0/16"), net("fd00:10:244::/56")];
        let both = "10.244.1.0/24,fd00:10:244:1::/64";
        assert_eq!(ranges("10.244.1.0/24", &cluster), Ok(vec![net("10.244.1.0/24")]));
        assert_eq!(ranges(both, &cluster), Ok(vec![net("10.244.1.0/24"), net("fd00:10:244:1::/64")]));
        assert_eq!(ranges(both, &cluster[..1]), Ok(vec![net("10.244.1.0/24")]), "the config is of one family");
        assert_eq!(ranges("fd00:10:244:1::/64", &cluster[..1]), Ok(vec![net("fd00:10:244:1::/64")]));
        assert!(ranges("10.244.1.0/24,", &cluster).is_err());
    }

    #[test]
    fn the_proxy_hears_of_the_zone_and_the_end_of_its_own_node() {
        let node = |name: &str, zone: &str, more: serde_json::Value| -> Node {
            let mut object = serde_json::json!({"metadata": {"name": name, "labels": {(rk_proxy::ZONE): zone}}});
            object["spec"] = more;
            serde_json::from_value(object).unwrap()
        };
        let none = || serde_json::json!({});
        let (places, mut heard) = watch::channel(Place::default());
        let mut told = |event: Event<Node>| {
            tell(&places, "own", &event);
            let news = heard.has_changed().unwrap();
            let place = heard.borrow_and_update().clone();
            news.then_some((place.zone, place.leaving))
        };
        assert_eq!(told(Event::Applied(node("other", "b", none()))), None);
        assert_eq!(told(Event::Listed(node("own", "a", none()))), Some((Some("a".to_owned()), false)));
        assert_eq!(told(Event::Applied(node("own", "a", none()))), None, "a heartbeat");
        let taint = |key: &str| serde_json::json!({"taints": [{"key": key, "effect": "NoSchedule"}]});
        assert_eq!(told(Event::Applied(node("own", "a", taint("other")))), None);
        assert_eq!(told(Event::Applied(node("own", "c", taint(TO_BE_DELETED)))), Some((Some("c".to_owned()), true)));
        let mut deleted = node("own", "c", none());
        assert_eq!(told(Event::Applied(deleted.clone())), Some((Some("c".to_owned()), false)));
        let text = r#""2026-01-02T03:04:05Z""#;
        deleted.metadata.deletion_timestamp = serde_json::from_str(text).unwrap();
        assert_eq!(told(Event::Applied(deleted)), Some((Some("c".to_owned()), true)));
    }

    #[test]
    fn routes_lead_to_all_other_nodes_once_they_are_listed_and_until_they_are_gone() {
        let node = |name: &str, n: u8| -> Node {
            let object = serde_json::json!({
                "metadata": {"name": name}, "spec": {"podCIDR": format!("10.244.{n}.0/24")},
                "status": {"addresses": [{"type": "InternalIP", "address": format!("192.168.0.{n}")}]}});
            serde_json::from_value(object).unwrap()
        };
        let mut ways = Ways::default();
        let due = |ways: &Ways| -> Option<Vec<String>> {
            ways.due("own").map(|want| want.iter().map(|route| route.node_ip.to_string()).collect())
        };
        ways.take(Event::Begin);
        ways.take(Event::Listed(node("own", 1)));
        ways.take(Event::Listed(node("b", 2)));
        ways.applied = None;
        assert_eq!(due(&ways), None, "others may follow");
        ways.take(Event::Complete);
        assert_eq!(due(&ways), Some(vec!["192.168.0.2".to_owned()]), "its own pods are on its own bridge");
        ways.applied = ways.due("own");
        assert_eq!(due(&ways), None, "the kernel has them");
        ways.take(Event::Applied(node("b", 2)));
        assert_eq!(due(&ways), None, "a heartbeat");
        ways.take(Event::Applied(node("c", 3)));
        assert_eq!(due(&ways).map(|want| want.len()), Some(2));
        // A list that does not name `c`, and names `b`, which cannot be read.
        ways.take(Event::Begin);
        ways.take(Event::Unread(ObjectKey::cluster("b")));
        ways.take(Event::Complete);
        assert_eq!(due(&ways), None, "what is known of a node holds until it can be read");
        ways.applied = None;
        assert_eq!(due(&ways).map(|want| want.len()), Some(1), "somebody else may have taken it away");
        ways.take(Event::Vanished(ObjectKey::cluster("b")));
        assert_eq!(due(&ways), Some(Vec::new()));
    }

    #[test]
    fn a_route_needs_a_cidr_and_an_address_of_its_family() {
        let node = |json: &str| -> Node { k8s_openapi::serde_json::from_str(json).unwrap_or_default() };
        let full = node(
            r#"{"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24","fd00::/64"]},"status":{"addresses":[{"type":"Hostname","address":"a"},{"type":"InternalIP","address":"192.168.0.1"}]}}"#,
        );
        assert_eq!(
            pod_routes(&full),
            [PodRoute { node_ip: "192.168.0.1".parse().unwrap(), pod_cidr: "10.244.1.0/24".parse().unwrap() }]
        );
        let mut dual = full.clone();
        let six = NodeAddress { type_: "InternalIP".into(), address: "fd00:77::1".into() };
        dual.status.as_mut().and_then(|status| status.addresses.as_mut()).unwrap().push(six);
        let second = PodRoute { node_ip: "fd00:77::1".parse().unwrap(), pod_cidr: "fd00::/64".parse().unwrap() };
        assert_eq!(pod_routes(&dual), [pod_routes(&full)[0], second]);
        assert!(pod_routes(&node(r#"{"spec":{"podCIDR":"10.244.1.0/24"}}"#)).is_empty());
    }
}
