//! What a path and method ask for, before any resource is looked up: authorization and handlers share this reading.

use http::Method;
use rk_api::meta::path_segment;

use super::query::{Query, decode};

/// The resource part of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// Group, empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace, empty for cluster-scoped resources and lists across namespaces.
    pub namespace: String,
    /// Plural.
    pub resource: String,
    /// Subresource, empty for none.
    pub subresource: String,
    /// Object name, empty for collections.
    pub name: String,
    /// What follows the subresource, with its leading slash; only proxies have it.
    pub rest: String,
}

/// A request as authorization sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// The verb: a resource verb, or the lower-case method for other paths.
    pub verb: String,
    /// The path as sent.
    pub path: String,
    /// Set when the path names a resource.
    pub resource: Option<ResourcePath>,
    /// The node to which the field selector of a list keeps it, empty for none.
    pub node: String,
}

impl RequestInfo {
    /// Reads method, path and query.
    #[must_use]
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let resource = parse_resource(path);
        let Some((mut resource, legacy_watch)) = resource else {
            let verb = method.as_str().to_ascii_lowercase();
            return Self { verb, path: path.to_owned(), ..Self::default() };
        };
        let verb = if legacy_watch { "watch" } else { verb_of(method, &resource, query) };
        let mut node = String::new();
        if matches!(verb, "list" | "watch" | "deletecollection") {
            let selector = query.text("fieldSelector");
            node = required_value(selector, "spec.nodeName").unwrap_or_default();
            // A selector that names one object is authorized as that object, but neither where it is to go nor in a path of old.
            let named = resource.name.is_empty() && verb != "deletecollection" && !legacy_watch;
            if let Some(name) = required_value(selector, "metadata.name").filter(|name| named && is_segment(name)) {
                resource.name = name;
            }
        }
        Self { verb: verb.to_owned(), path: path.to_owned(), resource: Some(resource), node }
    }
}

fn verb_of(method: &Method, resource: &ResourcePath, query: &Query) -> &'static str {
    let one = !resource.name.is_empty();
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if one => "delete",
        Method::DELETE => "deletecollection",
        // Who names an object gets it, whatever else the query says.
        Method::GET | Method::HEAD if one => "get",
        Method::GET | Method::HEAD if query.flag("watch") => "watch",
        Method::GET | Method::HEAD => "list",
        // Other methods are no verb, and only those may use them who may do everything.
        _ => "",
    }
}

/// The value that a selector requires of a field, whatever else it asks for. Where anything is escaped, a part of a value might look like
/// that.
pub fn required_value(selector: &str, field: &str) -> Option<String> {
    let mut parts = selector.split(',').filter(|_| !selector.contains('\\'));
    let value = parts.find_map(|part| part.strip_prefix(field)?.strip_prefix('='))?;
    Some(value.strip_prefix('=').unwrap_or(value).to_owned())
}

/// Whether a name can stand in a path.
fn is_segment(name: &str) -> bool {
    !name.is_empty() && path_segment(name).is_empty()
}

/// Reads `/api/v1/…` and `/apis/group/version/…`. The second value tells the old `/watch/` form. What is between two slashes may be
/// empty, and a slash that is encoded is one.
fn parse_resource(path: &str) -> Option<(ResourcePath, bool)> {
    let decoded = decode(path, false);
    let mut segments = decoded.trim_matches('/').split('/');
    let (group, version) = match segments.next()? {
        "api" => ("", segments.next()?),
        "apis" => (segments.next().filter(|group| !group.is_empty())?, segments.next()?),
        _ => return None,
    };
    let mut out = ResourcePath { group: group.to_owned(), version: version.to_owned(), ..ResourcePath::default() };
    let mut segments = segments.peekable();
    let watch = segments.next_if_eq(&"watch").is_some();
    let mut first = segments.next()?;
    if first == "namespaces" {
        let Some(namespace) = segments.next() else {
            out.resource = "namespaces".to_owned();
            return Some((out, watch));
        };
        out.namespace = namespace.to_owned();
        match segments.peek() {
            None | Some(&("status" | "finalize")) => {
                out.resource = "namespaces".to_owned();
                out.name = out.namespace.clone();
                out.subresource = segments.next().unwrap_or_default().to_owned();
                return Some((out, watch));
            }
            Some(_) => first = segments.next()?,
        }
    }
    out.resource = first.to_owned();
    out.name = segments.next().unwrap_or_default().to_owned();
    out.subresource = segments.next().unwrap_or_default().to_owned();
    if out.subresource == "proxy" {
        out.rest = rest_after_proxy(path);
    } else if segments.next().is_some() {
        return None;
    }
    Some((out, watch))
}

/// The proxied path keeps its empty segments and its encoding.
fn rest_after_proxy(path: &str) -> String {
    let mut depth = 0;
    let mut passed = 0;
    // `…/{resource}/{name}/proxy`: the first `proxy` segment that has a name before it.
    for segment in path.split('/') {
        passed += segment.len() + 1;
        depth += 1;
        if depth > 5 && segment == "proxy" {
            return path.get(passed - 1..).unwrap_or_default().to_owned();
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: Method, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::parse(&method, path, &Query::parse(query))
    }

    #[test]
    fn a_list_may_be_kept_to_a_node() {
        for (selector, node) in [
            ("spec.nodeName%3Dn1", "n1"),
            ("spec.nodeName%3D%3Dn1", "n1"),
            ("status.phase!%3DFailed,spec.nodeName%3Dn1", "n1"),
            ("spec.nodeName!%3Dn1", ""),
            ("metadata.name!%3Dx%5C,spec.nodeName%3Dn1", ""),
            ("", ""),
        ] {
            let target = format!("/api/v1/pods?fieldSelector={selector}");
            assert_eq!(info(Method::GET, &target).node, node, "{selector}");
        }
        assert_eq!(info(Method::GET, "/api/v1/namespaces/a/pods/p?fieldSelector=spec.nodeName%3Dn1").node, "");
    }

    #[test]
    fn a_list_of_one_object_is_authorized_as_that_object() {
        for (method, selector, name) in [
            (Method::GET, "metadata.name%3Dx", "x"),
            (Method::GET, "metadata.namespace%3Da,metadata.name%3D%3Dx", "x"),
            (Method::GET, "metadata.name%3Dx,status.phase!%3DFailed", "x"),
            (Method::GET, "metadata.name!%3Dx", ""),
            (Method::GET, "metadata.name%3D..", ""),
            (Method::GET, "metadata.name%3Da/b", ""),
            (Method::GET, "metadata.namespace%3Dx", ""),
            (Method::DELETE, "metadata.name%3Dx", ""),
        ] {
            let target = format!("/api/v1/namespaces/a/pods?fieldSelector={selector}");
            assert_eq!(info(method.clone(), &target).resource.unwrap().name, name, "{method} {selector}");
        }
        let old = info(Method::GET, "/api/v1/watch/namespaces/a/pods?fieldSelector=metadata.name%3Dx");
        assert_eq!((old.verb.as_str(), old.resource.unwrap().name.as_str()), ("watch", ""));
    }

    #[test]
    fn paths_and_methods_become_verbs_on_resources() {
        for (method, target, verb, group, namespace, resource, name, sub) in [
            (Method::GET, "/api/v1/pods", "list", "", "", "pods", "", ""),
            (Method::GET, "/api/v1/namespaces/a/pods/p", "get", "", "a", "pods", "p", ""),
            (Method::GET, "/api/v1/namespaces/a/pods?watch=true", "watch", "", "a", "pods", "", ""),
            (Method::GET, "/api/v1/namespaces/a/pods/p?watch=true", "get", "", "a", "pods", "p", ""),
            (Method::GET, "/api/v1/watch/namespaces/a/pods", "watch", "", "a", "pods", "", ""),
            (Method::POST, "/api/v1/namespaces/a/pods/p/exec", "create", "", "a", "pods", "p", "exec"),
            (Method::GET, "/api/v1/namespaces", "list", "", "", "namespaces", "", ""),
            (Method::DELETE, "/api/v1/namespaces/a", "delete", "", "a", "namespaces", "a", ""),
            (Method::PUT, "/api/v1/namespaces/a/finalize", "update", "", "a", "namespaces", "a", "finalize"),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection",
                "apps",
                "a",
                "deployments",
                "",
                "",
            ),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "patch",
                "apps",
                "a",
                "deployments",
                "d",
                "scale",
            ),
            (Method::GET, "/api/v1/nodes?fieldSelector=metadata.name%3Dn1", "list", "", "", "nodes", "n1", ""),
            (Method::HEAD, "/api/v1/namespaces/a/pods/", "list", "", "a", "pods", "", ""),
            (Method::OPTIONS, "/api/v1/namespaces/a/pods", "", "", "a", "pods", "", ""),
            (Method::GET, "/api/v1/namespaces/a%2Fpods/p%2Flog", "get", "", "a", "pods", "p", "log"),
            (Method::GET, "/api/v1/namespaces//pods", "list", "", "", "pods", "", ""),
            (Method::GET, "//apis/g/v1/foos//status", "list", "g", "", "foos", "", "status"),
        ] {
            let got = info(method, target);
            let path = got.resource.unwrap();
            assert_eq!(
                (
                    got.verb.as_str(),
                    path.group.as_str(),
                    path.namespace.as_str(),
                    path.resource.as_str(),
                    path.name.as_str(),
                    path.subresource.as_str()
                ),
                (verb, group, namespace, resource, name, sub),
                "{target}"
            );
        }
    }

    #[test]
    fn discovery_and_health_are_no_resources() {
        for path in [
            "/api",
            "/apis",
            "/api/v1",
            "/apis/apps/v1",
            "/healthz",
            "/openapi/v3/apis/apps/v1",
            "/version",
            "/apis//apps/v1/deployments",
        ] {
            assert_eq!(info(Method::GET, path).resource, None, "{path}");
        }
    }

    #[test]
    fn a_proxied_path_keeps_its_shape() {
        let got = info(Method::GET, "/api/v1/namespaces/a/services/http:web:80/proxy/x//y%20z/").resource.unwrap();
        assert_eq!((got.name.as_str(), got.rest.as_str()), ("http:web:80", "/x//y%20z/"));
        assert_eq!(info(Method::GET, "/api/v1/nodes/n/proxy").resource.unwrap().rest, "");
        assert_eq!(info(Method::GET, "/api/v1/nodes/n/proxy/metrics").resource.unwrap().rest, "/metrics");
    }
}
