//! The form of an event (`audit.k8s.io/v1`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use rk_api::meta::format_micro_time;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::policy::{Level, Stage};
use crate::authn::User;
use crate::http::ResourcePath;

/// Bytes that an event without bodies takes at most as a rule: room that is made at once.
const USUAL: usize = 1024;

/// One event, as it is written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    pub(super) kind: &'static str,
    pub(super) api_version: &'static str,
    pub(super) level: Level,
    #[serde(rename = "auditID")]
    pub(super) audit_id: String,
    pub(super) stage: Stage,
    #[serde(rename = "requestURI")]
    pub(super) request_uri: String,
    pub(super) verb: String,
    pub(super) user: UserInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) impersonated_user: Option<UserInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authentication_metadata: Option<AuthenticationMetadata>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub(super) source_ips: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) object_ref: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_object: Option<Value>,
    #[serde(serialize_with = "micro")]
    pub(super) request_received_timestamp: Timestamp,
    #[serde(serialize_with = "micro")]
    pub(super) stage_timestamp: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Event {
    /// The event as a line of JSON, with its end.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(USUAL);
        // Writing to a vector does not fail, and every key is text.
        let _ = serde_json::to_writer(&mut line, self);
        line.push(b'\n');
        line
    }
}

fn micro<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_micro_time(*time))
}

/// How it came that the request was made in another's name.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthenticationMetadata {
    /// The verb of the mode of impersonation.
    pub(super) impersonation_constraint: String,
}

/// Somebody, as events name them.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct UserInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
}

impl From<&User> for UserInfo {
    fn from(user: &User) -> Self {
        let User { name, uid, groups, extra } = user.clone();
        Self { username: name, uid, groups, extra }
    }
}

/// What a request is about.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) subresource: String,
}

impl From<&ResourcePath> for ObjectRef {
    fn from(path: &ResourcePath) -> Self {
        let path = path.clone();
        Self {
            resource: path.resource,
            namespace: path.namespace,
            name: path.name,
            uid: String::new(),
            api_group: path.group,
            api_version: path.version,
            resource_version: String::new(),
            subresource: path.subresource,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line_of_upstreams_form() {
        let path = ResourcePath {
            group: "apps".into(),
            version: "v1".into(),
            namespace: "default".into(),
            resource: "deployments".into(),
            name: "web".into(),
            ..ResourcePath::default()
        };
        let received: Timestamp = "2026-01-02T03:04:05.000006Z".parse().unwrap();
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: Level::Metadata,
            audit_id: "id".to_owned(),
            stage: Stage::ResponseComplete,
            request_uri: "/apis/apps/v1/namespaces/default/deployments/web".to_owned(),
            verb: "get".to_owned(),
            user: UserInfo::from(&User::new("jane", ["devs".to_owned()])),
            impersonated_user: None,
            authentication_metadata: None,
            source_ips: vec!["192.0.2.7".to_owned()],
            user_agent: "kubectl/v1\n.36".to_owned(),
            object_ref: Some(ObjectRef::from(&path)),
            response_status: Some(json!({"metadata": {}, "code": 200})),
            request_object: None,
            response_object: None,
            request_received_timestamp: received,
            stage_timestamp: received,
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        };
        let line = event.line();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "whatever clients send");
        let read: Value = serde_json::from_slice(&line).unwrap();
        let wanted = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "id", "stage": "ResponseComplete",
            "requestURI": "/apis/apps/v1/namespaces/default/deployments/web", "verb": "get",
            "user": {"username": "jane", "groups": ["devs", "system:authenticated"]},
            "sourceIPs": ["192.0.2.7"], "userAgent": "kubectl/v1\n.36",
            "objectRef": {"resource": "deployments", "namespace": "default", "name": "web", "apiGroup": "apps", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 200},
            "requestReceivedTimestamp": "2026-01-02T03:04:05.000006Z", "stageTimestamp": "2026-01-02T03:04:05.000006Z",
            "annotations": {"a": "b"},
        });
        assert_eq!(read, wanted);
    }
}
