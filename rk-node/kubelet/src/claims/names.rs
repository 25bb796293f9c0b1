//! Which ResourceClaims a pod has, what of them its containers use, and whether the pod may have one. Values only.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::ResourceClaim;

use crate::pod::spec;
use crate::quantity::units_of;

/// A claim of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    /// The name of the object.
    pub name: String,
    /// Whether it was made for the pod, from a template.
    pub own: bool,
}

/// The claims that the spec names.
fn listed(pod: &Pod) -> &[PodResourceClaim] {
    pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default()
}

/// The object that a claim of the spec stands for; none where none had to be made.
///
/// # Errors
/// It is not made yet, or nobody can tell which it is; in upstream's words.
pub(super) fn object_of(pod: &Pod, claim: &PodResourceClaim) -> Result<Option<Named>, String> {
    if let Some(name) = &claim.resource_claim_name {
        return Ok(Some(Named { name: name.clone(), own: false }));
    }
    let whose = format!("pod \"{}/{}\"", spec::namespace(pod), spec::name(pod));
    if claim.resource_claim_template_name.is_none() {
        return Err(format!("{whose}, spec.resourceClaim {:?}: none of the supported fields are set", claim.name));
    }
    let statuses = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_deref()).unwrap_or_default();
    let made = statuses.iter().find(|status| status.name == claim.name);
    let made = made.ok_or_else(|| format!("{whose}: ResourceClaim not created yet"))?;
    Ok(made.resource_claim_name.clone().map(|name| Named { name, own: true }))
}

/// All claims of a pod, each once: those of its spec, and the one that the scheduler made for extended resources.
///
/// # Errors
/// As those of [`object_of`].
pub(super) fn all(pod: &Pod) -> Result<BTreeSet<Named>, String> {
    let mut found = BTreeSet::new();
    for claim in listed(pod) {
        found.extend(object_of(pod, claim)?);
    }
    let extended = pod.status.as_ref().and_then(|status| status.extended_resource_claim_status.as_ref());
    found.extend(extended.map(|made| Named { name: made.resource_claim_name.clone(), own: false }));
    Ok(found)
}

/// What a container names of the pod's claims: the claim's name in the pod, the object's, and the request that it is about, if it is
/// about one alone.
pub(super) struct Use<'a> {
    /// The claim's name in the pod.
    pub claim: &'a str,
    /// The object's.
    pub object: String,
    /// The request.
    pub request: Option<&'a str>,
}

/// What a container names of the pod's claims, in its order, without those for which nothing had to be made.
///
/// # Errors
/// As those of [`object_of`].
pub(super) fn named_by<'a>(pod: &Pod, container: &'a Container) -> Result<Vec<Use<'a>>, String> {
    let claims = container.resources.as_ref().and_then(|resources| resources.claims.as_deref()).unwrap_or_default();
    let mut found = Vec::new();
    for named in claims {
        let Some(claim) = listed(pod).iter().find(|claim| claim.name == named.name) else { continue };
        let Some(object) = object_of(pod, claim)? else { continue };
        let request = named.request.as_deref().filter(|request| !request.is_empty());
        found.push(Use { claim: &named.name, object: object.name, request });
    }
    Ok(found)
}

/// The requests that a container gets the devices of, by the name of the object; an empty one stands for all of it.
///
/// # Errors
/// As those of [`object_of`].
pub(super) fn used_by(pod: &Pod, container: &Container) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for used in named_by(pod, container)? {
        found.entry(used.object).or_default().insert(used.request.unwrap_or_default().to_owned());
    }
    let Some(extended) = pod.status.as_ref().and_then(|status| status.extended_resource_claim_status.as_ref()) else {
        return Ok(found);
    };
    let asked = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    for mapped in extended.request_mappings.iter().filter(|mapped| mapped.container_name == container.name) {
        if units_of(asked, &mapped.resource_name) > 0 {
            let requests = found.entry(extended.resource_claim_name.clone()).or_default();
            requests.insert(mapped.request_name.clone());
        }
    }
    Ok(found)
}

/// Whether a container gets a resource by the claim that was made for its pod's extended resources (KEP-5004): no plugin brings that.
pub fn is_by_claim(pod: &Pod, container: &Container, resource: &str) -> bool {
    let told = pod.status.as_ref().and_then(|status| status.extended_resource_claim_status.as_ref());
    let mut mappings = told.into_iter().flat_map(|told| &told.request_mappings);
    mappings.any(|mapped| mapped.container_name == container.name && mapped.resource_name == resource)
}

/// The drivers of a claim's devices, if the pod may have it.
///
/// # Errors
/// It may not, or nothing was allocated; in upstream's words.
pub(super) fn drivers(pod: &Pod, named: &Named, claim: &ResourceClaim) -> Result<BTreeSet<String>, String> {
    let (namespace, name, uid) = (spec::namespace(pod), spec::name(pod), spec::uid(pod));
    let object = &named.name;
    let mut owners = claim.metadata.owner_references.iter().flatten();
    if named.own && !owners.any(|owner| owner.controller == Some(true) && owner.uid == uid) {
        return Err(format!(
            "ResourceClaim {namespace}/{object} was not created for Pod {namespace}/{name} (Pod is not owner)"
        ));
    }
    let status = claim.status.as_ref();
    if !status.and_then(|status| status.reserved_for.as_ref()).into_iter().flatten().any(|holder| holder.uid == uid) {
        let of = claim.metadata.uid.as_deref().unwrap_or_default();
        return Err(format!("pod {name} ({uid}) is not allowed to use ResourceClaim {object} ({of})"));
    }
    let Some(allocation) = status.and_then(|status| status.allocation.as_ref()) else {
        return Err(format!("ResourceClaim {object}: not allocated"));
    };
    let results = allocation.devices.as_ref().and_then(|devices| devices.results.as_ref()).into_iter().flatten();
    Ok(results.map(|result| result.driver.clone()).collect())
}

/// A request without the name of the alternative that was chosen of it.
pub(super) fn base(request: &str) -> &str {
    request.split('/').next().unwrap_or(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(claims: &Value, status: &Value) -> Pod {
        let containers = json!([{"name": "c", "resources": {"requests": {"x.example/gpu": "1", "x.example/none": "0"},
            "claims": [{"name": "a"}, {"name": "t", "request": "big"}, {"name": "t", "request": "small"}, {"name": "idle"}]}}]);
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": containers, "resourceClaims": claims}, "status": status}))
        .unwrap()
    }

    fn whole() -> Pod {
        let claims = json!([{"name": "a", "resourceClaimName": "shared"}, {"name": "t", "resourceClaimTemplateName": "tt"},
            {"name": "idle", "resourceClaimTemplateName": "ii"}, {"name": "again", "resourceClaimName": "shared"}]);
        let mapping = |container: &str, resource: &str, request: &str| json!({"containerName": container, "resourceName": resource, "requestName": request});
        let status = json!({"resourceClaimStatuses": [{"name": "t", "resourceClaimName": "p-t-x"}, {"name": "idle"}],
            "extendedResourceClaimStatus": {"resourceClaimName": "p-extended", "requestMappings": [
                mapping("c", "x.example/gpu", "r0"), mapping("c", "x.example/none", "r1"), mapping("d", "x.example/gpu", "r2")]}});
        pod(&claims, &status)
    }

    #[test]
    fn a_pod_has_the_claims_of_its_spec_and_what_was_made_for_it() {
        let names =
            |pod: &Pod| all(pod).map(|all| all.into_iter().map(|named| (named.name, named.own)).collect::<Vec<_>>());
        let want =
            [("p-extended", false), ("p-t-x", true), ("shared", false)].map(|(name, own)| (name.to_owned(), own));
        assert_eq!(names(&whole()), Ok(want.to_vec()));
        assert_eq!(names(&Pod::default()), Ok(Vec::new()));
        let template = json!([{"name": "t", "resourceClaimTemplateName": "tt"}]);
        let early = Err("pod \"ns/p\": ResourceClaim not created yet".to_owned());
        assert_eq!(names(&pod(&template, &json!({}))), early);
        let odd = "pod \"ns/p\", spec.resourceClaim \"t\": none of the supported fields are set";
        assert_eq!(names(&pod(&json!([{"name": "t"}]), &json!({}))), Err(odd.to_owned()));
    }

    #[test]
    fn a_container_uses_the_requests_that_it_names() {
        let whole = whole();
        let used = used_by(&whole, &spec::app_containers(&whole)[0]).unwrap();
        let used: Vec<(&str, Vec<&str>)> =
            used.iter().map(|(name, of)| (name.as_str(), of.iter().map(String::as_str).collect())).collect();
        assert_eq!(used, [("p-extended", vec!["r0"]), ("p-t-x", vec!["big", "small"]), ("shared", vec![""])]);
        assert_eq!(used_by(&whole, &Container::default()), Ok(BTreeMap::new()));
        assert_eq!((base("one/other"), base("one")), ("one", "one"));
    }

    #[test]
    fn a_pod_may_have_what_is_reserved_for_it_and_of_a_template_what_was_made_for_it() {
        let whole = whole();
        let claim = |owner: &str, holder: &str, allocation: &Value| -> ResourceClaim {
            let owners = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true}]);
            let holders = json!([{"resource": "pods", "name": "p", "uid": holder}]);
            serde_json::from_value(json!({"metadata": {"name": "x", "uid": "of-x", "ownerReferences": owners},
                "spec": {}, "status": {"reservedFor": holders, "allocation": allocation}}))
            .unwrap()
        };
        let result = |driver: &str| json!({"request": "r", "driver": driver, "pool": "p", "device": "d"});
        let some = json!({"devices": {"results": [result("b"), result("a"), result("b")]}});
        let shared = Named { name: "x".to_owned(), own: false };
        let own = Named { own: true, ..shared.clone() };
        let foreign = "ResourceClaim ns/x was not created for Pod ns/p (Pod is not owner)";
        let unreserved = "pod p (u) is not allowed to use ResourceClaim x (of-x)";
        for (named, claim, want) in [
            (&shared, claim("other", "u", &some), Ok(vec!["a", "b"])),
            (&own, claim("u", "u", &some), Ok(vec!["a", "b"])),
            (&own, claim("other", "u", &some), Err(foreign)),
            (&own, claim("u", "other", &some), Err(unreserved)),
            (&shared, claim("u", "u", &json!({})), Ok(vec![])),
            (&shared, claim("u", "u", &Value::Null), Err("ResourceClaim x: not allocated")),
        ] {
            let found = drivers(&whole, named, &claim);
            let found = found.as_ref().map(|found| found.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(found.map_err(String::as_str), want);
        }
    }
}
