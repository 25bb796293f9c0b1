//! The parser alone.

use serde_json::json;

use super::*;

fn run(text: &str) -> Result<(Value, Vec<String>), DecodeError> {
    parse(text.as_bytes(), Limits::default())
}

#[test]
fn json_becomes_the_same_value_as_with_serde() {
    for text in [
        r#"{"a":[1,-2,3.5,1e3,true,false,null,"x"],"b":{"c":{}}}"#,
        r#""\u00e9\n\t\"\\\/ \ud83d\ude00 é""#,
        "18446744073709551615",
        "-9223372036854775808",
        " [ ] ",
        "0.5",
    ] {
        let want: Value = serde_json::from_str(text).unwrap();
        assert_eq!(run(text).unwrap().0, want, "{text}");
    }
    assert_eq!(run(r#""\ud800x""#).unwrap().0, json!("\u{fffd}x"));
}

#[test]
fn malformed_json_is_refused_in_known_words() {
    for (text, want) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (r#"{"a" 1}"#, "invalid character '1' after object key"),
        (r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair"),
        (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1]]", "invalid character ']' after top-level value"),
        ("NaN", "invalid character 'N' looking for beginning of value"),
        ("nul1", "invalid character '1' in literal null (expecting 'l')"),
        ("01", "invalid character '1' after top-level value"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("\"a\nb\"", "invalid character '\\n' in string literal"),
        (r#""\x""#, "invalid character 'x' in string escape code"),
        ("'", r"invalid character '\'' looking for beginning of value"),
        ("\u{0}", r"invalid character '\x00' looking for beginning of value"),
        ("\u{7}", r"invalid character '\a' looking for beginning of value"),
        ("\\", r"invalid character '\\' looking for beginning of value"),
        ("\u{e9}", "invalid character '\u{c3}' looking for beginning of value"),
    ] {
        assert_eq!(run(text).unwrap_err().to_string(), want, "{text}");
    }
}

#[test]
fn duplicate_fields_are_named_by_path_and_the_last_wins() {
    let (value, duplicates) = run(r#"{"a":1,"b":[{"c":1,"c":2},{"d":{"e":1,"e":1}}],"a":2}"#).unwrap();
    assert_eq!(value, json!({"a": 2, "b": [{"c": 2}, {"d": {"e": 1}}]}));
    assert_eq!(duplicates, ["b[0].c", "b[1].d.e", "a"]);
}

#[test]
fn bounds_hold() {
    let limits = Limits { bytes: 100, depth: 3 };
    assert_eq!(parse(&[b' '; 101], limits), Err(DecodeError::TooLarge(100)));
    assert_eq!(parse(b"[[[[1]]]]", limits), Err(DecodeError::TooDeep(3)));
    assert!(parse(b"[[[1]]]", limits).is_ok());
    assert!(parse(b"\"\xff\"", limits).unwrap_err().to_string().contains("byte 1"));
    assert!(run("1e999").is_err());
}
