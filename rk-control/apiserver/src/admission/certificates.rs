//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::Request;
use crate::authn::MASTERS;
use crate::authz::Attributes;

const GROUP: &str = "certificates.k8s.io";
const PLURAL: &str = "certificatesigningrequests";

/// Whether somebody may act on a signer, by name or for its whole domain.
async fn may(request: &Request<'_>, verb: &str, signer: &str) -> Result<bool, Status> {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let attributes = Attributes {
            verb: verb.to_owned(),
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            ..Attributes::default()
        };
        if request.allows(&attributes).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn signer(object: &Value) -> &str {
    meta::text(object, &["spec", "signerName"])
}

/// Approving needs the right `approve` on the signer.
pub(super) async fn approval(request: &Request<'_>, object: Option<&Value>) -> Result<(), Status> {
    let Some(object) = object.filter(|_| request.is_sub(GROUP, PLURAL, "approval")) else { return Ok(()) };
    let name = signer(request.old.unwrap_or(object));
    if may(request, "approve", name).await? {
        return Ok(());
    }
    Err(request.forbid(&format!("user not permitted to approve requests with signerName {name:?}")))
}

/// Setting the certificate, or a condition through the status, needs the right `sign` on the signer.
pub(super) async fn signing(request: &Request<'_>, object: Option<&Value>) -> Result<(), Status> {
    let Some(object) = object.filter(|_| request.is_sub(GROUP, PLURAL, "status")) else { return Ok(()) };
    let Some(old) = request.old else { return Ok(()) };
    if says_the_same(old, object) {
        return Ok(());
    }
    let name = signer(old);
    if may(request, "sign", name).await? {
        return Ok(());
    }
    Err(request.forbid(&format!("user not permitted to sign requests with signerName {name:?}")))
}

/// Whether two statuses have the same certificate and the same conditions, in whatever order.
fn says_the_same(old: &Value, new: &Value) -> bool {
    let conditions = |of: &Value| meta::at(of, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    let (before, after) = (conditions(old), conditions(new));
    let certificate = |of| meta::text(of, &["status", "certificate"]);
    certificate(old) == certificate(new)
        && before.len() == after.len()
        && after.iter().all(|condition| before.contains(condition))
}

/// Nobody becomes an administrator through a client certificate.
pub(super) async fn subject(request: &Request<'_>, object: Option<&Value>) -> Result<(), Status> {
    let Some(object) = object.filter(|_| request.is(GROUP, PLURAL) && request.creates()) else { return Ok(()) };
    if signer(object) != "kubernetes.io/kube-apiserver-client" {
        return Ok(());
    }
    let groups = groups_of(meta::text(object, &["spec", "request"]));
    if groups.iter().any(|group| group == MASTERS) {
        return Err(request.forbid(&format!(
            "use of kubernetes.io/kube-apiserver-client signer with {MASTERS} group is not allowed"
        )));
    }
    Ok(())
}

fn groups_of(request: &str) -> Vec<String> {
    let groups = |subject: &X509Name<'_>| {
        subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect()
    };
    of_subject(request, groups).unwrap_or_default()
}

/// The common name that a request in PEM, in base64, is for; the last one counts, as Go reads them.
///
/// # Errors
/// The text is no request.
pub(super) fn common_name(request: &str) -> Result<String, &'static str> {
    let name = |subject: &X509Name<'_>| {
        subject.iter_common_name().last().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
    };
    of_subject(request, name).ok_or("PEM block type must be CERTIFICATE REQUEST")
}

/// Something of the subject of a request. `None`: the text is no request.
fn of_subject<T>(request: &str, read: impl FnOnce(&X509Name<'_>) -> T) -> Option<T> {
    let text = STANDARD.decode(request).ok()?;
    let block = pem::parse(&text).ok()?;
    let (_, parsed) = X509CertificationRequest::from_der(block.contents()).ok()?;
    Some(read(&parsed.certification_request_info.subject))
}
