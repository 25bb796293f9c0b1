//! What the external metrics API says of things outside of the cluster.

use super::ask::{Apis, Question, millis};
use super::group::ready;
use super::metrics::{Target, Told, Unusable, average, selected, shown, whole};
use super::plan::Whole;
use k8s_openapi::api::autoscaling::v2::{ExternalMetricSource, ExternalMetricStatus, MetricStatus, MetricValueStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_client::parse_milli;
use serde_json::Value;

/// Reads one metric.
pub(super) async fn measure(
    apis: &Apis<'_>,
    target: &Target<'_>,
    own: &ExternalMetricSource,
) -> Result<Told, Unusable> {
    let name = &own.metric.name;
    let unusable = |error: String, chain: String| Unusable {
        reason: "FailedGetExternalMetric",
        chain: format!("failed to get {name} external metric value: {chain}"),
        error,
    };
    let result = match (&own.target.average_value, &own.target.value) {
        (Some(goal), _) => by_part(apis, target, own, goal).await.map_err(|error| {
            let chain = format!("failed to get {name} external metric: {error}");
            unusable(error, chain)
        }),
        (None, Some(goal)) => by_ready(apis, target, own, goal).await.map_err(|error| {
            let chain = format!("failed to get external metric {name}: {error}");
            unusable(error, chain)
        }),
        (None, None) => {
            let error = "invalid external metric source: neither a value target nor an average value target was set";
            Err(unusable(error.to_owned(), error.to_owned()))
        }
    };
    let (wanted, current) = result?;
    let status = ExternalMetricStatus { current, metric: own.metric.clone() };
    Ok(Told {
        wanted,
        status: MetricStatus { type_: "External".to_owned(), external: Some(status), ..MetricStatus::default() },
        name: format!("external metric {name}({})", shown(&own.metric)),
    })
}

/// A number of pods, and the part of the status that tells why.
type Asked = (i32, MetricValueStatus);

async fn by_part(
    apis: &Apis<'_>,
    target: &Target<'_>,
    own: &ExternalMetricSource,
    goal: &Quantity,
) -> Result<Asked, String> {
    let all = Whole { value: read(apis, target.namespace, own).await?, goal: parse_milli(goal) };
    let (wanted, part) = all.by_part(target.present, |ratio| target.pace.tolerates(ratio));
    Ok((wanted, average(part)))
}

async fn by_ready(
    apis: &Apis<'_>,
    target: &Target<'_>,
    own: &ExternalMetricSource,
    goal: &Quantity,
) -> Result<Asked, String> {
    let all = Whole { value: read(apis, target.namespace, own).await?, goal: parse_milli(goal) };
    let wanted = all.by_ready(target.current, |ratio| target.pace.tolerates(ratio), || ready(target.pods))?;
    Ok((wanted, whole(all.value)))
}

/// The sum of all values that a selector chooses.
async fn read(apis: &Apis<'_>, namespace: &str, own: &ExternalMetricSource) -> Result<i64, String> {
    let (name, selector) = (own.metric.name.as_str(), selected(&own.metric)?);
    let question = Question {
        group: "external.metrics.k8s.io",
        version: "v1beta1",
        namespace,
        resource: name,
        parameters: &[("labelSelector", selector.as_str())],
        ..Question::default()
    };
    let items = question.ask(apis.client).await.and_then(|items| sum(&items).transpose());
    let items = items.map_err(|error| format!("unable to fetch metrics from external metrics API: {error}"));
    let value = items.and_then(|sum| sum.ok_or_else(|| "no metrics returned from external metrics API".to_owned()));
    value.map_err(|error| format!("unable to get external metric {namespace}/{name}/{}: {error}", shown(&own.metric)))
}

/// The sum of values; `None` of none.
fn sum(items: &[Value]) -> Option<Result<i64, String>> {
    let values = items.iter().map(|item| millis(&item["value"]));
    values.reduce(|sum, value| Ok(sum?.saturating_add(value?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_summed_and_end_at_the_largest_number() {
        let item = |value: &str| json!({"metricName": "queue", "value": value});
        assert_eq!(sum(&[]), None);
        assert_eq!(sum(&[item("1500m"), item("2")]), Some(Ok(3500)));
        assert_eq!(sum(&[item("9E"), item("9E")]), Some(Ok(i64::MAX)));
        assert!(sum(&[item("2"), item("many")]).is_some_and(|sum| sum.is_err()));
    }
}
