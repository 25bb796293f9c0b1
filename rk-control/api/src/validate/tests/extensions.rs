//! Rules of storage, webhooks, policies, definitions, roles, flows and aggregated APIs, one broken at a time.

use serde_json::{Value, json};

use super::{breaks, merge, prepared, resource, sample};
use crate::resources::Registry;
use crate::strategy;

#[test]
fn storage_is_bounded_and_named() {
    let driver = |more: Value| {
        let mut driver = json!({"name": "d.example.com", "nodeID": "n"});
        merge(&mut driver, &more);
        json!({"spec": {"drivers": [driver]}})
    };
    breaks(
        "csinodes",
        &[
            (driver(json!({"name": ""})), "spec.drivers[0].name: Required value"),
            (driver(json!({"nodeID": "n".repeat(257)})), "must be 256 characters or less"),
            (
                driver(json!({"allocatable": {"count": -1}})),
                "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
            ),
            (driver(json!({"topologyKeys": ["a", "a"]})), "spec.drivers[0]: Duplicate value: \"a\""),
        ],
    );
    let inline = |more: Value| {
        let base = json!({"accessModes": ["ReadWriteOnce"], "csi": {"driver": "d.example.com", "volumeHandle": "h"}});
        json!({"spec": {"source": {"persistentVolumeName": null, "inlineVolumeSpec": merged(&base, &more)}}})
    };
    breaks(
        "volumeattachments",
        &[
            (
                json!({"spec": {"attacher": "A b"}}),
                "spec.attacher: Invalid value: \"A b\": a lowercase RFC 1123 subdomain",
            ),
            (
                json!({"spec": {"source": {"persistentVolumeName": ""}}}),
                "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
            ),
            (
                json!({"spec": {"source": {"persistentVolumeName": "V"}}}),
                "spec.source.persistentVolumeName: Invalid value: \"V\"",
            ),
            (
                inline(json!({"csi": null})),
                "inlineVolumeSpec.csi: Required value: has to be specified in the context of inline",
            ),
            (
                inline(json!({"storageClassName": "s"})),
                "spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes",
            ),
            (
                inline(json!({"persistentVolumeReclaimPolicy": "Delete"})),
                "persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
            ),
            (
                inline(json!({"volumeMode": "Block"})),
                "may not specify volumeMode other than Filesystem in the context of inline volumes",
            ),
            (inline(json!({"accessModes": null})), "spec.source.inlineVolumeSpec.accessModes: Required value"),
        ],
    );
    let term = json!({"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]});
    breaks(
        "storageclasses",
        &[
            (
                json!({"allowedTopologies": [term, term]}),
                "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
            ),
            (
                json!({"parameters": {"k": "v".repeat(256 * 1024)}}),
                "parameters: Too long: may not be more than 262144 bytes",
            ),
        ],
    );
    breaks(
        "volumeattributesclasses",
        &[(json!({"parameters": null}), "parameters: Required value: must contain at least one")],
    );
}

pub(super) fn merged(base: &Value, change: &Value) -> Value {
    let mut all = base.clone();
    merge(&mut all, change);
    all
}

#[test]
fn webhooks_and_policies_are_told_apart() {
    let hook =
        |more: Value| json!({"webhooks": [merged(&sample("validatingwebhookconfigurations")["webhooks"][0], &more)]});
    let url = |url: &str| hook(json!({"clientConfig": {"service": null, "url": url}}));
    let rule = |resources: Value| {
        hook(
            json!({"rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": resources}]}),
        )
    };
    breaks(
        "validatingwebhookconfigurations",
        &[
            (
                url("http://a"),
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme",
            ),
            (url("https://"), "host must be provided; desired format: https://host[/path]"),
            (url("https://a/?q=1"), "Invalid value: \"q=1\": query parameters are not permitted in the URL"),
            (rule(json!(["*/*", "pods"])), "if '*/*' is present, must not specify other resources"),
            (rule(json!(["pods/*", "pods/log"])), "if 'pods/*' is present, must not specify pods/log"),
            (rule(json!(["*", "pods"])), "if '*' is present, must not specify other resources without subresources"),
            (hook(json!({"failurePolicy": ""})), "webhooks[0].failurePolicy: Unsupported value: \"\""),
            (hook(json!({"sideEffects": ""})), "webhooks[0].sideEffects: Unsupported value: \"\""),
            (
                hook(json!({"sideEffects": null})),
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ),
            (
                hook(json!({"admissionReviewVersions": ["v1", "v1"]})),
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v1\": duplicate version",
            ),
        ],
    );
    breaks(
        "validatingadmissionpolicies",
        &[
            (
                json!({"spec": {"validations": null}}),
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ),
            (
                json!({"spec": {"variables": [{"name": "in", "expression": "1"}]}}),
                "spec.variables[0].name: Invalid value: \"in\": name is not a valid CEL identifier",
            ),
            (
                json!({"spec": {"paramKind": {"apiVersion": "a/b/c", "kind": "K"}}}),
                "unexpected GroupVersion string: a/b/c",
            ),
            (
                json!({"spec": {"validations": [{"expression": "true", "message": "a\nb"}]}}),
                "spec.validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks",
            ),
        ],
    );
    breaks(
        "mutatingadmissionpolicies",
        &[(
            json!({"spec": {"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}, "applyConfiguration": {"expression": "x"}}]}}),
            "spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch",
        )],
    );
    breaks(
        "validatingadmissionpolicybindings",
        &[
            (
                json!({"spec": {"validationActions": ["Deny", "Deny"]}}),
                "spec.validationActions[1]: Duplicate value: \"Deny\"",
            ),
            (
                json!({"spec": {"paramRef": {"name": "n", "parameterNotFoundAction": ""}}}),
                "spec.paramRef.parameterNotFoundAction: Required value",
            ),
            (
                json!({"spec": {"paramRef": {"name": "n", "parameterNotFoundAction": "Go"}}}),
                "Unsupported value: \"Go\": supported values: \"Deny\", \"Allow\"",
            ),
        ],
    );
}

#[test]
fn definitions_have_structural_schemas() {
    let spec = |schema: Value| {
        json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": schema}}}}]}})
    };
    let at = "spec.validation.openAPIV3Schema.properties[spec]";
    let list = |more: Value| {
        let base = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}}});
        spec(merged(&base, &more))
    };
    for (change, want) in [
        (spec(json!({})), format!("{at}.type: Required value: must not be empty for specified object fields")),
        (
            spec(json!({"type": "array", "items": {}})),
            format!("{at}.items.type: Required value: must not be empty for specified array items"),
        ),
        (
            spec(json!({"type": "object", "anyOf": [{"type": "object"}]})),
            format!("{at}.anyOf[0].type: Forbidden: must be empty to be structural"),
        ),
        (
            spec(json!({"type": "string", "pattern": "+"})),
            format!("{at}.pattern: Invalid value: \"+\": must be a valid regular expression, but isn't: error parsing regexp: "),
        ),
        (
            list(json!({})),
            format!("{at}.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys"),
        ),
        (
            list(json!({"x-kubernetes-list-map-keys": ["z"]})),
            format!("{at}.x-kubernetes-list-map-keys: Invalid value: [\"z\"]: entries must all be names of item properties"),
        ),
        (
            spec(json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": ""})),
            format!("{at}.x-kubernetes-list-type: Unsupported value: \"\": supported values: \"atomic\", \"set\", \"map\""),
        ),
        (
            spec(json!({"type": "string", "not": {"$ref": "x", "type": "string"}})),
            format!("{at}.not.$ref: Forbidden: $ref is not supported"),
        ),
        (
            spec(json!({"type": "string", "$schema": "x"})),
            "spec.validation.openAPIV3Schema: Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported".to_owned(),
        ),
        (
            json!({"spec": {"versions": [{"name": "V1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
            "spec.version: Invalid value: \"V1\": a DNS-1035 label".to_owned(),
        ),
        (
            json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
            "status.storedVersions: Invalid value: null: must have at least one stored version".to_owned(),
        ),
        (
            json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
            "spec.versions: Invalid value: [{\"Name\":\"v1\",\"Served\":true,\"Storage\":false,\"Deprecated\":false,\
             \"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\
             \"SelectableFields\":null}]: must have exactly one version marked as storage version"
                .to_owned(),
        ),
        (
            json!({"spec": {"names": {"kind": "F_o"}}}),
            "spec.names.kind: Invalid value: \"F_o\": may have mixed case, but should otherwise match: a DNS-1035 label".to_owned(),
        ),
        (
            json!({"spec": {"conversion": {"strategy": "Webhook"}}}),
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook".to_owned(),
        ),
        (
            json!({"spec": {"group": "x.k8s.io"}}),
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation".to_owned(),
        ),
    ] {
        breaks("customresourcedefinitions", &[(change, want.as_str())]);
    }
    // Numbers or words are said in one known way.
    let registry = Registry::builtin();
    let definitions = resource(&registry, "customresourcedefinitions");
    let either = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
    let given = prepared(&definitions, merged(&sample("customresourcedefinitions"), &spec(either)));
    assert_eq!(strategy::validate_create(&definitions, &given).0, []);
    // What is wrong with a name itself comes before what it should be, and both before all else.
    let change = json!({"metadata": {"name": "Big.example.com"}, "spec": {"scope": "x"}});
    let given = prepared(&definitions, merged(&sample("customresourcedefinitions"), &change));
    let told = strategy::validate_create(&definitions, &given).0;
    assert!(
        told[0].path == "metadata.name" && told[0].detail.starts_with("a lowercase RFC 1123 subdomain"),
        "{told:?}"
    );
    assert_eq!((&*told[1].path, &*told[1].detail), ("metadata.name", "must be spec.names.plural+\".\"+spec.group"));
    // A class that Go alone knows keeps no kind out.
    let letters = json!({"type": "string", "pattern": r"^[\p{L}-]+$"});
    let given = prepared(&definitions, merged(&sample("customresourcedefinitions"), &spec(letters)));
    assert_eq!(strategy::validate_create(&definitions, &given).0, []);
}

#[test]
fn flows_roles_and_aggregated_apis() {
    let rule = |more: Value| {
        let base = json!({"subjects": [{"kind": "Group", "group": {"name": "g"}}],
            "resourceRules": [{"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]});
        json!({"spec": {"rules": [merged(&base, &more)]}})
    };
    let urls = |url: &str| rule(json!({"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": [url]}]}));
    breaks(
        "flowschemas",
        &[
            (
                rule(json!({"subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": "s"}}]})),
                "subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account",
            ),
            (
                rule(json!({"subjects": [{"kind": "User", "user": {"name": "u"}, "group": {"name": "g"}}]})),
                "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
            ),
            (urls("healthz"), "nonResourceURLs[0]: Invalid value: \"healthz\": must start with slash"),
            (urls("/a*"), "wildcard can only do suffix matching"),
            (
                rule(
                    json!({"resourceRules": [{"verbs": ["get", "*"], "apiGroups": ["a"], "resources": ["b"], "clusterScope": true}]}),
                ),
                "spec.rules[0].resourceRules[0].verbs: Invalid value: [\"get\",\"*\"]: if '*' is present, must not specify other verbs",
            ),
        ],
    );
    let queuing = |queuing: Value| json!({"spec": {"limited": {"limitResponse": {"queuing": queuing}}}});
    breaks(
        "prioritylevelconfigurations",
        &[
            (
                json!({"spec": {"type": "Exempt", "limited": null}}),
                "type must be 'Exempt' if and only if name is 'exempt'",
            ),
            (
                queuing(json!({"queues": 1024, "handSize": 8})),
                "required entropy bits of deckSize 1024 and handSize 8 should not be greater than 60",
            ),
        ],
    );
    breaks(
        "rolebindings",
        &[
            (
                json!({"subjects": [{"kind": "User"}]}),
                "subjects[0].name: Invalid value: \"\": user name cannot be empty",
            ),
            (
                json!({"roleRef": {"kind": "R"}}),
                "roleRef.kind: Unsupported value: \"R\": supported values: \"Role\", \"ClusterRole\"",
            ),
        ],
    );
    breaks(
        "apiservices",
        &[
            (
                json!({"metadata": {"name": "x"}}),
                "metadata.name: Invalid value: \"x\": must be `spec.version+\".\"+spec.group`: \"v1.example.com\"",
            ),
            (
                json!({"spec": {"groupPriorityMinimum": 0}}),
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
            ),
            (
                json!({"spec": {"service": null, "insecureSkipTLSVerify": true}}),
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ),
        ],
    );
}
