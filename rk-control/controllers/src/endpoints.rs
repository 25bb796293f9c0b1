//! The older Endpoints objects of Services with a selector.

use crate::context::Context;
use crate::endpointslice::{
    TRIGGER_TIME, address, enqueue_services_of_pods, family_of, hostname, is_headless, port_of, repack, resolve,
    selector_of, target, trigger_time,
};
use crate::pods;
use crate::remove::remove;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rk_client::{BoxError, Informer, ObjectKey, Outcome, Queue, is_already_exists, is_namespace_terminating};
use rk_lenient::Lenient;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Addresses in one Endpoints object; more are cut off and marked.
const MAX_ADDRESSES: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

struct Controller {
    services: Informer<Lenient<Service>>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller =
        Arc::new(Controller { services: ctx.informers.of(), pods: ctx.informers.of(), endpoints: ctx.informers.of() });
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.services.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let q = queue.clone();
    controller.endpoints.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    enqueue_services_of_pods(&controller.services, &controller.pods, &queue);
    ctx.work("endpoint", queue, 2, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

/// The subsets of a Service, and whether there are more pods than these hold.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let Some(spec) = &service.spec else { return (Vec::new(), false) };
    let family = spec.ip_families.as_ref().and_then(|f| f.first()).map_or_else(
        || spec.cluster_ip.as_deref().and_then(family_of).unwrap_or("IPv4"),
        |f| if f == "IPv6" { "IPv6" } else { "IPv4" },
    );
    let publish = spec.publish_not_ready_addresses == Some(true);
    let portless = spec.ports.as_ref().is_none_or(Vec::is_empty) && is_headless(spec);
    let mut each: Vec<EndpointSubset> = Vec::new();
    let mut seats = 0;
    let mut cut = false;
    let mut chosen: Vec<&Arc<Pod>> =
        pods.iter().filter(|p| !pods::is_finished(p) && (publish || !pods::is_terminating(p))).collect();
    // Where there is no room for all, those that serve have it.
    chosen.sort_by_key(|pod| !pods::is_ready(pod));
    for pod in chosen {
        let Some(ip) = address(pod, family) else { continue };
        if seats == MAX_ADDRESSES {
            cut = true;
            break;
        }
        seats += 1;
        let ports: Vec<EndpointPort> = resolve(spec, pod).into_iter().map(port_of).collect();
        if ports.is_empty() && !portless {
            continue;
        }
        let node_name = pods::node_name(pod).map(str::to_owned);
        let address =
            EndpointAddress { ip, hostname: hostname(service, pod), node_name, target_ref: Some(target(pod)) };
        let (ready, waiting) =
            if publish || pods::is_ready(pod) { (Some(vec![address]), None) } else { (None, Some(vec![address])) };
        each.push(EndpointSubset { addresses: ready, not_ready_addresses: waiting, ports: Some(ports) });
    }
    (repack(&each), cut)
}

fn labels_of(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
    labels.remove(HEADLESS);
    if service.spec.as_ref().is_some_and(is_headless) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let existing = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else {
            let ours = existing.filter(|e| e.metadata.labels.as_ref().is_some_and(|l| l.contains_key(MANAGED_BY)));
            if let Some(endpoints) = ours {
                remove(&self.endpoints, endpoints.as_ref()).await?;
            }
            return Ok(Outcome::AwaitChange);
        };
        let Some(selector) = selector_of(&service) else { return Ok(Outcome::AwaitChange) };
        let mut matching: Vec<Arc<Pod>> = self.pods.in_namespace(&key.namespace);
        matching.retain(|pod| selector.matches(pod.metadata.labels.as_ref()));
        let (subsets, cut) = subsets(&service, &matching);
        let subsets = Some(subsets).filter(|s| !s.is_empty());
        let labels = labels_of(&service);
        let marked = |meta: &ObjectMeta| meta.annotations.as_ref().is_some_and(|a| a.contains_key(OVER_CAPACITY));
        if existing.as_ref().is_some_and(|e| {
            e.subsets == subsets && e.metadata.labels.as_ref() == Some(&labels) && marked(&e.metadata) == cut
        }) {
            return Ok(Outcome::AwaitChange);
        }
        let mut wanted = existing.as_deref().cloned().unwrap_or_else(|| Endpoints {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                ..ObjectMeta::default()
            },
            subsets: None,
        });
        wanted.subsets = subsets;
        wanted.metadata.labels = Some(labels);
        let annotations = wanted.metadata.annotations.get_or_insert_default();
        annotations.remove(OVER_CAPACITY);
        annotations.remove(TRIGGER_TIME);
        annotations.extend(trigger_time());
        if cut {
            annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
        }
        let written = if existing.is_some() {
            self.endpoints.replace(&wanted).await
        } else {
            self.endpoints.create(&wanted).await
        };
        match written {
            Ok(_) => Ok(Outcome::AwaitChange),
            Err(error) if is_namespace_terminating(&error) || is_already_exists(&error) => Ok(Outcome::AwaitChange),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, ip: &str, ready: bool, ports: Value) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "ports": ports}]},
                "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"}}]}}))
            .expect("valid"),
        )
    }

    #[test]
    fn ports_on_the_same_addresses_share_a_subset() {
        let service: Service =
            serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.96.0.9", "ports": [
            {"name": "a", "port": 80, "targetPort": 8080}, {"name": "b", "port": 81, "targetPort": "extra"}]}}))
            .expect("valid");
        let pods = [
            pod("p1", "10.0.0.1", true, json!([])),
            pod("p2", "10.0.0.2", false, json!([{"name": "extra", "containerPort": 9090}])),
        ];
        let (subsets, cut) = subsets(&service, &pods);
        assert!(!cut);
        assert_eq!(subsets.len(), 2);
        let names: Vec<Vec<String>> =
            subsets.iter().map(|s| s.ports.iter().flatten().filter_map(|p| p.name.clone()).collect()).collect();
        assert!(names.contains(&vec!["a".to_owned()]) && names.contains(&vec!["b".to_owned()]));
        let all =
            subsets.iter().find(|s| s.ports.iter().flatten().any(|p| p.name.as_deref() == Some("a"))).expect("port a");
        assert_eq!(
            (all.addresses.as_ref().map(Vec::len), all.not_ready_addresses.as_ref().map(Vec::len)),
            (Some(1), Some(1))
        );
    }

    #[test]
    fn those_that_serve_are_not_cut_off_for_those_that_do_not() {
        let service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}});
        let service: Service = serde_json::from_value(service).expect("valid");
        let all: Vec<Arc<Pod>> = (0..=MAX_ADDRESSES)
            .map(|at| pod(&format!("p{at}"), &format!("10.0.{}.{}", at / 250, at % 250), at > 0, json!([])))
            .collect();
        let (subsets, cut) = subsets(&service, &all);
        let subset = subsets.first().expect("a subset");
        assert_eq!((cut, subset.addresses.as_ref().map(Vec::len)), (true, Some(MAX_ADDRESSES)));
        assert!(subset.not_ready_addresses.is_none());
    }

    #[test]
    fn pods_of_a_headless_service_have_no_ports_only_where_it_names_none() {
        for (ports, expected) in [(json!([]), 1), (json!([{"name": "b", "port": 81, "targetPort": "extra"}]), 0)] {
            let service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": ports}});
            let service: Service = serde_json::from_value(service).expect("valid");
            let (subsets, _) = subsets(&service, &[pod("p1", "10.0.0.1", true, json!([]))]);
            assert_eq!(subsets.len(), expected);
        }
    }
}
