//! Rules of ingresses, network policies, ranges of addresses and slices of endpoints, one broken at a time.

use serde_json::{Value, json};

use super::apps::refuses;
use super::breaks;
use super::extensions::merged;
use super::others::lets_in;

#[test]
fn paths_and_backends_of_an_ingress() {
    let service = json!({"service": {"name": "s", "port": {"number": 80}}});
    let path = |kind: &str, path: &str| {
        let one = json!({"path": path, "pathType": kind, "backend": service});
        json!({"spec": {"rules": [{"http": {"paths": [one]}}]}})
    };
    let backend = |backend: Value| json!({"spec": {"defaultBackend": backend}});
    let at = "spec.rules[0].http.paths[0].path: Invalid value: ";
    for kind in ["Exact", "Prefix"] {
        for (own, why) in [
            ("", "must be an absolute path"),
            ("foo", "must be an absolute path"),
            ("/a//b", "must not contain '//'"),
            ("/a/./b", "must not contain '/./'"),
            ("/a/../b", "must not contain '/../'"),
            ("/a%2fb", "must not contain '%2f'"),
            ("/a%2Fb", "must not contain '%2F'"),
            ("/a/..", "cannot end with '/..'"),
            ("/a/.", "cannot end with '/.'"),
        ] {
            let want = format!("{at}{own:?}: {why}");
            breaks("ingresses", &[(path(kind, own), want.as_str())]);
        }
    }
    let relative = format!("{at}\"foo\": must be an absolute path");
    breaks("ingresses", &[(path("ImplementationSpecific", "foo"), relative.as_str())]);
    lets_in("ingresses", &path("ImplementationSpecific", ""));
    lets_in("ingresses", &path("ImplementationSpecific", "/a//b"));
    let untyped = json!({"spec": {"rules": [{"http": {"paths": [{"path": "/", "backend": service}]}}]}});
    let rule = |host: &str| json!({"spec": {"rules": [{"host": host}]}});
    let tls = |tls: Value| json!({"spec": {"tls": [tls]}});
    breaks(
        "ingresses",
        &[
            (untyped, "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"),
            (json!({"spec": {"rules": [{"http": {"paths": []}}]}}), "spec.rules[0].http.paths: Required value"),
            (rule("Foo"), "spec.rules[0].host: Invalid value: \"Foo\": a lowercase RFC 1123 subdomain"),
            (
                rule("a.*.b"),
                "spec.rules[0].host: Invalid value: \"a.*.b\": a wildcard DNS-1123 subdomain must start with",
            ),
            (tls(json!({"hosts": ["Foo"]})), "spec.tls[0].hosts[0]: Invalid value: \"Foo\""),
            (tls(json!({"secretName": "A"})), "spec.tls[0].secretName: Invalid value: \"A\""),
            (json!({"spec": {"ingressClassName": "A"}}), "spec.ingressClassName: Invalid value: \"A\""),
            (
                backend(
                    json!({"service": {"name": "s", "port": {"number": 80}}, "resource": {"kind": "K", "name": "n"}}),
                ),
                "spec.defaultBackend: Invalid value: \"\": cannot set both resource and service backends",
            ),
            (
                backend(json!({"service": {"name": "s", "port": {"name": "p", "number": 80}}})),
                "spec.defaultBackend: Invalid value: \"\": cannot set both port name & port number",
            ),
            (
                backend(json!({"service": {"name": "", "port": {"number": 80}}})),
                "spec.defaultBackend.service.name: Required value",
            ),
            (
                backend(json!({"service": {"name": "s", "port": {"name": "P!"}}})),
                "spec.defaultBackend.service.port.name: Invalid value: \"P!\"",
            ),
            (
                backend(json!({"service": {"name": "s", "port": {"number": 65536}}})),
                "spec.defaultBackend.service.port.number: Invalid value: 65536: must be between 1 and 65535, inclusive",
            ),
            (
                backend(json!({"resource": {"name": "n"}})),
                "spec.defaultBackend.resource.kind: Required value: kind is required",
            ),
            (
                backend(json!({"resource": {"apiGroup": "A", "kind": "K", "name": "n"}})),
                "spec.defaultBackend.resource.apiGroup: Invalid value: \"A\"",
            ),
        ],
    );
    lets_in("ingresses", &rule("*.example.com"));
    // A Service's name may begin with a digit.
    lets_in("ingresses", &backend(json!({"service": {"name": "1s", "port": {"number": 80}}})));
    let parameters = |more: Value| {
        let own = merged(&json!({"kind": "K", "name": "n"}), &more);
        json!({"spec": {"parameters": own}})
    };
    let long = format!("a/{}", "b".repeat(250));
    breaks(
        "ingressclasses",
        &[
            (json!({"spec": {"controller": ""}}), "spec.controller: Required value"),
            (
                json!({"spec": {"controller": "a"}}),
                "spec.controller: Invalid value: \"a\": must be a domain-prefixed path",
            ),
            (json!({"spec": {"controller": long}}), "spec.controller: Too long: may not be more than 250 bytes"),
            (
                parameters(json!({"scope": "Namespace"})),
                "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
            ),
            (
                parameters(json!({"scope": "Namespace", "namespace": "N"})),
                "spec.parameters.namespace: Invalid value: \"N\": a lowercase RFC 1123 label",
            ),
        ],
    );
    let other = json!({"spec": {"controller": "example.com/y"}});
    let want = "spec.controller: Invalid value: \"example.com/y\": field is immutable";
    refuses("ingressclasses", None, &[(json!({}), other, want)]);
}

#[test]
fn a_network_policy_names_ports_and_peers() {
    let port = |port: Value| json!({"spec": {"ingress": [{"ports": [port]}]}});
    let to = |peer: Value| json!({"spec": {"egress": [{"to": [peer]}]}});
    let block = |cidr: &str, except: Value| to(json!({"ipBlock": {"cidr": cidr, "except": except}}));
    let at = "spec.egress[0].to[0]";
    breaks(
        "networkpolicies",
        &[
            (port(json!({"port": "a--b"})), "spec.ingress[0].ports[0].port: Invalid value: \"a--b\""),
            (port(json!({"port": 0})), "spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535"),
            (
                port(json!({"port": "http", "endPort": 90})),
                "endPort: Invalid value: 90: may not be specified when `port` is non-numeric",
            ),
            (
                port(json!({"endPort": 90})),
                "endPort: Invalid value: 90: may not be specified when `port` is not specified",
            ),
            (
                port(json!({"port": 91, "endPort": 90})),
                "endPort: Invalid value: 90: must be greater than or equal to `port`",
            ),
            (
                port(json!({"port": 1, "endPort": 65536})),
                "endPort: Invalid value: 65536: must be between 1 and 65535, inclusive",
            ),
            (
                to(json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})),
                "spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer",
            ),
            (block("", json!([])), "spec.egress[0].to[0].ipBlock.cidr: Required value"),
            (
                block("10.0.0", json!([])),
                "ipBlock.cidr: Invalid value: \"10.0.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24",
            ),
            (
                block("10.0.0.0/8", json!(["10.0.0.0/8"])),
                "ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            ),
            (
                block("10.0.0.0/8", json!(["11.0.0.0/16"])),
                "ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
            ),
            (
                json!({"spec": {"policyTypes": ["Ingress", "Egress", "Ingress"]}}),
                "spec.policyTypes: Invalid value: [\"Ingress\",\"Egress\",\"Ingress\"]: may not specify more than two policyTypes",
            ),
        ],
    );
    for key in ["podSelector", "namespaceSelector"] {
        let peer = to(json!({key: {"matchLabels": {"a": "b c"}}}));
        let want = format!("{at}.{key}.matchLabels: Invalid value: \"b c\"");
        breaks("networkpolicies", &[(peer, want.as_str())]);
    }
    lets_in("networkpolicies", &to(json!({"podSelector": {}, "namespaceSelector": {}})));
}

#[test]
fn ranges_of_addresses_are_of_two_families() {
    let cidrs = |cidrs: Value| json!({"spec": {"cidrs": cidrs}});
    breaks(
        "servicecidrs",
        &[
            (cidrs(json!([])), "spec.cidrs: Required value: at least one CIDR required"),
            (cidrs(json!(["10.96.0.0/16", "fd00::/112", "fd01::/112"])), "]}: may only hold up to 2 values"),
            (cidrs(json!(["10.96.0.0/16", "10.97.0.0/16"])), "may specify no more than one IP for each IP family"),
            (cidrs(json!(["10.96.0.0"])), "spec.cidrs[0]: Invalid value: \"10.96.0.0\": must be a valid CIDR value"),
            (
                cidrs(json!(["FD00::/112"])),
                "spec.cidrs[0]: Invalid value: \"FD00::/112\": must be in canonical form (\"fd00::/112\")",
            ),
            (
                cidrs(json!(["::ffff:10.0.0.0/104"])),
                "spec.cidrs[0]: Invalid value: \"::ffff:10.0.0.0/104\": must not have an IPv4-mapped IPv6 address",
            ),
        ],
    );
    lets_in("servicecidrs", &cidrs(json!(["fd00::/112", "10.96.0.0/16"])));
    let three = json!(["10.96.0.0/16", "fd00::/112"]);
    let shrunk = (
        cidrs(three),
        cidrs(json!(["10.96.0.0/16"])),
        "spec.cidrs: Invalid value: [\"10.96.0.0/16\"]: field is immutable",
    );
    refuses("servicecidrs", None, &[shrunk]);
    let parent = |more: Value| json!({"spec": {"parentRef": more}});
    breaks(
        "ipaddresses",
        &[
            (
                json!({"metadata": {"name": "a"}}),
                "metadata.name: Invalid value: \"a\": must be a valid IP address, (e.g. 10.9.8.7",
            ),
            (
                json!({"metadata": {"name": "::ffff:10.0.0.1"}}),
                "metadata.name: Invalid value: \"::ffff:10.0.0.1\": must not be an IPv4-mapped IPv6 address",
            ),
            (json!({"spec": {"parentRef": null}}), "spec.parentRef: Required value"),
            (parent(json!({"resource": ""})), "spec.parentRef.resource: Required value"),
            (parent(json!({"name": ""})), "spec.parentRef.name: Required value"),
            (parent(json!({"name": "a/b"})), "spec.parentRef.name: Invalid value: \"a/b\": may not contain '/'"),
            (
                parent(json!({"namespace": "a/b"})),
                "spec.parentRef.namespace: Invalid value: \"a/b\": may not contain '/'",
            ),
        ],
    );
    let want = "\"Name\":\"t\"}: field is immutable";
    refuses("ipaddresses", None, &[(json!({}), parent(json!({"name": "t"})), want)]);
}

#[test]
fn endpoints_are_where_traffic_can_go() {
    let endpoint = |more: Value| {
        let one = merged(&json!({"addresses": ["10.0.0.1"]}), &more);
        json!({"endpoints": [one]})
    };
    let at = |address: &str| endpoint(json!({"addresses": [address]}));
    let addresses: Vec<String> = (0..101).map(|n| format!("10.0.1.{n}")).collect();
    let endpoints: Vec<Value> = (0..1001).map(|_| json!({"addresses": ["10.0.0.1"]})).collect();
    breaks(
        "endpointslices",
        &[
            (json!({"addressType": ""}), "addressType: Required value"),
            (
                json!({"addressType": "IPX"}),
                "addressType: Unsupported value: \"IPX\": supported values: \"FQDN\", \"IPv4\"",
            ),
            (json!({"endpoints": endpoints}), "endpoints: Too many: 1001: must have at most 1000 items"),
            (
                endpoint(json!({"addresses": []})),
                "endpoints[0].addresses: Required value: must contain at least 1 address",
            ),
            (
                endpoint(json!({"addresses": addresses})),
                "endpoints[0].addresses: Too many: 101: must have at most 100 items",
            ),
            (at("127.0.0.1"), "\"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            (at("0.0.0.0"), "\"0.0.0.0\": may not be unspecified (0.0.0.0)"),
            (at("169.254.0.1"), "\"169.254.0.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
            (at("224.0.0.1"), "\"224.0.0.1\": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
            (
                endpoint(json!({"nodeName": ""})),
                "endpoints[0].nodeName: Invalid value: \"\": a lowercase RFC 1123 subdomain",
            ),
            (
                endpoint(json!({"hostname": "A"})),
                "endpoints[0].hostname: Invalid value: \"A\": a lowercase RFC 1123 label",
            ),
            (
                endpoint(json!({"hints": {"forZones": [{"name": "z"}, {"name": "z"}]}})),
                "endpoints[0].hints.forZones[1].name: Duplicate value: \"z\"",
            ),
            (
                endpoint(json!({"hints": {"forNodes": [{"name": "N"}]}})),
                "endpoints[0].hints.forNodes[0].name: Invalid value: \"N\": a lowercase RFC 1123 subdomain",
            ),
            (
                json!({"ports": [{"name": "A", "port": 1}]}),
                "ports[0].name: Invalid value: \"A\": a lowercase RFC 1123 label",
            ),
            (
                json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}),
                "ports[1].name: Duplicate value: \"a\"",
            ),
            (json!({"ports": [{"appProtocol": "a b"}]}), "ports[0].appProtocol: Invalid value: \"a b\""),
        ],
    );
    let want = "addressType: Invalid value: \"IPv6\": field is immutable";
    refuses("endpointslices", None, &[(json!({}), json!({"addressType": "IPv6"}), want)]);
    breaks(
        "endpoints",
        &[(
            json!({"subsets": [{"ports": [{"port": 80}]}]}),
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
        )],
    );
}
