//! CertificateSigningRequests: approve those of nodes, sign approved ones, remove old ones.

mod approve;
mod request;
mod sign;

use crate::context::{Authority, Context};
use approve::Verdict;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::api::core::v1::{Node, NodeAddress};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rk_client::{BoxError, Deletion, Informer, ObjectKey, Outcome, Queue, Verbs};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const SIGNERS: [&str; 3] = [request::CLIENT, request::KUBELET_CLIENT, request::KUBELET_SERVING];
/// A new node publishes its addresses soon after it asks; their change is noticed earlier.
const NODE_WAIT: Duration = Duration::from_secs(2);
const KEEP_DECIDED: SignedDuration = SignedDuration::from_hours(1);
const KEEP_PENDING: SignedDuration = SignedDuration::from_hours(24);

struct Controller {
    client: kube::Client,
    requests: Informer<CertificateSigningRequest>,
    nodes: Informer<Node>,
    authority: Option<Authority>,
}

/// Starts approval, signing and clean-up.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        client: ctx.client.clone(),
        requests: ctx.informers.of(),
        nodes: ctx.informers.of(),
        authority: ctx.config.authority.clone(),
    });
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.requests.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let (q, requests) = (queue.clone(), controller.requests.clone());
    controller.nodes.on_change(move |change| {
        let node = change.object();
        if change.previous().is_none_or(|before| addresses(before) != addresses(node)) {
            requests.list().iter().filter(|csr| asks_for(csr, node)).for_each(|csr| q.add(ObjectKey::of(csr.as_ref())));
        }
    });
    let cleaner = Arc::clone(&controller);
    ctx.every(Duration::from_secs(600), move || {
        let cleaner = Arc::clone(&cleaner);
        async move { cleaner.clean(Timestamp::now()).await }
    });
    ctx.work("certificate", queue, 2, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

fn addresses(node: &Node) -> Option<&Vec<NodeAddress>> {
    node.status.as_ref()?.addresses.as_ref()
}

/// Whether the request is the node's own.
fn asks_for(csr: &CertificateSigningRequest, node: &Node) -> bool {
    let user = csr.spec.username.as_deref().and_then(|user| user.strip_prefix(request::NODE_PREFIX));
    user.is_some() && user == node.metadata.name.as_deref()
}

fn has(csr: &CertificateSigningRequest, type_: &str) -> bool {
    csr.status.iter().flat_map(|s| s.conditions.iter().flatten()).any(|c| c.type_ == type_)
}

fn push_condition(csr: &mut CertificateSigningRequest, type_: &str, reason: &str, message: String) {
    let now = Time(Timestamp::now());
    csr.status.get_or_insert_default().conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    });
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(csr) = self.requests.get(key) else { return Ok(Outcome::AwaitChange) };
        let issued = csr.status.as_ref().is_some_and(|s| s.certificate.is_some());
        if issued || has(&csr, "Denied") || has(&csr, "Failed") || !SIGNERS.contains(&csr.spec.signer_name.as_str()) {
            return Ok(Outcome::AwaitChange);
        }
        if has(&csr, "Approved") { self.issue(&csr).await } else { self.approve(&csr).await }
    }

    async fn approve(&self, csr: &CertificateSigningRequest) -> Result<Outcome, BoxError> {
        // A request that breaks the rules is left to a human, who will see why when approving it.
        let Ok((request, _)) = request::parse(csr) else { return Ok(Outcome::AwaitChange) };
        if request.check(&csr.spec.signer_name).is_err() {
            return Ok(Outcome::AwaitChange);
        }
        let node = request.node().and_then(|name| self.nodes.get(&ObjectKey::cluster(name)));
        let message = match approve::judge(&csr.spec, &request, node.as_deref()) {
            Verdict::NotOurs => return Ok(Outcome::AwaitChange),
            Verdict::WaitForNode(names) => {
                tracing::debug!(csr = csr.metadata.name, names, "waiting for the node's addresses");
                return Ok(Outcome::RequeueAfter(NODE_WAIT));
            }
            Verdict::Approve(message) => message,
            Verdict::AskFor(questions) => match self.first_allowed(csr, questions).await? {
                Some(message) => message,
                None => return Err("the requester may not get this certificate approved automatically".into()),
            },
        };
        let mut approved = csr.clone();
        push_condition(&mut approved, "Approved", "AutoApproved", message.to_owned());
        let approved: CertificateSigningRequest = self.client.replace_sub("approval", &approved).await?;
        self.requests.observe(approved);
        Ok(Outcome::AwaitChange)
    }

    async fn first_allowed(
        &self,
        csr: &CertificateSigningRequest,
        questions: Vec<(&'static str, &'static str)>,
    ) -> kube::Result<Option<&'static str>> {
        for (subresource, message) in questions {
            let review: SubjectAccessReview = self.client.create(&approve::review(csr, subresource)).await?;
            if review.status.is_some_and(|s| s.allowed) {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    async fn issue(&self, csr: &CertificateSigningRequest) -> Result<Outcome, BoxError> {
        let Some(authority) = &self.authority else { return Ok(Outcome::AwaitChange) };
        let usages = csr.spec.usages.clone().unwrap_or_default();
        let signed = request::parse(csr).and_then(|(request, params)| {
            request.check(&csr.spec.signer_name)?;
            sign::sign(authority, params, &usages, csr.spec.expiration_seconds, SystemTime::now())
        });
        let mut changed = csr.clone();
        match signed {
            Ok(certificate) => {
                changed.status.get_or_insert_default().certificate = Some(ByteString(certificate.into_bytes()))
            }
            Err(refusal) => {
                tracing::warn!(csr = csr.metadata.name, %refusal, "approved request breaks its signer's rules");
                push_condition(&mut changed, "Failed", "SignerValidationFailure", refusal.to_string());
            }
        }
        self.requests.replace_status(&changed).await?;
        Ok(Outcome::AwaitChange)
    }

    async fn clean(&self, now: Timestamp) {
        for csr in self.requests.list() {
            if is_old(&csr, now)
                && let Err(error) = self
                    .requests
                    .delete(&ObjectKey::of(csr.as_ref()), &Deletion::of_uid(csr.metadata.uid.as_ref()))
                    .await
            {
                tracing::debug!(csr = csr.metadata.name, %error, "old request not removed, will retry");
            }
        }
    }
}

/// What was approved waits for its signer, however long that takes; nobody waits for what was issued, denied or failed.
fn is_old(csr: &CertificateSigningRequest, now: Timestamp) -> bool {
    let is_issued = csr.status.as_ref().is_some_and(|status| status.certificate.is_some());
    let decided = csr
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .filter(|c| is_issued || c.type_ != "Approved")
        .filter_map(|c| c.last_update_time.as_ref())
        .map(|t| t.0)
        .max();
    let created = csr.metadata.creation_timestamp.as_ref().map(|t| t.0);
    match (decided, created) {
        (Some(at), _) => now.duration_since(at) > KEEP_DECIDED,
        (None, Some(at)) => !has(csr, "Approved") && now.duration_since(at) > KEEP_PENDING,
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn requests_that_nothing_waits_for_are_removed() {
        let now: Timestamp = "2026-01-03T00:00:00Z".parse().expect("time");
        let at = |type_: &str, time: &str| json!([{"type": type_, "status": "True", "lastUpdateTime": time}]);
        let (long_ago, just_now) = ("2026-01-01T00:00:00Z", "2026-01-02T23:30:00Z");
        for (conditions, certificate, created, expected) in [
            (Value::Null, Value::Null, long_ago, true),
            (Value::Null, Value::Null, just_now, false),
            (at("Denied", long_ago), Value::Null, long_ago, true),
            (at("Failed", just_now), Value::Null, long_ago, false),
            (at("Approved", long_ago), json!("eA=="), long_ago, true),
            (at("Approved", just_now), json!("eA=="), long_ago, false),
            (at("Approved", long_ago), Value::Null, long_ago, false),
        ] {
            let status = json!({"conditions": conditions, "certificate": certificate});
            let csr = json!({"metadata": {"creationTimestamp": created}, "status": status,
                "spec": {"request": "", "signerName": "example.com/own"}});
            let csr: CertificateSigningRequest = serde_json::from_value(csr).expect("valid");
            assert_eq!(is_old(&csr, now), expected, "{status}");
        }
    }
}
