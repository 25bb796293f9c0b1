//! The documents hold what clients look for.

use std::io::Read as _;

use rk_api::resources::Registry;
use rk_openapi::Document;
use serde_json::{Value, json};

fn read(document: &Document) -> Value {
    let text = document.text().unwrap();
    assert_eq!(text.len(), document.size);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_document_is_packed_once_and_holds_its_text() {
    for document in rk_openapi::v3().iter().chain([rk_openapi::v2()]) {
        let packed = document.gzip().unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        assert_eq!(text, document.text().unwrap(), "{}", document.path);
        assert!(std::ptr::eq(packed, document.gzip().unwrap()), "{} is packed again", document.path);
    }
}

#[test]
fn every_group_version_has_a_document() {
    let registry = Registry::builtin();
    assert_eq!(rk_openapi::v3().len(), registry.group_versions().len());
    assert!(rk_openapi::v3_at("api/v1").is_some());
    assert!(rk_openapi::v3_at("apis/apps/v1").is_some());
    assert!(rk_openapi::v3_at("apis/none/v1").is_none());
}

#[test]
fn explain_finds_the_kind_of_every_resource_and_its_prose() {
    for resource in Registry::builtin().iter() {
        let gvk = &resource.gvk;
        let root = if gvk.group.is_empty() {
            format!("api/{}", gvk.version)
        } else {
            format!("apis/{}/{}", gvk.group, gvk.version)
        };
        let document = read(rk_openapi::v3_at(&root).unwrap());
        let scope = if resource.namespaced() { "/namespaces/{namespace}" } else { "" };
        let collection = format!("/{root}{scope}/{}", resource.plural);
        let item = &document["paths"][&collection];
        let kind = json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind});
        let named = ["get", "post"].iter().any(|method| item[method]["x-kubernetes-group-version-kind"] == kind);
        assert!(named, "{collection} must name {kind}");
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let schema = schemas
            .values()
            .find(|s| s["x-kubernetes-group-version-kind"].as_array().is_some_and(|k| k.contains(&kind)));
        let schema = schema.unwrap_or_else(|| panic!("{kind} has no schema"));
        assert!(schema["description"].is_string(), "{kind} must say what it is");
    }
}

#[test]
fn clients_may_leave_out_what_is_written_always() {
    let document = read(rk_openapi::v3_at("apis/apps/v1").unwrap());
    let required = |name: &str| document["components"]["schemas"][name]["required"].clone();
    assert_eq!(required("io.k8s.api.core.v1.Container"), json!(["name"]));
    assert_eq!(required("io.k8s.api.apps.v1.DeploymentSpec"), json!(["selector", "template"]));
    assert_eq!(required("io.k8s.api.apps.v1.DeploymentCondition"), json!(["type", "status"]));
    assert_eq!(required("io.k8s.api.apps.v1.Deployment"), Value::Null);
}

#[test]
fn clients_hear_how_patches_merge_and_where_any_json_goes() {
    let schema = |root: &str, name: &str| {
        let document = read(rk_openapi::v3_at(root).unwrap());
        document["components"]["schemas"][name].clone()
    };
    let strategy = |schema: &Value, field: &str| schema["properties"][field]["x-kubernetes-patch-strategy"].clone();
    let deployment = schema("apis/apps/v1", "io.k8s.api.apps.v1.DeploymentSpec");
    assert_eq!(strategy(&deployment, "strategy"), "retainKeys");
    let pod = schema("api/v1", "io.k8s.api.core.v1.PodSpec");
    assert_eq!(strategy(&pod, "volumes"), "merge,retainKeys");
    assert_eq!(strategy(&pod, "containers"), "merge");
    let budget = schema("apis/policy/v1", "io.k8s.api.policy.v1.PodDisruptionBudgetSpec");
    assert_eq!(strategy(&budget, "selector"), "replace");
    let volume = schema("api/v1", "io.k8s.api.core.v1.PersistentVolumeSpec");
    assert_eq!(volume["properties"]["claimRef"]["x-kubernetes-map-type"], "granular");
    let home = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";
    let json = schema("apis/apiextensions.k8s.io/v1", &format!("{home}.JSON"));
    assert!(json["description"].is_string() && json["type"] == Value::Null, "any JSON has no type: {json}");
}

#[test]
fn schemas_tell_which_values_there_are_and_what_absent_fields_stand_for() {
    let (v2, v3) = (read(rk_openapi::v2()), read(rk_openapi::v3_at("apis/apps/v1").unwrap()));
    let old = |name: &str| v2["definitions"][format!("io.k8s.api.{name}")].clone();
    let new = |name: &str| v3["components"]["schemas"][format!("io.k8s.api.{name}")].clone();
    let policies = json!(["Always", "IfNotPresent", "Never"]);
    for container in [old("core.v1.Container"), new("core.v1.Container")] {
        assert_eq!(container["properties"]["imagePullPolicy"]["enum"], policies);
        assert_eq!(container["properties"]["image"]["enum"], Value::Null);
    }
    let claim = new("core.v1.PersistentVolumeClaimStatus");
    assert_eq!(claim["properties"]["accessModes"]["items"]["enum"][0], "ReadOnlyMany");
    let resizes = &claim["properties"]["allocatedResourceStatuses"]["additionalProperties"];
    assert_eq!(resizes["enum"][4], "NodeResizePending");
    assert_eq!(new("core.v1.HostPathVolumeSource")["properties"]["type"]["enum"][0], "");

    let defaults = |name: &str, field: &str| new(name)["properties"][field]["default"].clone();
    assert_eq!(defaults("apps.v1.Deployment", "metadata"), json!({}));
    assert_eq!(defaults("apps.v1.DeploymentSpec", "template"), json!({}));
    assert_eq!(defaults("apps.v1.DeploymentSpec", "selector"), Value::Null, "a pointer");
    assert_eq!(defaults("apps.v1.DeploymentCondition", "lastUpdateTime"), Value::Null);
    assert_eq!(defaults("core.v1.Container", "name"), "");
    assert_eq!(defaults("core.v1.Container", "image"), Value::Null);
    assert_eq!(defaults("core.v1.ContainerPort", "containerPort"), 0);
    assert_eq!(defaults("core.v1.ContainerPort", "protocol"), "TCP");
    assert_eq!(defaults("core.v1.HTTPGetAction", "port"), Value::Null);
    assert_eq!(defaults("core.v1.ContainerRestartRule", "action"), Value::Null);
    assert_eq!(new("core.v1.PodSpec")["properties"]["containers"]["items"]["default"], json!({}));
    assert_eq!(new("apps.v1.DeploymentList")["properties"]["items"]["items"]["default"], json!({}));
    assert_eq!(old("core.v1.ContainerPort")["properties"]["protocol"]["default"], Value::Null);

    let union =
        json!([{"discriminator": "type", "fields-to-discriminateBy": {"localhostProfile": "LocalhostProfile"}}]);
    assert_eq!(new("core.v1.SeccompProfile")["x-kubernetes-unions"], union);
}

#[test]
fn values_of_two_forms_are_told_as_both() {
    let quantity = "io.k8s.apimachinery.pkg.api.resource.Quantity";
    let (v2, v3) = (read(rk_openapi::v2()), read(rk_openapi::v3_at("api/v1").unwrap()));
    assert_eq!(v2["definitions"][quantity]["type"], "string");
    let quantity = &v3["components"]["schemas"][quantity];
    assert_eq!(
        (&quantity["type"], &quantity["oneOf"]),
        (&Value::Null, &json!([{"type": "string"}, {"type": "number"}]))
    );
    let port = &v3["components"]["schemas"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!((&port["format"], &port["oneOf"][0]), (&json!("int-or-string"), &json!({"type": "integer"})));
    let reviews = read(rk_openapi::v3_at("apis/authentication.k8s.io/v1").unwrap());
    let extra = &reviews["components"]["schemas"]["io.k8s.api.authentication.v1.UserInfo"]["properties"]["extra"];
    assert_eq!(extra["additionalProperties"], json!({"type": "array", "items": {"type": "string", "default": ""}}));
}

#[test]
fn patches_take_the_parameters_that_kubectl_looks_for() {
    let document = read(rk_openapi::v3_at("apis/apps/v1").unwrap());
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let names: Vec<&str> = patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    for wanted in ["dryRun", "fieldManager", "fieldValidation", "force"] {
        assert!(names.contains(&wanted), "{wanted} in {names:?}");
    }
}

#[test]
fn what_absent_fields_stand_for_and_which_words_there_are_is_told() {
    let core = read(rk_openapi::v3_at("api/v1").unwrap());
    let field = |kind: &str, field: &str| {
        core["components"]["schemas"][format!("io.k8s.api.core.v1.{kind}")]["properties"][field].clone()
    };
    assert_eq!(field("ContainerPort", "protocol")["default"], "TCP");
    assert_eq!(field("ContainerPort", "protocol")["enum"], json!(["SCTP", "TCP", "UDP"]));
    assert_eq!(field("ContainerPort", "containerPort")["default"], 0);
    assert_eq!(field("ContainerPort", "hostPort")["default"], Value::Null);
    assert_eq!(field("Pod", "status")["default"], json!({}));
    assert_eq!(field("PodSpec", "containers")["items"]["default"], json!({}));
    assert_eq!(field("PodSpec", "securityContext")["default"], Value::Null, "what may be absent has no zero value");
    assert_eq!(field("PodSpec", "nodeSelector")["additionalProperties"]["default"], "");
    assert_eq!(field("Container", "args")["items"]["default"], "");
    assert_eq!(field("ContainerRestartRule", "action")["default"], Value::Null);
    assert!(field("PersistentVolumeSpec", "accessModes")["items"]["enum"].is_array());
    let unions = &core["components"]["schemas"]["io.k8s.api.core.v1.SeccompProfile"]["x-kubernetes-unions"];
    assert_eq!(unions[0]["fields-to-discriminateBy"], json!({"localhostProfile": "LocalhostProfile"}));
    // A reference is wrapped only where something is told beside it.
    let limits = &field("ResourceRequirements", "limits")["additionalProperties"];
    assert_eq!(*limits, json!({"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"}));
    let status = json!([{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodStatus"}]);
    assert_eq!(field("Pod", "status")["allOf"], status);
    let former = read(rk_openapi::v2());
    let protocol = &former["definitions"]["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"];
    assert!(protocol["enum"].is_array() && protocol["default"].is_null(), "{protocol}");
}

#[test]
fn operations_tell_what_they_take_and_answer_and_paths_what_is_common() {
    let document = read(rk_openapi::v3_at("apis/apps/v1").unwrap());
    let root = "/apis/apps/v1/namespaces/{namespace}/deployments";
    let item = |path: &str| document["paths"][path].clone();
    let names = |of: &Value| -> Vec<String> {
        let all = of["parameters"].as_array().into_iter().flatten();
        all.filter_map(|one| one["name"].as_str()).map(str::to_owned).collect()
    };
    let keys = |of: &Value| -> Vec<String> { of.as_object().into_iter().flatten().map(|own| own.0.clone()).collect() };
    let (collection, one) = (item(root), item(&format!("{root}/{{name}}")));
    assert_eq!(names(&collection), ["namespace", "pretty"]);
    assert_eq!(names(&one), ["name", "namespace", "pretty"]);
    assert_eq!(one["get"]["parameters"], Value::Null);
    assert!(names(&collection["get"]).contains(&"watch".to_owned()));
    assert!(!names(&collection["delete"]).contains(&"watch".to_owned()));
    assert!(names(&item("/apis/apps/v1/deployments")).contains(&"shardSelector".to_owned()), "all of one operation");
    assert_eq!(keys(&collection["post"]["responses"]), ["200", "201", "202", "401"]);
    assert_eq!(keys(&one["patch"]["responses"]), ["200", "201", "401"]);
    assert_eq!(keys(&one["delete"]["responses"]), ["200", "202", "401"]);
    assert_eq!(keys(&collection["post"]["requestBody"]["content"]), ["*/*"]);
    assert_eq!(
        (&one["put"]["requestBody"]["required"], &one["delete"]["requestBody"]["required"]),
        (&json!(true), &Value::Null)
    );
    assert!(collection["get"]["responses"]["200"]["content"]["application/json;stream=watch"].is_object());
    let former = read(rk_openapi::v2());
    let post = &former["paths"][root]["post"];
    assert_eq!((&post["consumes"], names(post).last().map(String::as_str)), (&json!(["*/*"]), Some("body")));
}

#[test]
fn version_2_tells_lists_and_watches_in_words_that_scripts_look_for() {
    let text = rk_openapi::v2().text().unwrap();
    for words in ["list of returned", "List of services", "Watch for changes to the described resources"] {
        assert!(text.contains(words), "{words}");
    }
}

#[test]
fn merge_semantics_are_told() {
    for (document, schemas) in
        [(read(rk_openapi::v2()), "/definitions"), (read(rk_openapi::v3_at("api/v1").unwrap()), "/components/schemas")]
    {
        let containers = &document.pointer(schemas).unwrap()["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-list-type"], "map");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert!(containers["description"].is_string());
    }
}

/// Go leaves out empty lists when it writes what it has read, so that such a document is not the same again.
#[test]
fn no_list_of_a_document_is_empty() {
    fn look(value: &Value, path: &str) {
        match value {
            Value::Array(items) => {
                assert!(!items.is_empty(), "{path}");
                items.iter().for_each(|item| look(item, path));
            }
            Value::Object(fields) => fields.iter().for_each(|(name, field)| look(field, &format!("{path} {name}"))),
            _ => {}
        }
    }
    for document in rk_openapi::v3() {
        look(&read(document), document.path);
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let mut documents: Vec<Value> = rk_openapi::v3().iter().map(read).collect();
    documents.push(read(rk_openapi::v2()));
    for document in documents {
        let mut references = Vec::new();
        collect(&document, &mut references);
        for reference in references {
            assert!(document.pointer(&reference).is_some_and(Value::is_object), "{reference}");
        }
    }
}

#[test]
fn protobuf_holds_every_definition_and_path_of_the_document() {
    let document = read(rk_openapi::v2());
    let bytes = rk_openapi::encode_v2_text_protobuf(&document.to_string()).unwrap();
    let top: Vec<(u64, &[u8])> = fields(&bytes);
    // Written in parts, which readers merge.
    let (mut paths, mut definitions) = (Vec::new(), Vec::new());
    for (number, part) in &top {
        match number {
            8 => paths.extend(fields(part)),
            9 => definitions.extend(fields(part)),
            _ => {}
        }
    }
    assert_eq!(paths.len(), document["paths"].as_object().unwrap().len());
    let names: Vec<&str> = definitions.iter().map(|(_, pair)| text(member(&fields(pair), 1))).collect();
    let wanted: Vec<&str> = document["definitions"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, wanted);

    let pod = definitions.iter().find(|(_, pair)| text(member(&fields(pair), 1)) == "io.k8s.api.core.v1.Pod").unwrap();
    let pod = fields(member(&fields(pod.1), 2));
    let extension = fields(member(&pod, 31));
    assert_eq!(text(member(&extension, 1)), "x-kubernetes-group-version-kind");
    let kinds: Value = serde_json::from_str(text(member(&fields(member(&extension, 2)), 2))).unwrap();
    assert_eq!(kinds, json!([{"group": "", "version": "v1", "kind": "Pod"}]));
    let types = fields(member(&pod, 22));
    assert_eq!(text(member(&types, 1)), "object");
}

#[test]
fn protobuf_of_version_3_holds_every_schema_path_and_reference() {
    let document = read(rk_openapi::v3_at("api/v1").unwrap());
    let bytes = rk_openapi::encode_v3_protobuf(&document);
    let top = fields(&bytes);
    assert_eq!(text(member(&top, 1)), "3.0.0");
    let paths = fields(member(&top, 4));
    assert_eq!(paths.len(), document["paths"].as_object().unwrap().len());
    let schemas = fields(member(&fields(member(&top, 5)), 1));
    let names: Vec<&str> = schemas.iter().map(|(_, pair)| text(member(&fields(pair), 1))).collect();
    let wanted: Vec<&str> = document["components"]["schemas"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, wanted);
    // Every reference that the text has, and no other.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => match members.get("$ref").and_then(Value::as_str) {
                Some(reference) => found.push(reference.to_owned()),
                None => members.values().for_each(|own| references(own, found)),
            },
            Value::Array(items) => items.iter().for_each(|own| references(own, found)),
            _ => {}
        }
    }
    let mut wanted = Vec::new();
    references(&document, &mut wanted);
    assert!(wanted.len() > 500);
    wanted.dedup();
    let haystack = String::from_utf8_lossy(&bytes);
    for reference in &wanted {
        assert!(haystack.contains(reference), "{reference}");
    }
    let pod = schemas.iter().find(|(_, pair)| text(member(&fields(pair), 1)) == "io.k8s.api.core.v1.Pod").unwrap();
    let pod = fields(member(&fields(member(&fields(pod.1), 2)), 1));
    assert_eq!(text(member(&pod, 25)), "object");
    assert_eq!(text(member(&fields(member(&pod, 36)), 1)), "x-kubernetes-group-version-kind");
}

/// The length-delimited fields of a protobuf message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        match tag & 7 {
            0 => drop(varint(&mut bytes)),
            1 => bytes = &bytes[8..],
            _ => {
                let size = varint(&mut bytes) as usize;
                found.push((tag >> 3, &bytes[..size]));
                bytes = &bytes[size..];
            }
        }
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for index in 0.. {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn member<'a>(fields: &[(u64, &'a [u8])], number: u64) -> &'a [u8] {
    fields.iter().find(|(own, _)| *own == number).unwrap_or_else(|| panic!("no field {number}")).1
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                references.push(reference.trim_start_matches('#').to_owned());
            }
            object.values().for_each(|value| collect(value, references));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[test]
fn a_type_is_owned_as_a_whole_in_every_document_though_a_field_of_it_is_not() {
    const REFERENCE: &str = "io.k8s.api.core.v1.ObjectReference";
    for path in ["api/v1", "apis/storage.k8s.io/v1"] {
        let document = read(rk_openapi::v3_at(path).unwrap());
        assert_eq!(document["components"]["schemas"][REFERENCE]["x-kubernetes-map-type"], "atomic", "{path}");
    }
}
