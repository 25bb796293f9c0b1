use super::*;
use crate::resources::Registry;
use crate::schema::Shape;
use serde_json::json;

fn wire(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn a_config_map_looks_as_go_writes_it() {
    // k8s\0, typeMeta{"v1","ConfigMap"}, raw{metadata{name "c"}, data{"k":"v"}}
    let body = wire("6b387300 0a0f 0a027631 1209436f6e6669674d6170 120d 0a03 0a0163 1206 0a016b 120176");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}});
    let decoded = decode(&body, None, Limits::default()).unwrap();
    assert_eq!((&decoded["metadata"]["name"], &decoded["data"]), (&object["metadata"]["name"], &object["data"]));
    assert_eq!(encode(&object).unwrap(), body);
}

#[test]
fn the_zero_values_that_go_always_writes_vanish() {
    // A pod whose spec has empty strings and false flags: restartPolicy "", dnsPolicy "", hostNetwork false.
    let body = wire("6b387300 0a09 0a027631 1203506f64 120a 1208 1a00 3200 5800 6000");
    let decoded = decode(&body, None, Limits::default()).unwrap();
    for field in ["restartPolicy", "dnsPolicy", "hostNetwork", "hostPID"] {
        assert_eq!(decoded["spec"].get(field), None, "{field}");
    }
}

#[test]
fn times_are_told_apart_from_the_time_that_go_leaves_out() {
    let lease = |time: &str| {
        let head = "6b387300 0a1f 0a16636f6f7264696e6174696f6e2e6b38732e696f2f7631 12054c65617365";
        let length = wire(time).len();
        decode(&wire(&format!("{head} 12{:02x} 12{length:02x} {time}", length + 2)), None, Limits::default()).unwrap()
    };
    // renewTime{seconds, nanos}: negative seconds take ten bytes.
    for (time, text) in [
        ("2200", None),
        // Go's zero time by its number, then two seconds and half a second later, and the epoch.
        ("220d 088092b8c398feffffff01 1000", None),
        ("220d 088292b8c398feffffff01 1000", Some("0001-01-01T00:00:02.000000Z")),
        ("2211 088092b8c398feffffff01 1080cab5ee01", Some("0001-01-01T00:00:00.500000Z")),
        ("2204 0800 1000", Some("1970-01-01T00:00:00.000000Z")),
    ] {
        let decoded = lease(time);
        assert_eq!(decoded["spec"].get("renewTime").and_then(Value::as_str), text, "{time}");
        let (told, own) = (encode(&decoded).unwrap(), wire(time));
        assert!(text.is_none() || told.windows(own.len()).any(|part| part == own), "{time}: {told:x?}");
        let again = decode(&told, None, Limits::default()).unwrap();
        assert_eq!(again["spec"], decoded["spec"], "{time}");
    }
}

#[test]
fn an_eviction_of_the_version_of_old_is_read() {
    let old = json!({
        "apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "p"},
        "deleteOptions": {"gracePeriodSeconds": 5},
    });
    let mut decoded = decode(&encode(&old).unwrap(), None, Limits::default()).unwrap();
    crate::decode::identify(&mut decoded, &GroupVersionKind::new("policy", "v1", "Eviction"), &[]).unwrap();
    assert_eq!((&decoded["apiVersion"], &decoded["metadata"]["name"]), (&json!("policy/v1"), &json!("p")));
    assert_eq!(decoded["deleteOptions"]["gracePeriodSeconds"], 5);
    let unknown = json!({"apiVersion": "policy/v9", "kind": "Eviction", "metadata": {"name": "p"}});
    assert_eq!(encode(&unknown), None);
}

#[test]
fn every_kind_survives_the_wire_with_every_field_set() {
    let mut kinds = 0;
    for resource in Registry::builtin().iter() {
        let schema = resource.schema.clone();
        let mut object = sample(&schema, 6);
        object["apiVersion"] = json!(resource.api_version());
        object["kind"] = json!(resource.gvk.kind);
        fit(&mut object, &schema, Form::Canonical).unwrap();
        let body = encode(&object).unwrap_or_else(|| panic!("{} has no message", resource.gvk));
        let decoded = decode(&body, None, Limits::default()).unwrap();
        assert_eq!(without_empty(decoded), without_empty(object), "{}", resource.gvk);
        kinds += 1;
    }
    assert!(kinds > 60, "only {kinds} kinds");
}

/// Empty lists and maps have no form on the wire, in Go's codec neither.
fn without_empty(value: Value) -> Value {
    let empty = |value: &Value| value.is_null() || value == &json!([]) || value == &json!({});
    match value {
        Value::Object(object) => {
            object.into_iter().map(|(k, v)| (k, without_empty(v))).filter(|(_, v)| !empty(v)).collect()
        }
        Value::Array(items) => items.into_iter().map(without_empty).filter(|v| !empty(v)).collect(),
        other => other,
    }
}

/// An object with something in every field, down to a depth.
fn sample(schema: &Schema, depth: usize) -> Value {
    match schema.shape() {
        Shape::Object if depth == 0 => json!({}),
        Shape::Object => {
            let on_wire = wire_names(schema, schema.wire());
            let fields = schema.fields().filter(|(name, _)| on_wire.contains(name));
            fields.map(|(name, place)| (name.to_owned(), sample(&place, depth - 1))).collect()
        }
        Shape::List if depth == 0 => json!([]),
        Shape::List => json!([sample(&schema.item(), depth - 1)]),
        Shape::Map => json!({"key": sample(&schema.item(), depth.saturating_sub(1))}),
        Shape::String => json!("text"),
        Shape::Bytes => json!("Ynl0ZXM="),
        Shape::Bool => json!(true),
        Shape::Int32 => json!(-7),
        Shape::Int64 => json!(1_i64 << 40),
        Shape::Double => json!(1.5),
        Shape::Quantity => json!("100m"),
        Shape::Time => json!("2024-01-02T03:04:05Z"),
        Shape::MicroTime => json!("2024-01-02T03:04:05.000006Z"),
        Shape::IntOrString => json!("80%"),
        Shape::Any => json!({"type": "object"}),
    }
}

fn wire_names(schema: &Schema, rows: &[crate::schema::WireRow]) -> Vec<&'static str> {
    let names = rows.iter().flat_map(|row| match row {
        crate::schema::WireRow::Field(_, index) => schema.field_at(*index).map(|(name, _)| name).into_iter().collect(),
        crate::schema::WireRow::Inline(_, inner) => wire_names(schema, inner),
    });
    names.collect()
}

#[test]
fn lists_and_watch_frames_wrap_messages() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
    let item = message(&pod).unwrap();
    let head = item_head(item.len());
    let meta = json!({"resourceVersion": "5"});
    let list = [&list_head("v1", "PodList", &meta, head.len() + item.len())[..], &head, &item].concat();
    let value = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "5"}, "items": [pod]});
    assert_eq!(encode(&value).unwrap(), list);
    let nothing = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "5"}, "items": []});
    assert_eq!(encode(&nothing).unwrap(), list_head("v1", "PodList", &meta, 0));

    let body = encode(&pod).unwrap();
    let frame = watch_frame("ADDED", &body);
    let (length, event) = frame.split_at(4);
    assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, event.len());
    let fields: Vec<_> = Fields::of(event).map(Result::unwrap).collect();
    assert_eq!(fields[0].1.text().unwrap(), "ADDED");
    let object = Fields::of(fields[1].1.bytes().unwrap()).next().unwrap().unwrap().1.bytes().unwrap();
    assert_eq!(object, body);
}

#[test]
fn option_kinds_are_known_under_any_group() {
    let options = wire("6b387300 0a18 0a07617070732f7631 120d44656c6574654f7074696f6e73 1204 2202 0a00");
    // Field 4 is propagationPolicy: two bytes of it as text.
    let decoded = decode(&options, None, Limits::default()).unwrap();
    assert_eq!(decoded["apiVersion"], "apps/v1");
    let unnamed = wire("6b387300 1200");
    let fallback = GroupVersionKind::new("", "v1", "ConfigMap");
    assert_eq!(decode(&unnamed, Some(&fallback), Limits::default()).unwrap()["kind"], "ConfigMap");
}

#[test]
fn malformed_bodies_are_errors_that_say_why() {
    let cases: [(&str, &str); 6] = [
        ("00", "expected prefix"),
        ("6b387300 0a", "unexpected EOF"),
        ("6b387300 0aff", "unexpected EOF"),
        ("6b387300 0bff01", "illegal wireType"),
        ("6b387300 0a0b 0a027631 12054e6f7065 7800", "illegal"),
        ("6b387300 0a0b 0a027631 12054e6f706573", "no kind \"Nopes\" is registered for version \"v1\""),
    ];
    for (body, wanted) in cases {
        match decode(&wire(body), None, Limits::default()) {
            Err(error) => assert!(error.to_string().contains(wanted) || wanted == "illegal", "{body}: {error}"),
            Ok(value) => panic!("{body} decoded to {value}"),
        }
    }
    let small = Limits { bytes: 3, depth: 5 };
    assert!(matches!(decode(b"k8s\0", None, small), Err(DecodeError::TooLarge(3))));
}

#[test]
fn nesting_is_bounded() {
    // not{not{not{…}}}: field 26 of JSONSchemaProps holds another one.
    let mut schema = Vec::new();
    for _ in 0..2000 {
        let mut outer = Writer::default();
        outer.bytes(26, &schema);
        schema = outer.finish();
    }
    let wrap = |number: u32, inner: &[u8]| {
        let mut outer = Writer::default();
        outer.bytes(number, inner);
        outer.finish()
    };
    // spec(2).versions(7).schema(4).openAPIV3Schema(1)
    let message = wrap(2, &wrap(7, &wrap(4, &wrap(1, &schema))));
    let body = envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", &message);
    let outcome = decode(&body, None, Limits::default());
    assert!(matches!(outcome, Err(DecodeError::TooDeep(_))), "got {:?}", outcome.map(|_| "a value"));
}
