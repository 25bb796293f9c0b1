//! Whether the server behind an APIService can be used, and what it serves.

use std::sync::Arc;
use std::time::Duration;

use rk_api::meta;
use serde_json::{Value, json};

use super::Remote;
use super::status::Verdict;
use crate::discovery::openapi_part;
use crate::proxy::ready_endpoints;
use crate::server::Core;

/// How long the other server may take to answer discovery; upstream's figure.
const LIMIT: Duration = Duration::from_secs(5);

/// What an APIService says, before anybody was asked; `None` for one that this server serves itself.
pub(super) fn remote(service: &Value) -> Option<Remote> {
    let spec = meta::at(service, &["spec"]);
    let place = spec.get("service").filter(|place| place.is_object())?;
    let number = |field: &str| meta::at(spec, &[field]).as_i64().unwrap_or(0);
    let mut client = json!({"service": place});
    if let Some(bundle) = spec.get("caBundle").filter(|bundle| bundle.is_string()) {
        client["caBundle"] = bundle.clone();
    }
    Some(Remote {
        group: meta::text(spec, &["group"]).to_owned(),
        version: meta::text(spec, &["version"]).to_owned(),
        priority: (number("groupPriorityMinimum"), number("versionPriority")),
        client,
        insecure: meta::at(spec, &["insecureSkipTLSVerify"]) == &Value::Bool(true),
        available: false,
        resources: Vec::new(),
        openapi: None,
        swagger: None,
    })
}

/// Judges it, and fills in what it serves. While it does not answer, its document is the one that it had.
pub(super) async fn judge(core: &Core, remote: &mut Remote) -> Verdict {
    let known = core.aggregated.serving(&format!("/apis/{}/{}", remote.group, remote.version));
    remote.swagger = known.as_ref().and_then(|known| known.swagger.clone());
    let place = meta::at(&remote.client, &["service"]);
    let (namespace, name) = (meta::text(place, &["namespace"]).to_owned(), meta::text(place, &["name"]).to_owned());
    let port = meta::at(place, &["port"]).as_u64().unwrap_or(443).to_string();
    let service = match core.object("", "v1", "services", &namespace, &name).await {
        Ok(Some(service)) => service,
        Ok(None) => {
            return Verdict::no("ServiceNotFound", format!("service/{name} in {namespace:?} is not present"));
        }
        Err(status) => return Verdict::no("ServiceAccessError", status.message),
    };
    if meta::text(&service, &["spec", "type"]) != "ExternalName" {
        let ports = meta::at(&service, &["spec", "ports"]).as_array().into_iter().flatten();
        let mut numbers = ports.filter_map(|port| meta::at(port, &["port"]).as_u64());
        if !numbers.any(|number| number.to_string() == port) {
            let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
            return Verdict::no("ServicePortError", message);
        }
        if !ready_endpoints(core, &service, &port).await.is_ok_and(|ready| !ready.is_empty()) {
            let message =
                format!("endpointslices for service/{name} in {namespace:?} have no addresses with port {port}");
            return Verdict::no("MissingEndpoints", message);
        }
    }
    let path = format!("/apis/{}/{}", remote.group, remote.version);
    match core.callouts.discover(core, &remote.client, remote.insecure, &path, LIMIT).await {
        Ok(list) => {
            remote.available = true;
            remote.resources = meta::at(&list, &["resources"]).as_array().cloned().unwrap_or_default();
            let index = core.callouts.discover(core, &remote.client, remote.insecure, "/openapi/v3", LIMIT).await;
            // A server need not have documents: its API works all the same.
            remote.openapi = index.ok().and_then(|index| document(&index, &path));
            if !is_unchanged(known.as_ref(), remote) {
                let told = core.callouts.discover(core, &remote.client, remote.insecure, "/openapi/v2", LIMIT).await;
                let part = told.ok().and_then(|told| openapi_part(&told, &remote.group, &remote.version));
                remote.swagger = part.map(Arc::new).or_else(|| remote.swagger.take());
            }
            Verdict { available: true, reason: "Passed", message: "all checks passed".to_owned() }
        }
        Err(error) => Verdict::no("FailedDiscoveryCheck", format!("failing or missing response: {error}")),
    }
}

/// Whether a server says by the hash of its document of OpenAPI v3 that its API is as it was; the one of OpenAPI v2, which tells of the same
/// API, is not asked for again then.
fn is_unchanged(known: Option<&Remote>, now: &Remote) -> bool {
    let address = now.openapi.as_deref().filter(|address| address.contains("?hash="));
    address.is_some_and(|address| known.is_some_and(|known| known.openapi.as_deref() == Some(address)))
        && now.swagger.is_some()
}

/// Where the document of a version (`/apis/<group>/<version>`) is, as an index of OpenAPI v3 tells it; nothing that lies elsewhere.
fn document(index: &Value, path: &str) -> Option<String> {
    let entry = meta::at(index, &["paths"]).get(path.trim_start_matches('/'))?;
    let address = meta::text(entry, &["serverRelativeURL"]);
    let place = address.split_once('?').map_or(address, |(place, _)| place);
    (place.strip_prefix("/openapi/v3") == Some(path)).then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_where_their_server_tells_and_nowhere_else() {
        let told = |address: &str| {
            let index = json!({"paths": {"apis/a.example/v1": {"serverRelativeURL": address}}});
            document(&index, "/apis/a.example/v1")
        };
        for good in ["/openapi/v3/apis/a.example/v1?hash=A", "/openapi/v3/apis/a.example/v1"] {
            assert_eq!(told(good).as_deref(), Some(good));
        }
        for bad in ["", "/openapi/v3/apis/a.example/v10", "/api/v1", "https://a.example/openapi/v3/apis/a.example/v1"] {
            assert_eq!(told(bad), None, "{bad}");
        }
        assert_eq!(document(&json!({"paths": {}}), "/apis/a.example/v1"), None);
    }
}
