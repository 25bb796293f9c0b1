//! Decoding as a client meets it.

mod options;

use serde_json::{Value, json};

use super::*;
use crate::resources::GroupVersionKind;

fn schema(group: &'static str, version: &'static str, kind: &'static str) -> Schema {
    Schema::of_kind(&GroupVersionKind::new(group, version, kind)).expect("a built-in kind")
}

fn decode(text: &str, schema: &Schema, mode: FieldValidation) -> Result<Decoded, DecodeError> {
    json(text.as_bytes(), schema, mode, Limits::default())
}

fn canonical(value: Value, schema: &Schema) -> Value {
    finish(value, Vec::new(), schema, FieldValidation::Strict).unwrap().object
}

#[test]
fn unknown_and_duplicate_fields_are_refused_under_strict_validation() {
    let body = r#"{"kind":"Deployment","apiVersion":"apps/v1","spec":{"foo":1,"replicas":1,"replicas":2,
        "template":{"spec":{"containers":[{"name":"a","Image":"x"}]}}}}"#;
    let schema = schema("apps", "v1", "Deployment");
    let error = decode(body, &schema, FieldValidation::Strict).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"strict decoding error: unknown field "spec.foo", duplicate field "spec.replicas", unknown field "spec.template.spec.containers[0].Image""#
    );
    let warned = decode(body, &schema, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings.len(), 3);
    assert_eq!(warned.object["spec"]["replicas"], 2);
    assert!(warned.object["spec"].get("foo").is_none());
    assert!(decode(body, &schema, FieldValidation::Ignore).unwrap().warnings.is_empty());
}

#[test]
fn a_patch_tells_what_comes_twice_and_what_nobody_knows() {
    let body = br#"[{"op":"add","op":"test","path":"/a","value":{"x":1,"x":2},"why":1}]"#;
    let read = |unknown: fn(&Value) -> Vec<String>| patch_json(body, Limits::default(), unknown).unwrap();
    let (patch, notices) = read(crate::patch::undeclared_members);
    assert_eq!(patch, json!([{"op": "test", "path": "/a", "value": {"x": 2}, "why": 1}]));
    assert_eq!(
        notices,
        [r#"duplicate field "[0].op""#, r#"duplicate field "[0].value.x""#, r#"unknown field "[0].why""#]
    );
    assert_eq!(read(|_| Vec::new()).1.len(), 2);
    assert!(patch_json(b"{", Limits::default(), |_| Vec::new()).is_err());
}

#[test]
fn values_of_the_wrong_type_are_refused_in_known_words() {
    let deployment = &schema("apps", "v1", "Deployment");
    let pod = &schema("", "v1", "Pod");
    for (schema, body, want) in [
        (
            deployment,
            r#"{"spec":{"replicas":"3"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            deployment,
            r#"{"spec":{"replicas":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            pod,
            r#"{"spec":{"containers":{}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            pod,
            r#"{"spec":{"containers":[{"image":1}]}}"#,
            "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
        ),
        (
            pod,
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            pod,
            r#"{"metadata":{"uid":1}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.uid of type types.UID",
        ),
        (
            pod,
            r#"[]"#,
            r#"json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#,
        ),
        (pod, r#"{"kind":1}"#, "json: cannot unmarshal number into Go struct field .kind of type string"),
        (pod, r#"{"apiVersion":"a/b/c"}"#, "unexpected GroupVersion string: a/b/c"),
        (
            pod,
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            pod,
            r#"{"metadata":{"creationTimestamp":"now"}}"#,
            r#"parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006""#,
        ),
    ] {
        assert_eq!(decode(body, schema, FieldValidation::Ignore).unwrap_err().to_string(), want);
    }
}

#[test]
fn an_object_gets_the_form_in_which_it_is_stored() {
    let pod = schema("", "v1", "Pod");
    let given = json!({
        "metadata": {"name": "a", "labels": {}, "annotations": null, "generation": 0},
        "spec": {
            "containers": [{
                "name": "c", "image": "", "stdin": false, "args": [],
                "securityContext": {"privileged": false},
                "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}},
                "env": [{"name": "N", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
            }],
            "terminationGracePeriodSeconds": 0, "hostNetwork": false, "volumes": [{"name": "v", "emptyDir": {}}],
        },
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    let want = json!({
        "metadata": {"name": "a"},
        "spec": {
            "containers": [{
                "name": "c", "securityContext": {"privileged": false},
                "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                "env": [{"name": "N", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}}],
            }],
            "terminationGracePeriodSeconds": 0, "volumes": [{"name": "v", "emptyDir": {}}],
        },
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": null}]},
    });
    let once = canonical(given, &pod);
    assert_eq!(once, want);
    assert_eq!(canonical(once.clone(), &pod), once);
}

#[test]
fn what_is_always_written_appears() {
    assert_eq!(
        canonical(json!({}), &schema("apps", "v1", "Deployment")),
        json!({
            "metadata": {}, "status": {},
            "spec": {"selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": null}}},
        })
    );
    assert_eq!(
        canonical(json!({}), &schema("", "v1", "Service")),
        json!({"metadata": {}, "spec": {}, "status": {"loadBalancer": {}}})
    );
    assert_eq!(
        canonical(json!({}), &schema("rbac.authorization.k8s.io", "v1", "Role")),
        json!({"metadata": {}, "rules": null})
    );
    let node = canonical(json!({"status": {"runtimeHandlers": [{}]}}), &schema("", "v1", "Node"));
    assert_eq!(node["status"]["runtimeHandlers"], json!([{"name": ""}]), "the usual one has no name");
    let set = canonical(json!({"spec": {"ordinals": {}}}), &schema("apps", "v1", "StatefulSet"));
    assert_eq!(set["spec"]["ordinals"], json!({"start": 0}));
}

#[test]
fn what_go_never_leaves_out_is_written_though_zero() {
    let set = canonical(json!({"spec": {"ordinals": {}}}), &schema("apps", "v1", "StatefulSet"));
    assert_eq!(set["spec"]["ordinals"], json!({"start": 0}));
    let node = canonical(json!({"status": {"runtimeHandlers": [{"name": ""}]}}), &schema("", "v1", "Node"));
    assert_eq!(node["status"]["runtimeHandlers"], json!([{"name": ""}]));
    let claim = canonical(json!({"spec": {"devices": {}}}), &schema("resource.k8s.io", "v1", "ResourceClaim"));
    assert_eq!(claim["spec"]["devices"], json!({"requests": null}));
}

#[test]
fn a_patch_body_for_apply_keeps_exactly_what_the_client_said() {
    let mut value = json!({"spec": {"replicas": null, "paused": false, "template": {"spec": {"containers": []}}}});
    let unknown = fit(&mut value, &schema("apps", "v1", "Deployment"), Form::AsGiven).unwrap();
    assert!(unknown.is_empty());
    assert_eq!(value, json!({"spec": {"paused": false, "template": {"spec": {"containers": []}}}}));
}

#[test]
fn schemas_inside_custom_resource_definitions_are_checked_too() {
    let crd = schema("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let body = r#"{"spec":{"versions":[{"name":"v1","schema":{"openAPIV3Schema":{"type":"object","properties":{
        "a":{"items":{"type":"string","nope":1}},"b":{"additionalProperties":true}}}}}]}}"#;
    let error = decode(body, &crd, FieldValidation::Strict).unwrap_err().to_string();
    assert!(
        error.contains(r#"unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.items.nope""#),
        "{error}"
    );
}

#[test]
fn bodies_of_another_kind_or_version_are_named() {
    let want = GroupVersionKind::new("apps", "v1", "Deployment");
    let mut bare = json!({"metadata": {}});
    identify(&mut bare, &want, b"{}").unwrap();
    assert_eq!(bare["apiVersion"], "apps/v1");
    assert_eq!(bare["kind"], "Deployment");
    let eviction = GroupVersionKind::new("policy", "v1", "Eviction");
    let mut old = json!({"apiVersion": "policy/v1beta1", "kind": "Eviction"});
    identify(&mut old, &eviction, b"").unwrap();
    assert_eq!(old["apiVersion"], "policy/v1");
    let map = GroupVersionKind::new("", "v1", "ConfigMap");
    for spelt in ["/v1", "/"] {
        let mut body = json!({"apiVersion": spelt, "kind": "ConfigMap"});
        identify(&mut body, &map, b"").unwrap();
        assert_eq!(body["apiVersion"], "v1", "{spelt}");
    }
    let scaler = GroupVersionKind::new("autoscaling", "v2", "HorizontalPodAutoscaler");
    let custom = GroupVersionKind::new("example.com", "v1", "Foo");
    let scheme = "in scheme \"pkg/api/legacyscheme/scheme.go:30\"";
    for (want, body, code, message) in [
        (
            &want,
            json!({"apiVersion": "v1", "kind": "Pod"}),
            400,
            "Pod in version \"v1\" cannot be handled as a Deployment: converting (v1.Pod) to (apps.Deployment): unknown conversion".to_owned(),
        ),
        (
            &want,
            json!({"kind": "Pod"}),
            400,
            format!("Pod in version \"v1\" cannot be handled as a Deployment: no kind \"Pod\" is registered for version \"apps/v1\" {scheme}"),
        ),
        (
            &want,
            json!({"apiVersion": "apps/v9"}),
            400,
            format!("Deployment in version \"v9\" cannot be handled as a Deployment: no kind \"Deployment\" is registered for version \"apps/v9\" {scheme}"),
        ),
        (
            &scaler,
            json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler"}),
            400,
            "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)".to_owned(),
        ),
        (
            &custom,
            json!({"apiVersion": "example.com/v2", "kind": "Foo"}),
            400,
            "the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)".to_owned(),
        ),
        (
            &custom,
            json!({"apiVersion": "example.com/v1", "kind": "Bar", "metadata": {"name": "a"}}),
            422,
            "Bar.example.com \"a\" is invalid: kind: Invalid value: \"Bar\": must be Foo".to_owned(),
        ),
        (
            &custom,
            json!({"kind": ""}),
            400,
            "the object provided is unrecognized (must be of type Foo): Object 'Kind' is missing in '{\"kind\":\"\"}' ({\"kind\":\"\"})".to_owned(),
        ),
        (
            &custom,
            json!({"kind": "Foo"}),
            400,
            "the API version in the data () does not match the expected API version (example.com/v1)".to_owned(),
        ),
    ] {
        let (text, mut body) = (body.to_string(), body);
        let error = identify(&mut body, want, text.as_bytes()).unwrap_err();
        assert_eq!((error.code, error.message), (code, message));
    }
}

#[test]
fn a_body_of_a_kind_that_nobody_knows_is_told_by_its_kind() {
    let unknown = DecodeError::Unregistered { api_version: "a.b/v2".to_owned(), kind: "X".to_owned() };
    assert_eq!(
        unknown.into_status("Pod", "v1", b"").message,
        "X in version \"v2\" cannot be handled as a Pod: no kind \"X\" is registered for version \"a.b/v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
    );
    let yaml = DecodeError::Yaml("yaml: line 1: what is wrong".to_owned());
    let told = "the object provided is unrecognized (must be of type Pod): yaml: line 1: what is wrong (<empty>)";
    assert_eq!(yaml.into_status("Pod", "v1", b"").message, told);
}

#[test]
fn nothing_in_so_many_words_is_an_object_of_a_fixed_type() {
    let pod = schema("", "v1", "Pod");
    for body in ["null", " null\n"] {
        assert!(decode(body, &pod, FieldValidation::Strict).unwrap().object.is_object(), "{body:?}");
        assert!(decode(body, &Schema::FREE, FieldValidation::Strict).unwrap().object.is_null(), "{body:?}");
    }
    assert!(yaml(b"", &pod, FieldValidation::Strict, Limits::default()).unwrap().object.is_object());
}

#[test]
fn times_are_refused_by_what_is_wrong_with_them_first() {
    let pod = schema("", "v1", "Pod");
    for (time, why) in [
        ("x", " as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""),
        ("2020-01-01", " as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\""),
        ("2020-01-01T00:00:00", " as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"Z07:00\""),
        ("2020-13-01T00:00:00Z", ": month out of range"),
        ("2020-02-30T00:00:00.5+01:00", ": day out of range"),
        ("2020-01-01T24:00:00Z", ": hour out of range"),
        ("2020-01-01T00:60:00Z", ": minute out of range"),
    ] {
        let body = json!({"metadata": {"creationTimestamp": time}}).to_string();
        let told = decode(&body, &pod, FieldValidation::Warn).unwrap_err().to_string();
        assert_eq!(told, format!("parsing time {time:?}{why}"));
    }
}

#[test]
fn each_line_about_yaml_is_a_warning() {
    let body = b"a: 1\na: 2\na: 3\n";
    let (_, notices) = untyped_yaml(body, Limits::default()).unwrap();
    assert_eq!(notices.len(), 1);
    let warnings = remarks(notices, FieldValidation::Warn).unwrap();
    assert_eq!(warnings, [r#"line 2: key "a" already set in map"#, r#"line 3: key "a" already set in map"#]);
}

#[test]
fn only_an_object_is_a_map() {
    assert_eq!((as_map(&json!({})), as_map(&Value::Null)), (Ok(()), Ok(())));
    let why = "json: cannot unmarshal array into Go value of type map[string]interface {}";
    assert_eq!(as_map(&json!([])), Err(why.to_owned()));
}

#[test]
fn a_patch_leaves_an_object_what_it_is() {
    let custom = GroupVersionKind::new("example.com", "v1", "Foo");
    let pod = GroupVersionKind::new("", "v1", "Pod");
    let told = |patched: Value, want| still(&patched, want).map_err(|status| (status.code, status.message));
    assert_eq!(told(json!({"apiVersion": "example.com/v1", "kind": "Foo"}), &custom), Ok(()));
    assert_eq!(told(json!({"apiVersion": "v1"}), &pod), Ok(()));
    let both = "Bar \"a\" is invalid: [kind: Invalid value: \"Bar\": must be Foo, apiVersion: Invalid value: \"v2\": must be example.com/v1]";
    let other = json!({"apiVersion": "v2", "kind": "Bar", "metadata": {"name": "a"}});
    assert_eq!(told(other, &custom), Err((422, both.to_owned())));
    let patch = " \"\" is invalid: patch: Invalid value: ";
    for (patched, want, why) in [
        (json!({}), &custom, "\"{}\": Object 'Kind' is missing in '{}'"),
        (
            json!({"kind": 1}),
            &custom,
            "\"{\\\"kind\\\":1}\": couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string",
        ),
        (
            json!({"kind": "Foo"}),
            &pod,
            "\"{\\\"kind\\\":\\\"Foo\\\"}\": no kind \"Foo\" is registered for version \"v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
    ] {
        assert_eq!(told(patched, want), Err((422, format!("{patch}{why}"))));
    }
    assert_eq!(told(json!({"kind": "Foo"}), &custom).map_err(|(code, _)| code), Err(500));
}

#[test]
fn a_malformed_body_is_answered_with_its_head() {
    let body = b"{\"a\":}";
    let error =
        decode("{\"a\":}", &schema("", "v1", "Pod"), FieldValidation::Warn).unwrap_err().into_status("Pod", "v1", body);
    assert_eq!(
        error.message,
        "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: invalid character '}' \
         looking for beginning of value ({\"a\":})"
    );
}

#[test]
fn fields_of_features_that_are_off_are_known_and_dropped() {
    let body = r#"{"spec":{"schedulingGroup":{"podGroupName":"g"},"nodeName":"n"}}"#;
    let decoded = decode(body, &schema("", "v1", "Pod"), FieldValidation::Strict).unwrap();
    assert_eq!(decoded.object["spec"], json!({"nodeName": "n", "containers": null}));
    let certificate = r#"{"podCertificate":{"signerName":"a/b","keyType":"ED25519","credentialBundlePath":"p"}}"#;
    let body = format!(r#"{{"spec":{{"volumes":[{{"name":"v","projected":{{"sources":[{certificate}]}}}}]}}}}"#);
    let decoded = decode(&body, &schema("", "v1", "Pod"), FieldValidation::Strict).unwrap();
    assert_eq!(decoded.object["spec"]["volumes"][0]["projected"]["sources"], json!([{}]), "the source stays");
    let body = r#"{"spec":{"strategy":"OldestEmulationVersion","preferredHolder":"a","leaseTransitions":1}}"#;
    let lease = decode(body, &schema("coordination.k8s.io", "v1", "Lease"), FieldValidation::Strict).unwrap();
    assert_eq!(lease.object["spec"], json!({"leaseTransitions": 1}));
    let body = r#"{"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"deprecatedTopology":{"a":"b"}}]}"#;
    let slice = decode(body, &schema("discovery.k8s.io", "v1", "EndpointSlice"), FieldValidation::Strict).unwrap();
    assert_eq!(slice.object["endpoints"][0].get("deprecatedTopology"), None);
}
