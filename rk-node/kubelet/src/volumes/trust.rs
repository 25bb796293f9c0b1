//! Trust anchors of ClusterTrustBundles (KEP-3257) as one file of a projected volume.

use std::collections::BTreeSet;

use base64::Engine;
use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;
use kube::api::{Api, ListParams};
use kube::core::Selector;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::api_error;

/// Characters in a line of PEM (RFC 7468).
const LINE: usize = 64;

/// The anchors that a projection names; empty when there are none and it may lack them.
pub async fn trust_anchors(client: &kube::Client, wanted: &ClusterTrustBundleProjection) -> Result<Vec<u8>, String> {
    let api: Api<ClusterTrustBundle> = Api::all(client.clone());
    let may_lack = wanted.optional == Some(true);
    let found = match (&wanted.name, &wanted.signer_name) {
        (Some(name), _) => match api.get_opt(name).await.map_err(|e| api_error::text(&e))? {
            Some(bundle) => vec![bundle],
            None if may_lack => Vec::new(),
            None => return Err(format!("clustertrustbundle.certificates.k8s.io \"{name}\" not found")),
        },
        (None, Some(signer)) => {
            let found = of_signer(&api, signer, wanted).await;
            // An API server without these objects has none.
            let absent = |e: &kube::Error| may_lack && matches!(e, kube::Error::Api(status) if status.code == 404);
            match found {
                Err(error) if absent(&error) => Vec::new(),
                Err(error) => return Err(api_error::text(&error)),
                Ok(found) if found.is_empty() && !may_lack => {
                    return Err("combination of signerName and labelSelector matched zero ClusterTrustBundles".into());
                }
                Ok(found) => found,
            }
        }
        (None, None) => return Err("a clusterTrustBundle source needs a name or a signerName".into()),
    };
    normalize(found.iter().map(|bundle| bundle.spec.trust_bundle.as_str()))
}

async fn of_signer(
    api: &Api<ClusterTrustBundle>,
    signer: &str,
    wanted: &ClusterTrustBundleProjection,
) -> Result<Vec<ClusterTrustBundle>, kube::Error> {
    // A selector that is left out chooses nothing, an empty one everything.
    let Some(labels) = wanted.label_selector.clone().and_then(|labels| Selector::try_from(labels).ok()) else {
        return Ok(Vec::new());
    };
    let list = api.list(&ListParams::default().labels_from(&labels)).await?;
    Ok(list.items.into_iter().filter(|b| b.spec.signer_name.as_deref().unwrap_or_default() == signer).collect())
}

/// All certificates of these bundles, each once, without comments and headers, in an order that does not depend on theirs.
fn normalize<'a>(bundles: impl Iterator<Item = &'a str>) -> Result<Vec<u8>, String> {
    let mut certificates = BTreeSet::new();
    for bundle in bundles {
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            let certificate = certificate.map_err(|error| format!("a trust bundle holds malformed PEM: {error}"))?;
            certificates.insert(certificate.to_vec());
        }
    }
    Ok(certificates.iter().flat_map(|certificate| pem(certificate).into_bytes()).collect())
}

fn pem(certificate: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(name: &str) -> String {
        rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap().cert.pem()
    }

    /// An API server with bundles `a` of signer `s/x` and `b` of `s/y`, whatever labels are asked for.
    fn server(a: &str, b: &str) -> kube::Client {
        let bundle = |name: &str, signer: &str, pem: &str| {
            json!({"apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle",
                "metadata": {"name": name}, "spec": {"signerName": signer, "trustBundle": pem}})
        };
        let all = [bundle("a", "s/x", a), bundle("b", "s/y", b)];
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let one = all.iter().find(|bundle| bundle["metadata"]["name"] == *name).cloned();
            let (code, answer) = match (name.as_str(), one) {
                ("clustertrustbundles", _) => (
                    200_u16,
                    json!({"apiVersion": "certificates.k8s.io/v1beta1",
                    "kind": "ClusterTrustBundleList", "metadata": {}, "items": all.clone()}),
                ),
                (_, Some(one)) => (200, one),
                (_, None) => (
                    404,
                    json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
                    "message": "not found", "reason": "NotFound", "code": 404}),
                ),
            };
            async move {
                let body = kube::client::Body::from(answer.to_string().into_bytes());
                Ok::<_, tower::BoxError>(http::Response::builder().status(code).body(body)?)
            }
        });
        kube::Client::new(service, "default")
    }

    #[tokio::test]
    async fn bundles_are_found_by_name_or_by_signer_and_labels() {
        let (a, b) = (made("a"), made("b"));
        let client = server(&a, &b);
        for (wanted, want) in [
            (json!({"name": "a"}), Ok(a.as_str())),
            (json!({"name": "c"}), Err("clustertrustbundle.certificates.k8s.io \"c\" not found")),
            (json!({"name": "c", "optional": true}), Ok("")),
            (json!({"signerName": "s/y", "labelSelector": {}}), Ok(b.as_str())),
            (json!({"signerName": "s/y", "labelSelector": {"matchLabels": {"k": "v"}}}), Ok(b.as_str())),
            (json!({"signerName": "s/y"}), Err("matched zero ClusterTrustBundles")),
            (json!({"signerName": "s/z", "labelSelector": {}}), Err("matched zero ClusterTrustBundles")),
            (json!({"signerName": "s/z", "labelSelector": {}, "optional": true}), Ok("")),
            (json!({}), Err("needs a name or a signerName")),
        ] {
            let mut projection = wanted.clone();
            projection["path"] = json!("roots.pem");
            let found = trust_anchors(&client, &serde_json::from_value(projection).unwrap()).await;
            match (found, want) {
                (Ok(found), Ok(want)) => {
                    assert_eq!(String::from_utf8_lossy(&found), want.replace("\r\n", "\n"), "{wanted}")
                }
                (Err(told), Err(words)) => assert!(told.contains(words), "{wanted}: {told}"),
                (found, want) => panic!("{wanted}: {found:?} instead of {want:?}"),
            }
        }
    }

    #[test]
    fn certificates_come_once_without_comments_and_in_one_order() {
        let (a, b) = (made("a"), made("b"));
        let crlf = a.replace('\n', "\r\n");
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let one = normalize([a.as_str()].into_iter()).unwrap();
        assert_eq!(String::from_utf8(one.clone()).unwrap(), a.replace("\r\n", "\n"));
        for same in [
            vec![a.clone(), a.clone()],
            vec![format!("of the office\n{crlf}\n{a}{key}")],
            vec![a.clone(), String::new()],
        ] {
            assert_eq!(normalize(same.iter().map(String::as_str)), Ok(one.clone()), "{same:?}");
        }
        let both = normalize([a.as_str(), b.as_str()].into_iter()).unwrap();
        assert_eq!(both, normalize([format!("{b}{a}").as_str()].into_iter()).unwrap());
        assert_eq!(both.len(), one.len() + b.replace("\r\n", "\n").len());
        assert_eq!(normalize(std::iter::empty()), Ok(Vec::new()));
        let torn = a.replacen("-----END", "----", 1);
        assert!(normalize([torn.as_str()].into_iter()).is_err_and(|e| e.contains("malformed PEM")));
    }
}
