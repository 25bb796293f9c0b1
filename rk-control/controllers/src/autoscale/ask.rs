//! Questions to the metrics APIs, and what is told of those that nobody answers.

use crate::discovery::Discovery;
use kube::Error;
use rk_api::meta::{Quantity, QuantityError};
use rk_api::status::Status;
use rk_client::message;
use serde_json::Value;
use std::fmt::{self, Write};

/// The client's reason for an answer that is no `Status` of the API.
const NO_STATUS: &str = "Failed to parse error data";

/// The metrics APIs of a cluster.
pub(super) struct Apis<'a> {
    pub(super) client: &'a kube::Client,
    pub(super) discovery: &'a Discovery,
}

/// What is asked of a metrics API.
#[derive(Debug, Default)]
pub(super) struct Question<'a> {
    /// API group.
    pub(super) group: &'static str,
    /// Its version.
    pub(super) version: &'a str,
    pub(super) namespace: &'a str,
    /// What has the metric, or the metric itself.
    pub(super) resource: &'a str,
    /// Of the one that has it; may be empty.
    pub(super) name: &'a str,
    /// The metric of that one; may be empty.
    pub(super) metric: &'a str,
    /// Parameters; those without a value are not sent.
    pub(super) parameters: &'a [(&'static str, &'a str)],
}

impl Question<'_> {
    /// The items of the answer.
    pub(super) async fn ask(&self, client: &kube::Client) -> Result<Vec<Value>, String> {
        let request = http::Request::get(self.path()).body(Vec::new()).map_err(|error| error.to_string())?;
        let mut answer: Value = client.request(request).await.map_err(|error| self.failure(&error))?;
        match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    fn path(&self) -> String {
        let Self { group, version, namespace, resource, name, metric, parameters } = self;
        let mut path = format!("/apis/{group}/{version}/namespaces/{}/{}", encoded(namespace), encoded(resource));
        for part in [name, metric].into_iter().filter(|part| !part.is_empty()) {
            path.push('/');
            path.push_str(&encoded(part));
        }
        for (at, (key, value)) in parameters.iter().filter(|(_, value)| !value.is_empty()).enumerate() {
            path.push(if at == 0 { '?' } else { '&' });
            path.push_str(key);
            path.push('=');
            path.push_str(&encoded(value));
        }
        path
    }

    /// Why there is no answer: in the API's own words, or in those that clients of upstream have for an answer without words.
    fn failure(&self, error: &Error) -> String {
        match error {
            Error::Api(status) if status.reason == NO_STATUS => {
                let known = Status::foreign(status.code, ("", ""), &status.message);
                format!("{} (get {self})", known.message)
            }
            _ => message(error),
        }
    }
}

/// `pods.metrics.k8s.io`, with the name if there is one.
impl fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.resource, self.group)?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " {}", self.name) }
    }
}

/// As part of a URL's path or query; `*` stays, which stands for all of a resource.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Thousandths of an amount as a metrics API tells it, which may be a number; none at all is nothing.
pub(super) fn millis(amount: &Value) -> Result<i64, String> {
    let text = match amount {
        Value::Null => return Ok(0),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.parse::<Quantity>().map(|amount| amount.millis()).map_err(|error: QuantityError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const OF_PODS: Question<'static> = Question {
        group: "custom.metrics.k8s.io",
        version: "v1beta2",
        namespace: "n",
        resource: "pods",
        name: "*",
        metric: "requests|rate",
        parameters: &[("labelSelector", "app in (a,b)"), ("metricLabelSelector", "")],
    };

    #[test]
    fn questions_have_the_paths_that_metrics_apis_serve() {
        let path = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/n/pods/*/requests%7Crate";
        assert_eq!(OF_PODS.path(), format!("{path}?labelSelector=app%20in%20%28a%2Cb%29"));
        let parameters = [("labelSelector", ""), ("metricLabelSelector", "verb=GET")];
        let question = Question { parameters: &parameters, ..OF_PODS };
        assert_eq!(question.path(), format!("{path}?metricLabelSelector=verb%3DGET"));
        let whole = Question {
            group: "external.metrics.k8s.io",
            version: "v1beta1",
            namespace: "n",
            resource: "queue",
            ..Question::default()
        };
        assert_eq!(whole.path(), "/apis/external.metrics.k8s.io/v1beta1/namespaces/n/queue");
    }

    #[test]
    fn an_answer_without_words_is_told_of_by_its_code() {
        let said = |code, text: &str, reason: &str| {
            OF_PODS.failure(&Error::Api(kube::core::Status::failure(text, reason).with_code(code).boxed()))
        };
        let asked = "(get pods.custom.metrics.k8s.io *)";
        for (code, text) in [
            (404, "the server could not find the requested resource"),
            (503, "the server is currently unable to handle the request"),
            (500, "an error on the server (\"oh\") has prevented the request from succeeding"),
            (403, "oh"),
        ] {
            assert_eq!(said(code, "oh", NO_STATUS), format!("{text} {asked}"));
        }
        assert_eq!(
            said(404, "the server could not find the metric x", "NotFound"),
            "the server could not find the metric x"
        );
        let whole = Question { group: "metrics.k8s.io", resource: "pods", ..Question::default() };
        assert_eq!(whole.to_string(), "pods.metrics.k8s.io");
    }

    #[test]
    fn amounts_are_texts_or_numbers() {
        for (amount, expected) in [
            (json!("1500m"), Some(1500)),
            (json!("2k"), Some(2_000_000)),
            (json!(3), Some(3000)),
            (Value::Null, Some(0)),
            (json!("many"), None),
        ] {
            assert_eq!(millis(&amount).ok(), expected, "{amount}");
        }
    }
}
