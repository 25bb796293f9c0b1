//! What extension API servers read to know whom to believe: the authorities of clients, and those of the front proxies.

use std::sync::Arc;

use rk_api::status::Status;
use serde_json::{Value, json};

use super::{ensure, replace};
use crate::aggregation::{EXTRA, GROUP, UID, USER};
use crate::pki::FRONT_PROXY;
use crate::server::Core;

/// Most authorities of front proxies: one of each server, and some of servers that were.
const KEPT: usize = 16;
const END: &str = "-----END CERTIFICATE-----";

pub(super) async fn reconcile(core: &Arc<Core>) -> Result<(), Status> {
    let name = "extension-apiserver-authentication";
    let present = core.object("", "v1", "configmaps", "kube-system", name).await?;
    let known = present.as_ref().and_then(|map| map.pointer("/data/requestheader-client-ca-file"));
    let authorities = with_own(known.and_then(Value::as_str).unwrap_or_default(), &core.front_proxy_ca);
    let data = json!({
        "client-ca-file": core.ca_certificate,
        "requestheader-client-ca-file": authorities,
        "requestheader-allowed-names": json!([FRONT_PROXY]).to_string(),
        "requestheader-username-headers": json!([title(USER)]).to_string(),
        "requestheader-uid-headers": json!([title(UID)]).to_string(),
        "requestheader-group-headers": json!([title(GROUP)]).to_string(),
        "requestheader-extra-headers-prefix": json!([title(EXTRA)]).to_string(),
    });
    match present {
        None => {
            let metadata = json!({"name": name, "namespace": "kube-system"});
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
            ensure(core, "", "v1", "configmaps", map).await
        }
        Some(mut map) if map.get("data") != Some(&data) => {
            map["data"] = data;
            replace(core, "", "v1", "configmaps", &map).await
        }
        Some(_) => Ok(()),
    }
}

/// The authorities with this server's own: every server of the cluster has one.
fn with_own(bundle: &str, own: &str) -> String {
    let mut all: Vec<String> =
        bundle.split_inclusive(END).map(str::trim).filter(|pem| pem.ends_with(END)).map(str::to_owned).collect();
    if !all.iter().any(|pem| pem == own.trim()) {
        all.push(own.trim().to_owned());
    }
    let skipped = all.len().saturating_sub(KEPT);
    all.into_iter().skip(skipped).map(|pem| pem + "\n").collect()
}

/// A header's name as people write it: `X-Remote-User`.
fn title(name: &str) -> String {
    let part = |part: &str| part.get(..1).unwrap_or_default().to_uppercase() + part.get(1..).unwrap_or_default();
    name.split('-').map(part).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_servers_authority_stays() {
        let pem = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n{END}\n");
        let both = with_own(&pem("one"), &pem("two"));
        assert_eq!(both, pem("one") + &pem("two"));
        assert_eq!(with_own(&both, &pem("one")), both);
        assert_eq!(title(EXTRA), "X-Remote-Extra-");
    }
}
