//! What the resource metrics API says of pods and of their containers.

use super::ask::{Apis, Question};
use super::group::{Sample, Samples, grouped, is_warm};
use super::metrics::{Target, Told, Unusable, average};
use super::plan::{Goal, Measured, by_metric};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricSource, ContainerResourceMetricStatus, MetricStatus, MetricTarget, MetricValueStatus,
    ResourceMetricSource, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use rk_client::{parse_milli, try_parse_milli};
use serde_json::Value;

/// A resource of pods, or of one container of each.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    resource: &'a str,
    container: Option<&'a str>,
    target: &'a MetricTarget,
}

/// Reads a metric of whole pods.
pub(super) async fn of_pods(
    apis: &Apis<'_>,
    target: &Target<'_>,
    own: &ResourceMetricSource,
) -> Result<Told, Unusable> {
    let source = Source { resource: &own.name, container: None, target: &own.target };
    source.measure(apis, target).await.map_err(|error| Unusable {
        reason: "FailedGetResourceMetric",
        chain: format!("failed to get {} resource metric value: {error}", own.name),
        error,
    })
}

/// Reads a metric of one container of each pod.
pub(super) async fn of_containers(
    apis: &Apis<'_>,
    target: &Target<'_>,
    own: &ContainerResourceMetricSource,
) -> Result<Told, Unusable> {
    let source = Source { resource: &own.name, container: Some(&own.container), target: &own.target };
    source.measure(apis, target).await.map_err(|error| Unusable {
        reason: "FailedGetContainerResourceMetric",
        chain: format!("failed to get {} container metric value: {error}", own.container),
        error,
    })
}

fn goal(target: &MetricTarget) -> Option<Goal> {
    let average = target.average_value.as_ref().map(|value| Goal::Average(parse_milli(value)));
    average.or_else(|| target.average_utilization.map(|percents| Goal::Utilization(percents.into())))
}

impl Source<'_> {
    async fn measure(&self, apis: &Apis<'_>, target: &Target<'_>) -> Result<Told, String> {
        let goal = goal(self.target).ok_or(
            "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set",
        )?;
        let measured = self.read(apis, target, goal).await.map_err(|error| {
            let what = if matches!(goal, Goal::Utilization(_)) { "utilization" } else { "usage" };
            format!("failed to get {} {what}: {error}", self.resource)
        })?;
        let wanted = by_metric(target.current, &measured, |ratio| target.pace.tolerates(ratio));
        Ok(Told { wanted, status: self.status(&measured), name: self.name(goal) })
    }

    async fn read(&self, apis: &Apis<'_>, target: &Target<'_>, goal: Goal) -> Result<Measured, String> {
        let question = Question {
            group: "metrics.k8s.io",
            version: "v1beta1",
            namespace: target.namespace,
            resource: "pods",
            parameters: &[("labelSelector", target.selector)],
            ..Question::default()
        };
        let items = question.ask(apis.client).await;
        let items = items.map_err(|error| format!("unable to fetch metrics from resource metrics API: {error}"));
        let samples = items.and_then(|items| self.samples(&items));
        let samples =
            samples.map_err(|error| format!("unable to get metrics for resource {}: {error}", self.resource))?;
        self.grouped(goal, target, &samples, Timestamp::now())
    }

    fn grouped(&self, goal: Goal, target: &Target<'_>, samples: &Samples, now: Timestamp) -> Result<Measured, String> {
        let tells = |pod: &Pod, sample: &Sample| self.resource != "cpu" || is_warm(pod, sample, now);
        grouped(goal, target.pods, samples, tells, |pod| self.requested(pod))
    }

    fn name(&self, goal: Goal) -> String {
        match (goal, self.container) {
            (Goal::Average(_), _) => format!("{} resource", self.resource),
            (Goal::Utilization(_), None) => format!("{} resource utilization (percentage of request)", self.resource),
            (Goal::Utilization(_), Some(_)) => {
                format!("{} container resource utilization (percentage of request)", self.resource)
            }
        }
    }

    fn status(&self, measured: &Measured) -> MetricStatus {
        let counted = measured.counted();
        let is_relative = matches!(measured.goal, Goal::Utilization(_));
        let current = MetricValueStatus {
            average_utilization: is_relative.then(|| i32::try_from(counted.utilization()).unwrap_or(i32::MAX)),
            ..average(counted.average())
        };
        let name = self.resource.to_owned();
        match self.container {
            None => MetricStatus {
                type_: "Resource".to_owned(),
                resource: Some(ResourceMetricStatus { current, name }),
                ..MetricStatus::default()
            },
            Some(container) => MetricStatus {
                type_: "ContainerResource".to_owned(),
                container_resource: Some(ContainerResourceMetricStatus {
                    container: container.to_owned(),
                    current,
                    name,
                }),
                ..MetricStatus::default()
            },
        }
    }

    fn is_of(&self, container: &str) -> bool {
        self.container.is_none_or(|own| own == container)
    }

    /// What a pod requests, in thousandths: for the whole pod if it does so, else what its containers do that run as long as it.
    fn requested(&self, pod: &Pod) -> Result<i64, String> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if self.container.is_none() && rk_quota::requests_as_a_whole(pod) {
            let requested = rk_quota::spec_requests(pod).get(self.resource).map(|amount| amount.millis());
            return requested.ok_or_else(|| format!("missing pod-level request for {} in Pod {name}", self.resource));
        }
        let (mut requested, mut is_there) = (0_i64, self.container.is_none());
        for container in lasting(pod).filter(|own| self.is_of(&own.name)) {
            let request = container.resources.as_ref().and_then(|own| own.requests.as_ref()?.get(self.resource));
            let request = request.ok_or_else(|| {
                format!("missing request for {} in container {} of Pod {name}", self.resource, container.name)
            })?;
            requested = requested.saturating_add(parse_milli(request));
            is_there = true;
        }
        match self.container {
            Some(container) if !is_there => Err(format!("container {container} not found in Pod {name}")),
            _ => Ok(requested),
        }
    }

    /// Use by pod, of those that report it for all their containers.
    fn samples(&self, items: &[Value]) -> Result<Samples, String> {
        if items.is_empty() {
            return Err("no metrics returned from resource metrics API".to_owned());
        }
        let mut samples = Samples::new();
        for item in items {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            let containers: &[Value] = item["containers"].as_array().map_or(&[], Vec::as_slice);
            let own: Vec<&Value> =
                containers.iter().filter(|own| self.is_of(own["name"].as_str().unwrap_or_default())).collect();
            if let (true, Some(container)) = (own.is_empty(), self.container) {
                let namespace = item["metadata"]["namespace"].as_str().unwrap_or_default();
                return Err(format!(
                    "failed to get container metrics: container {container} not present in metrics for pod {namespace}/{name}"
                ));
            }
            let used: Option<Vec<i64>> =
                own.iter().map(|own| own["usage"][self.resource].as_str().and_then(try_parse_milli)).collect();
            let Some(used) = used.filter(|used| !used.is_empty()) else { continue };
            let at = item["timestamp"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH);
            let window = item["window"].as_str().and_then(|text| text.parse().ok()).unwrap_or(SignedDuration::ZERO);
            let used = used.into_iter().fold(0, i64::saturating_add);
            samples.insert(name.to_owned(), Sample { used, at, window });
        }
        Ok(samples)
    }
}

/// The containers of a pod that run as long as it does.
fn lasting(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref();
    let sidecars = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars = sidecars.filter(|own| own.restart_policy.as_deref() == Some("Always"));
    spec.into_iter().flat_map(|spec| &spec.containers).chain(sidecars)
}

#[cfg(test)]
mod tests {
    use super::super::pace::Pace;
    use super::super::plan::Group;
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn wanted(target: Value) -> MetricTarget {
        serde_json::from_value(target).expect("valid")
    }

    fn pod(name: &str, phase: &str, begun: &str, ready: &str, turned: &str) -> Arc<Pod> {
        let ready = json!([{"type": "Ready", "status": ready, "lastTransitionTime": turned}]);
        let resources = json!({"requests": {"cpu": "100m"}});
        let containers = json!([{"name": "app", "resources": resources}, {"name": "proxy", "resources": resources}]);
        let pod = json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"containers": containers},
            "status": {"phase": phase, "startTime": begun, "conditions": ready}});
        Arc::new(serde_json::from_value(pod).expect("valid"))
    }

    fn items(names: &[&str]) -> Vec<Value> {
        let item = |name: &&str| {
            json!({"metadata": {"name": name, "namespace": "n"}, "timestamp": "2026-01-01T01:00:00Z", "window": "30s",
                "containers": [{"name": "app", "usage": {"cpu": "60m"}}, {"name": "proxy", "usage": {"cpu": "20m"}}]})
        };
        names.iter().map(item).collect()
    }

    #[test]
    fn pods_count_by_what_is_known_of_them() {
        let now: Timestamp = "2026-01-01T01:00:10Z".parse().expect("a time");
        let half = wanted(json!({"type": "Utilization", "averageUtilization": 50}));
        let long_ago = "2026-01-01T00:00:00Z";
        let pods = [
            pod("old", "Running", long_ago, "True", long_ago),
            pod("silent", "Running", long_ago, "True", long_ago),
            pod("pending", "Pending", long_ago, "False", long_ago),
            pod("failed", "Failed", long_ago, "False", long_ago),
            pod("young", "Running", "2026-01-01T00:59:00Z", "True", "2026-01-01T00:59:30Z"),
            pod("younger", "Running", "2026-01-01T00:59:00Z", "True", "2026-01-01T00:59:31Z"),
            pod("never-ready", "Running", long_ago, "False", "2026-01-01T00:00:29Z"),
            pod("ready-once", "Running", long_ago, "False", "2026-01-01T00:00:30Z"),
        ];
        let pace = Pace::of(None);
        let target = Target { namespace: "n", selector: "", pods: &pods, current: 8, present: 8, pace: &pace };
        let told = items(&["old", "pending", "failed", "young", "younger", "never-ready", "ready-once"]);
        let source = Source { resource: "cpu", container: None, target: &half };
        let goal = goal(source.target).expect("a goal");
        let all = source.samples(&told).expect("readable");
        let measured = source.grouped(goal, &target, &all, now).expect("measured");
        let group = |pods, used| Group { pods, used, requested: 200 * pods };
        assert_eq!(measured.reporting, group(3, 240), "old, young and ready-once");
        assert_eq!((measured.silent, measured.unready), (group(1, 0), group(3, 0)));
        let status = serde_json::to_value(source.status(&measured)).expect("JSON");
        let current = json!({"averageUtilization": 40, "averageValue": "80m"});
        assert_eq!(status, json!({"type": "Resource", "resource": {"name": "cpu", "current": current}}));

        let source = Source { container: Some("app"), ..source };
        let all = source.samples(&told).expect("readable");
        let measured = source.grouped(goal, &target, &all, now).expect("measured");
        assert_eq!(measured.reporting, Group { pods: 3, used: 180, requested: 300 });
        let status = serde_json::to_value(source.status(&measured)).expect("JSON");
        let current = json!({"averageUtilization": 60, "averageValue": "60m"});
        let container = json!({"name": "cpu", "container": "app", "current": current});
        assert_eq!(status, json!({"type": "ContainerResource", "containerResource": container}));
        let source = Source { container: Some("other"), ..source };
        let text = "failed to get container metrics: container other not present in metrics for pod n/old";
        assert_eq!(source.samples(&told), Err(text.to_owned()));
        assert_eq!(source.samples(&[]), Err("no metrics returned from resource metrics API".to_owned()));
    }

    #[test]
    fn requests_are_of_the_pod_or_of_what_runs_as_long_as_it() {
        let any = MetricTarget::default();
        let of = |resource: &str, container: Option<&str>, spec: &Value| {
            let pod = json!({"metadata": {"name": "p"}, "spec": spec});
            let pod: Pod = serde_json::from_value(pod).expect("valid");
            Source { resource, container, target: &any }.requested(&pod)
        };
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let containers = json!([{"name": "app", "resources": cpu("100m")}]);
        let first = json!([{"name": "sidecar", "restartPolicy": "Always", "resources": cpu("20m")}, {"name": "step", "resources": cpu("900m")}]);
        let each = json!({"containers": containers, "initContainers": first});
        assert_eq!(of("cpu", None, &each), Ok(120));
        assert_eq!(of("cpu", Some("sidecar"), &each), Ok(20));
        assert_eq!(of("cpu", Some("step"), &each), Err("container step not found in Pod p".to_owned()));
        let missing = "missing request for memory in container app of Pod p";
        assert_eq!(of("memory", None, &each), Err(missing.to_owned()));
        let whole = json!({"containers": containers, "resources": cpu("500m"), "overhead": {"cpu": "50m"}});
        assert_eq!(of("cpu", None, &whole), Ok(550));
        assert_eq!(of("cpu", Some("app"), &whole), Ok(100));
        assert_eq!(of("memory", None, &whole), Err("missing pod-level request for memory in Pod p".to_owned()));
    }

    #[test]
    fn goals_and_names_are_upstream_s() {
        let average = wanted(json!({"type": "AverageValue", "averageValue": "1500m"}));
        assert_eq!(goal(&average), Some(Goal::Average(1500)));
        assert_eq!(goal(&MetricTarget::default()), None);
        let whole = Source { resource: "cpu", container: None, target: &average };
        let part = Source { container: Some("app"), ..whole };
        let half = Goal::Utilization(50);
        assert_eq!(part.name(Goal::Average(1)), "cpu resource");
        assert_eq!(whole.name(half), "cpu resource utilization (percentage of request)");
        assert_eq!(part.name(half), "cpu container resource utilization (percentage of request)");
    }
}
