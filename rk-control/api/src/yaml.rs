//! Writing YAML as upstream's clients and servers read it: by version 1.1, to which `2026-01-01T00:00:00Z`, `yes` and `0x1f` without
//! quotes are no text.

use serde_json::Value;

use crate::Object;

/// An object as a YAML document, its members in alphabetical order.
#[must_use]
pub fn write(value: &Value) -> String {
    let mut out = String::with_capacity(1024);
    match value {
        Value::Object(members) if !members.is_empty() => map(members, 0, false, &mut out),
        Value::Array(items) if !items.is_empty() => list(items, 0, &mut out),
        other => scalar(other, &mut out),
    }
    out
}

fn map(members: &Object, indent: usize, inline: bool, out: &mut String) {
    let mut keys: Vec<&String> = members.keys().collect();
    keys.sort_unstable();
    for (index, key) in keys.into_iter().enumerate() {
        // The first member of a list's item stands behind its dash.
        if index > 0 || !inline {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        text(key, out);
        out.push(':');
        match members.get(key).unwrap_or(&Value::Null) {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                map(inner, indent + 2, false, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                list(items, indent, out);
            }
            other => {
                out.push(' ');
                scalar(other, out);
            }
        }
    }
}

fn list(items: &[Value], indent: usize, out: &mut String) {
    for item in items {
        out.extend(std::iter::repeat_n(' ', indent));
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => map(inner, indent + 2, true, out),
            Value::Array(inner) if !inner.is_empty() => {
                out.pop();
                out.push('\n');
                list(inner, indent + 2, out);
            }
            other => scalar(other, out),
        }
    }
}

fn scalar(value: &Value, out: &mut String) {
    match value {
        Value::String(string) => text(string, out),
        // Numbers, true, false, null and what is empty are written as in JSON.
        other => out.push_str(&other.to_string()),
    }
    out.push('\n');
}

/// Text, in quotes unless every reader takes it for text without them.
fn text(string: &str, out: &mut String) {
    if is_plain(string) {
        out.push_str(string);
    } else {
        // A JSON string is one of YAML too, but for letters that break lines or are not printed.
        for letter in Value::from(string).to_string().chars() {
            match letter {
                '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                    out.push_str(&format!("\\u{:04x}", u32::from(letter)));
                }
                _ => out.push(letter),
            }
        }
    }
}

fn is_plain(string: &str) -> bool {
    let mut letters = string.chars();
    let starts = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, '/' | '_'));
    let inside = |letter: char| {
        letter.is_ascii_alphanumeric() || matches!(letter, '/' | '_' | '.' | '-' | '+' | ' ' | '(' | ')' | '=')
    };
    let word = string.to_ascii_lowercase();
    let other = matches!(word.as_str(), "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null");
    let colons = |string: &str| !string.ends_with(':') && !string.contains(": ");
    starts
        && letters.all(|letter| inside(letter) || letter == ':')
        && colons(string)
        && !string.ends_with(' ')
        && !other
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode::{self, Limits};

    #[test]
    fn what_could_be_taken_for_something_else_is_quoted() {
        let object = json!({
            "kind": "Pod", "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"a": "yes", "b": "0x1f", "c": ""}},
            "spec": {"containers": [{"name": "c", "args": ["-v", "x: y", "#"], "ports": [{"containerPort": 80}]}], "empty": {}, "none": []},
            "text": "a\nb", "flag": true, "image": "registry.example.com/a/b:1.2",
        });
        let written = write(&object);
        let want = "flag: true\nimage: registry.example.com/a/b:1.2\nkind: Pod\nmetadata:\n  creationTimestamp: \"2026-01-01T00:00:00Z\"\n  \
                    labels:\n    a: \"yes\"\n    b: \"0x1f\"\n    c: \"\"\nspec:\n  containers:\n  - args:\n    - \"-v\"\n    - \"x: y\"\n    - \"#\"\n    \
                    name: c\n    ports:\n    - containerPort: 80\n  empty: {}\n  none: []\ntext: \"a\\nb\"\n";
        assert_eq!(written, want);
        let back: Value = serde_yaml_ng::from_str(&written).unwrap();
        assert_eq!(back, object);
        assert_eq!(write(&json!([[1, 2], []])), "-\n  - 1\n  - 2\n- []\n");
    }

    #[test]
    fn what_yaml_1_1_takes_for_no_text_is_quoted_as_key_and_as_value() {
        for word in [
            "y",
            "Y",
            "yes",
            "YES",
            "n",
            "No",
            "on",
            "Off",
            "OFF",
            "true",
            "FALSE",
            "~",
            "null",
            "Null",
            "",
            "010",
            "0o17",
            "0x1F",
            "0b1",
            "1e3",
            "1_000",
            "+1",
            "-1",
            "1.5",
            ".5",
            ".inf",
            "-.INF",
            ".NaN",
            "1:30",
            "2001-01-01",
            "2001-01-01T00:00:00Z",
            "<<",
            "=",
            "!a",
            "&a",
            "*a",
            "- a",
            "? a",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "%a",
            "@a",
            "`a",
            "|",
            ">",
            "{a",
            "[a",
            "]",
            "}",
            ",",
            "'a'",
            "\"a\"",
            " a",
            "a ",
            "---",
            "...",
            "\t",
        ] {
            let value = json!({word: [word]});
            let written = write(&value);
            let quoted = Value::from(word).to_string();
            assert_eq!(written, format!("{quoted}:\n- {quoted}\n"));
            let (read, _) = decode::untyped_yaml(written.as_bytes(), Limits::default()).unwrap();
            assert_eq!(read, value, "{written}");
        }
        for word in
            ["a", "yesterday", "nope", "nullable", "a:b", "registry.k8s.io/pause:3.10", "e1", "inf", "a=b", "_a"]
        {
            assert_eq!(write(&json!([word])), format!("- {word}\n"));
        }
        let odd = json!(["a\u{85}b", "\u{7f}", "\u{2028}", "\u{feff}a", "\u{9f}\u{ffff}", "é\u{1f7d4}\u{8}\u{0}"]);
        let written = write(&odd);
        assert!(written.contains(r#""a\u0085b""#), "{written}");
        assert_eq!(decode::untyped_yaml(written.as_bytes(), Limits::default()).unwrap().0, odd, "{written}");
    }
}
