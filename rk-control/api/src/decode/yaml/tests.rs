//! Each form of YAML and what comes of it.

use serde_json::{Value, json};

use super::*;
use crate::decode::FieldValidation;
use crate::resources::GroupVersionKind;
use crate::schema::Schema;

fn read(text: &str) -> Result<Value, String> {
    parse(text.as_bytes(), Limits::default()).map(|(value, _)| value).map_err(|error| match error {
        DecodeError::Yaml(why) => why,
        other => other.to_string(),
    })
}

fn twice(text: &str) -> Vec<String> {
    parse(text.as_bytes(), Limits::default()).unwrap().1
}

#[test]
fn yaml_becomes_json() {
    let text = "a: 1\nb: [x, 'y', 2.5, true, null]\nc:\n  1: one\n  true: two\n";
    assert_eq!(
        read(text).unwrap(),
        json!({"a": 1, "b": ["x", "y", 2.5, true, null], "c": {"1": "one", "true": "two"}})
    );
}

#[test]
fn plain_scalars_are_what_yaml_1_1_says() {
    for (is, words) in [
        (true, ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"]),
        (false, ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"]),
    ] {
        for word in words {
            assert_eq!(read(&format!("a: {word}")), Ok(json!({"a": is})), "{word}");
        }
    }
    for none in ["", "~", "null", "Null", "NULL"] {
        assert_eq!(read(&format!("a: {none}")), Ok(json!({"a": null})), "{none:?}");
    }
    for (plain, number) in [
        ("0", json!(0)),
        ("-0", json!(0)),
        ("+7", json!(7)),
        ("010", json!(8)),
        ("-010", json!(-8)),
        ("00", json!(0)),
        ("08", json!(8)),
        ("0o17", json!(15)),
        ("0O17", json!(15)),
        ("0x1F", json!(31)),
        ("0X1f", json!(31)),
        ("-0x1F", json!(-31)),
        ("0x_0A_74_AE", json!(685_230)),
        ("0b101", json!(5)),
        ("0B1_01", json!(5)),
        ("-0b101", json!(-5)),
        ("0b-101", json!(-5)),
        ("1_000", json!(1000)),
        ("+685_230", json!(685_230)),
        ("1__0_", json!(10)),
        ("9223372036854775807", json!(i64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("18446744073709551615", json!(u64::MAX)),
        ("0xFFFFFFFFFFFFFFFF", json!(u64::MAX)),
        ("18446744073709551616", json!(1.8446744073709552e19)),
        ("-9223372036854775809_0", json!(-9.223372036854776e19)),
        ("1e3", json!(1000)),
        ("1E3", json!(1000)),
        ("1.50", json!(1.5)),
        ("1.", json!(1)),
        (".5", json!(0.5)),
        (".5_0", json!(0.5)),
        ("+.5", json!(0.5)),
        ("685.230_15e+03", json!(685_230.15)),
        ("1e-7", json!(1e-7)),
    ] {
        assert_eq!(read(&format!("a: {plain}")), Ok(json!({"a": number})), "{plain}");
    }
}

#[test]
fn all_other_plain_scalars_are_text() {
    for text in [
        "yES",
        "oN",
        "tRUE",
        "nULL",
        "nil",
        "Yes.",
        "2001-01-01",
        "2001-01-01T10:00:00Z",
        "2001-01-01 10:00:00",
        "1:30",
        "0x",
        "0b",
        "0b12",
        "0xG",
        "1_000m",
        "_1",
        "+",
        "-b_c",
        "50cent",
        ".",
        "._5",
        ".5_",
        "..5",
        "1e400",
        "1e",
        "e1",
        "inf",
        "nan",
        "-.nan",
        "=",
        "<<",
        "0x1p-2",
        "+-5",
        "1.2.3",
        "0x10000000000000000000000000000000000",
    ] {
        assert_eq!(read(&format!("a: {text}")), Ok(json!({"a": text})), "{text}");
    }
}

#[test]
fn quotes_and_blocks_make_text() {
    for word in ["yes", "010", "1e3", "0x1F", "~", "", "null", "2001-01-01", "1_000", ".inf", "<<", "é"] {
        for written in [format!("'{word}'"), format!("\"{word}\""), format!("&x '{word}'"), format!("|-\n  {word}")] {
            assert_eq!(read(&format!("a: {written}")), Ok(json!({"a": word})), "{written}");
            assert_eq!(read(&format!("é: [no]\nb: {written}\n")).unwrap()["b"], json!(word), "{written}");
        }
        assert_eq!(read(&format!("{{\"{word}\": [\"{word}\"]}}")), Ok(json!({word: [word]})), "{word}");
    }
    assert_eq!(
        read(
            r#"{"a": "\u0079es", "b": "n\
   o"}"#
        ),
        Ok(json!({"a": "yes", "b": "no"}))
    );
    assert_eq!(read("a:\n  yes\n  no\n"), Ok(json!({"a": "yes no"})));
}

#[test]
fn tags_say_what_scalars_are() {
    for (written, value) in [
        ("!!str 5", json!("5")),
        ("!!str yes", json!("yes")),
        ("!!str 0x1F", json!("0x1F")),
        ("!!str", json!("")),
        ("!!str &a 010", json!("010")),
        ("!!int \"010\"", json!(8)),
        ("!!int 1_000", json!(1000)),
        ("!!float '1.5'", json!(1.5)),
        ("!!float 2", json!(2)),
        ("!!bool 'yes'", json!(true)),
        ("!!null ''", Value::Null),
        ("!!timestamp 2001-01-01", json!("2001-01-01")),
        ("!!binary aGk=", json!("hi")),
        ("!!binary |\n  aG\n  k=\n", json!("hi")),
        ("!!map {b: yes}", json!({"b": true})),
        ("!!seq [no]", json!([false])),
        ("!own 5", json!("5")),
        ("!own yes", json!("yes")),
        ("!own {b: yes}", json!({"b": true})),
        ("x !!int 5", json!("x !!int 5")),
    ] {
        for document in
            [format!("a: {written}"), format!("# why\n--- # so\na: {written}"), format!("\u{feff}a: {written}")]
        {
            assert_eq!(read(&document), Ok(json!({"a": value})), "{document}");
        }
    }
    for (written, why) in [
        ("!!int x", "yaml: cannot decode !!str `x` as a !!int"),
        ("!!int 1.5", "yaml: cannot decode !!float `1.5` as a !!int"),
        ("!!float error", "yaml: cannot decode !!str `error` as a !!float"),
        ("!!null foo", "yaml: cannot decode !!str `foo` as a !!null"),
        ("!!bool 5", "yaml: cannot decode !!int `5` as a !!bool"),
        ("!!timestamp ~", "yaml: cannot decode !!null `~` as a !!timestamp"),
        ("!!binary ==", "yaml: !!binary value contains invalid base64 data"),
    ] {
        assert_eq!(read(&format!("a: {written}")), Err(why.to_owned()), "{written}");
    }
}

#[test]
fn keys_are_text_in_the_form_that_upstream_gives_them() {
    for (written, key) in [
        ("yes", "true"),
        ("OFF", "false"),
        ("010", "8"),
        ("0x1F", "31"),
        ("1_000", "1000"),
        ("1.50", "1.5"),
        ("1e7", "1e+07"),
        ("3.14159265358979", "3.1415927"),
        (".inf", ".inf"),
        ("-.inf", "-.inf"),
        (".nan", ".nan"),
        ("2001-01-01", "2001-01-01"),
        ("'yes'", "yes"),
        ("\"<<\"", "<<"),
        ("!!str 010", "010"),
    ] {
        assert_eq!(read(&format!("{written}: x")), Ok(json!({key: "x"})), "{written}");
    }
    for (document, why) in [
        ("~: x", "unsupported map key of type: %!s(<nil>), key: <nil>, value: \"x\""),
        (
            "null: [a, ~]",
            "unsupported map key of type: %!s(<nil>), key: <nil>, value: []interface {}{\"a\", interface {}(nil)}",
        ),
        ("18446744073709551615: 1", "unsupported map key of type: uint64, key: 0xffffffffffffffff, value: 1"),
        ("{[.]}", "yaml: invalid map key: []interface {}{\".\"}"),
        ("{{.}}", "yaml: invalid map key: map[interface {}]interface {}{\".\":interface {}(nil)}"),
    ] {
        assert_eq!(read(document), Err(why.to_owned()), "{document}");
    }
}

#[test]
fn maps_take_in_others() {
    let anchors = "c: &c {x: 1, w: 2}\nb: &b {x: 0, r: 9}\n";
    for (members, want) in [
        ("{<<: *c, r: 3}", json!({"x": 1, "w": 2, "r": 3})),
        ("{<<: *c, x: 5}", json!({"x": 5, "w": 2})),
        ("{x: 5, <<: *c}", json!({"x": 1, "w": 2})),
        ("{<<: [*c, *b]}", json!({"x": 1, "w": 2, "r": 9})),
        ("{<<: [*b, {z: 4}]}", json!({"x": 0, "r": 9, "z": 4})),
        ("{<<: {<<: *c, x: 7}}", json!({"x": 7, "w": 2})),
        ("{<<: []}", json!({})),
        ("{!!merge '<<': *b}", json!({"x": 0, "r": 9})),
        ("{'<<': 1}", json!({"<<": 1})),
    ] {
        assert_eq!(read(&format!("{anchors}m: {members}\n")).unwrap()["m"], want, "{members}");
    }
    for odd in ["1", "~", "[1]", "[[*c]]", "x"] {
        let why = "yaml: map merge requires map or sequence of maps as the value";
        assert_eq!(read(&format!("{anchors}m: {{<<: {odd}}}\n")), Err(why.to_owned()), "{odd}");
    }
    assert_eq!(
        twice("a: &a\n  x: 1\nb:\n  <<: *a\n  x:\n    2\n"),
        ["yaml: unmarshal errors:\n  line 6: key \"x\" already set in map"]
    );
    assert_eq!(
        twice("a: &a\n  x: 1\nb:\n  x: 2\n  <<: *a\n"),
        ["yaml: unmarshal errors:\n  line 2: key \"x\" already set in map"]
    );
    assert_eq!(
        twice("a: &a {x: 1}\nb:\n  x: 2\n  <<: [*a]\n"),
        ["yaml: unmarshal errors:\n  line 4: key \"x\" already set in map"]
    );
}

#[test]
fn aliases_stand_for_what_they_name() {
    assert_eq!(
        read("a: &a [yes, 010]\nb: *a\nc: &a no\nd: *a\n").unwrap(),
        json!({
            "a": [true, 8], "b": [true, 8], "c": false, "d": false,
        })
    );
    assert_eq!(read("a: 1\nb: *c\n"), Err("yaml: unknown anchor 'c' referenced".to_owned()));
    assert!(read("a: &a [*a]\n").unwrap_err().contains("exceeded max depth"));
}

#[test]
fn the_first_document_counts() {
    assert_eq!(read("a: 1\n---\nb: 2\n"), Ok(json!({"a": 1})));
    assert_eq!(read("---\na: 1\n...\n}not yaml"), Ok(json!({"a": 1})));
    assert_eq!(read("# nothing\n"), Ok(Value::Null));
    assert_eq!(read("--- !!str 5\n"), Ok(json!("5")));
}

#[test]
fn what_is_wrong_is_told_by_its_line() {
    let told = |text: &[u8]| parse(text, Limits::default()).unwrap_err().to_string();
    let about = "error converting YAML to JSON: yaml: ";
    assert_eq!(told(b"a: ["), format!("{about}line 1: did not find expected node content"));
    assert_eq!(told(b"a:\n  b:\n\tc: 1\n"), format!("{about}line 3: found character that cannot start any token"));
    assert_eq!(
        told(b"a: !!str x\nb:\n\tc: 1\n"),
        format!("{about}line 3: found character that cannot start any token")
    );
    assert_eq!(told(b"a: \0"), format!("{about}control characters are not allowed"));
    for (written, word) in [(".nan", "NaN"), (".inf", "+Inf"), ("-.INF", "-Inf"), ("!!float '+.inf'", "+Inf")] {
        let body = format!("x: y\na:\n  b: [{written}]\n");
        assert_eq!(told(body.as_bytes()), format!("{about}line 3: json: unsupported value: {word}"), "{written}");
    }
}

#[test]
fn what_json_cannot_express_is_read_as_near_as_may_be() {
    let text = "a: 99999999999999999999\nb: -99999999999999999999\nc: !some {d: !other [e]}\nf: 5.0\n";
    assert_eq!(read(text).unwrap(), json!({"a": 1e20, "b": -1e20, "c": {"d": ["e"]}, "f": 5}));
}

#[test]
fn duplicate_keys_are_named_with_their_line() {
    let body = "s:\n  c:\n  - x: 1\n    x: 2\ns: 3\n";
    assert_eq!(read(body), Ok(json!({"s": 3})));
    let want =
        "yaml: unmarshal errors:\n  line 4: key \"x\" already set in map\n  line 5: key \"s\" already set in map";
    assert_eq!(twice(body), [want]);
    let inner_first =
        "yaml: unmarshal errors:\n  line 4: key 9 already set in map\n  line 3: key \"a\" already set in map";
    assert_eq!(twice("a: 1\na:\n  9: 1\n  9: 2\n"), [inner_first]);
    assert_eq!(twice("a: !!int 1\na: 2\n"), ["yaml: unmarshal errors:\n  line 2: key \"a\" already set in map"]);
}

#[test]
fn alias_bombs_and_depth_are_bounded() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 9].join(",");
        bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    assert!(read(&bomb).unwrap_err().contains("document contains excessive aliasing"));
    let mut merged = String::from("a0: &a0 {x: 1}\n");
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 9].join(",");
        merged.push_str(&format!("a{i}: &a{i} {{<<: [{refs}]}}\n"));
    }
    assert!(read(&merged).unwrap_err().contains("document contains excessive aliasing"));
    let long = "x".repeat(100_000);
    for repeated in [format!("a: &a {long}\nb: ["), format!("a: &a {{? {long} : 1, ? {long} : 2}}\nb: [")] {
        let body = format!("{repeated}{}]\n", vec!["*a"; 1000].join(","));
        assert!(read(&body).unwrap_err().contains("document contains excessive aliasing"));
    }
    assert!(read(&"[".repeat(2000)).is_err());
    assert_eq!(read(&format!("a:\n{}", "- ".repeat(500))), Err("yaml: line 2: exceeded max depth of 128".to_owned()));
    assert_eq!(parse(b"[[[[[1]]]]]", Limits { bytes: 100, depth: 3 }), Err(DecodeError::TooDeep(3)));
}

#[test]
fn what_json_cannot_say_is_refused() {
    for (body, why) in [
        ("a: b: c", "mapping values are not allowed in this context"),
        ("a: b\n c: d", "line 2: mapping values are not allowed in this context"),
        ("a: [", "line 1: did not find expected node content"),
        ("- a\nb: c", "line 1: did not find expected '-' indicator"),
        ("a: \"x", "found unexpected end of stream"),
        ("a:\n\t- b", "line 2: found character that cannot start any token"),
    ] {
        let error = parse(body.as_bytes(), Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("error converting YAML to JSON: yaml: {why}"), "{body}");
        let told = error.into_status("Pod", "v1", b"").message;
        assert!(told.ends_with(&format!("(must be of type Pod): yaml: {why} (<empty>)")), "{told}");
    }
}

#[test]
fn objects_have_what_yaml_1_1_makes_of_their_fields() {
    let pod = Schema::of_kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
    let decode = |spec: &str| {
        let body = format!("kind: Pod\nspec:\n  {spec}\n");
        crate::decode::yaml(body.as_bytes(), &pod, FieldValidation::Strict, Limits::default())
    };
    let of = |spec: &str| decode(spec).map(|decoded| decoded.object["spec"].clone()).map_err(|error| error.to_string());
    assert_eq!(of("hostNetwork: yes").unwrap()["hostNetwork"], json!(true));
    assert_eq!(
        of("volumes: [{name: v, secret: {defaultMode: 0644}}]").unwrap()["volumes"][0]["secret"]["defaultMode"],
        420
    );
    assert_eq!(
        of("containers: [{name: c, env: [{name: A, value: no}]}]"),
        Err("json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string"
            .to_owned())
    );
    assert_eq!(
        of("nodeSelector: {a: 010}"),
        Err("json: cannot unmarshal number into Go struct field PodSpec.spec.nodeSelector of type string".to_owned())
    );
}
