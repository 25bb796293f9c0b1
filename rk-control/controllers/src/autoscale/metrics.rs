//! What the metrics of an autoscaler say of its target.

use super::ask::Apis;
use super::pace::Pace;
use super::{custom, external, resource};
use k8s_openapi::api::autoscaling::v2::{MetricIdentifier, MetricSpec, MetricStatus, MetricValueStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_api::selector::{LabelSelector, printed};
use serde_json::Value;
use std::sync::Arc;

/// Why a metric cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unusable {
    /// Of the condition and the event.
    pub(super) reason: &'static str,
    /// As the condition and the event tell it.
    pub(super) error: String,
    /// The same with what was to be had, as the event of all metrics tells it.
    pub(super) chain: String,
}

/// What a metric says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    /// The number of pods that it asks for.
    pub(super) wanted: i32,
    pub(super) status: MetricStatus,
    /// As events and conditions call it.
    pub(super) name: String,
}

/// The target of an autoscaler, as far as metrics depend on it.
pub(super) struct Target<'a> {
    pub(super) namespace: &'a str,
    /// What its pods are chosen by, as text.
    pub(super) selector: &'a str,
    /// The pods that this chooses.
    pub(super) pods: &'a [Arc<Pod>],
    /// How many pods it should have.
    pub(super) current: i32,
    /// How many it has.
    pub(super) present: i32,
    /// Of the autoscaler, which says what is near enough.
    pub(super) pace: &'a Pace,
}

/// Reads one metric.
pub(super) async fn measure(apis: &Apis<'_>, target: &Target<'_>, metric: &MetricSpec) -> Result<Told, Unusable> {
    match (metric.type_.as_str(), metric) {
        ("Resource", MetricSpec { resource: Some(own), .. }) => resource::of_pods(apis, target, own).await,
        ("ContainerResource", MetricSpec { container_resource: Some(own), .. }) => {
            resource::of_containers(apis, target, own).await
        }
        ("Pods", MetricSpec { pods: Some(own), .. }) => custom::of_pods(apis, target, own).await,
        ("Object", MetricSpec { object: Some(own), .. }) => custom::of_object(apis, target, own).await,
        ("External", MetricSpec { external: Some(own), .. }) => external::measure(apis, target, own).await,
        (other, _) => {
            let error = format!("unknown metric source type {other:?}");
            Err(Unusable { reason: "InvalidMetricSourceType", chain: error.clone(), error })
        }
    }
}

/// Part of a status: so many thousandths per pod.
pub(super) fn average(thousandths: i64) -> MetricValueStatus {
    MetricValueStatus { average_value: Some(quantity(thousandths)), ..MetricValueStatus::default() }
}

/// Part of a status: so many thousandths of all together.
pub(super) fn whole(thousandths: i64) -> MetricValueStatus {
    MetricValueStatus { value: Some(quantity(thousandths)), ..MetricValueStatus::default() }
}

fn quantity(thousandths: i64) -> Quantity {
    Quantity(rk_api::meta::Quantity::from_millis(thousandths).to_string())
}

/// The selector of a metric as a metrics API is asked with it, empty where there is none.
pub(super) fn selected(metric: &MetricIdentifier) -> Result<String, String> {
    LabelSelector::from_object(&selector(metric)).map(|own| own.to_string()).map_err(|error| error.0)
}

/// The selector of a metric as events and conditions show it.
pub(super) fn shown(metric: &MetricIdentifier) -> String {
    printed(&selector(metric))
}

fn selector(metric: &MetricIdentifier) -> Value {
    serde_json::to_value(&metric.selector).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_of_metrics_are_asked_and_shown() {
        let of = |selector: Value| -> MetricIdentifier {
            serde_json::from_value(json!({"name": "m", "selector": selector})).expect("valid")
        };
        let none = of(Value::Null);
        assert_eq!((selected(&none), shown(&none)), (Ok(String::new()), "nil".to_owned()));
        let verb = of(json!({"matchLabels": {"verb": "GET"}}));
        assert_eq!(selected(&verb), Ok("verb=GET".to_owned()));
        let text =
            "&LabelSelector{MatchLabels:map[string]string{verb: GET,},MatchExpressions:[]LabelSelectorRequirement{},}";
        assert_eq!(shown(&verb), text);
        let bad = of(json!({"matchExpressions": [{"key": "k", "operator": "Is"}]}));
        assert_eq!(selected(&bad), Err("\"Is\" is not a valid label selector operator".to_owned()));
    }

    #[test]
    fn parts_of_a_status_are_in_thousandths_where_they_must() {
        assert_eq!(serde_json::to_value(average(1500)).expect("JSON"), json!({"averageValue": "1500m"}));
        assert_eq!(serde_json::to_value(whole(7000)).expect("JSON"), json!({"value": "7"}));
    }
}
