//! Paths of fields through a schema: `.spec.color`, `.data['a.b']` (upstream's `ValidFieldPath`).

use serde_json::Value;

use crate::meta::at;

/// Where a path leads.
#[derive(Debug, PartialEq)]
pub(super) struct Place<'a> {
    /// The path in one known form.
    pub text: String,
    /// Its first field.
    pub first: String,
    /// What stands there.
    pub schema: &'a Value,
}

/// Follows a path; `brackets`: whether names may stand in brackets.
///
/// # Errors
/// What is wrong with the path, as upstream words it.
pub(super) fn follow<'a>(path: &str, schema: &'a Value, brackets: bool) -> Result<Place<'a>, String> {
    let end = || "unexpected end of JSON path".to_owned();
    let mut place = Place { text: String::new(), first: String::new(), schema };
    let mut tokens = tokens(path).into_iter();
    while let Some(token) = tokens.next() {
        match token {
            "[" if !brackets => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let quoted = tokens.next().ok_or_else(end)?;
                let name = quoted.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
                let name = name.ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                place.enter(&unescaped(name)?)?;
                match tokens.next().ok_or_else(end)? {
                    "]" => {}
                    other => return Err(format!("expected ] but got {other}")),
                }
            }
            "." => place.enter(tokens.next().ok_or_else(end)?)?,
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok(place)
}

impl Place<'_> {
    /// Goes to a field or to an entry of a map.
    fn enter(&mut self, name: &str) -> Result<(), String> {
        let unknown = || "does not refer to a valid field".to_owned();
        let properties = at(self.schema, &["properties"]);
        let begins = self.text.is_empty();
        if let Some(properties) = properties.as_object() {
            self.schema = properties.get(name).ok_or_else(unknown)?;
            if !begins {
                self.text.push('.');
            }
            self.text.push_str(name);
        } else {
            let values = at(self.schema, &["additionalProperties"]);
            self.schema = Some(values).filter(|values| values.is_object()).ok_or_else(unknown)?;
            self.text.push_str(&format!("[{name}]"));
        }
        if begins {
            self.first = name.to_owned();
        }
        Ok(())
    }
}

/// Dots, brackets, quoted texts, and what stands between them.
fn tokens(path: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let end = token_end(rest);
        found.push(rest.get(..end).unwrap_or(rest));
        rest = rest.get(end..).unwrap_or_default();
    }
    found
}

fn token_end(text: &str) -> usize {
    if text.starts_with(['.', '[', ']']) {
        return 1;
    }
    if !text.starts_with('\'') {
        return text.find(['.', '[', ']']).unwrap_or(text.len());
    }
    let bytes = text.as_bytes();
    let closes = |place: &usize| bytes.get(*place) == Some(&b'\'') && bytes.get(*place - 1) != Some(&b'\\');
    (1..bytes.len()).find(closes).map_or(text.len(), |place| place + 1)
}

/// A quoted text without its escapes.
fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        out.push(match letters.next() {
            Some('a') => '\x07',
            Some('b') => '\x08',
            Some('f') => '\x0c',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\x0b',
            Some('\'') => '\'',
            Some('\\') | None => '\\',
            Some(other) => return Err(format!("invalid string literal: invalid escape char \\{other}")),
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_fields_and_entries_of_maps() {
        let schema = json!({"properties": {"spec": {"properties": {
            "color": {"type": "string"}, "data": {"additionalProperties": {"type": "integer"}}}}}});
        for (path, brackets, want) in [
            (".spec.color", false, Ok(("spec.color", "string"))),
            (".spec['color']", true, Ok(("spec.color", "string"))),
            (".spec.data['a.\\'b']", true, Ok(("spec.data[a.'b]", "integer"))),
            (".spec.data.x", false, Ok(("spec.data[x]", "integer"))),
            (".spec['color']", false, Err("array notation is not allowed")),
            (".spec.size", false, Err("does not refer to a valid field")),
            (".spec.color.more", false, Err("does not refer to a valid field")),
            ("spec", false, Err("expected [ or . but got: spec")),
            (".spec.", false, Err("unexpected end of JSON path")),
            (".spec[color]", true, Err("expected single quoted string but got color")),
            (".spec['color'.", true, Err("expected ] but got .")),
            (".spec['\\x']", true, Err("invalid string literal: invalid escape char \\x")),
        ] {
            let found = follow(path, &schema, brackets);
            let found = found.map(|place| (place.text, place.schema["type"].as_str().unwrap_or_default()));
            let want = want.map(|(text, kind)| (text.to_owned(), kind)).map_err(str::to_owned);
            assert_eq!(found, want, "{path}");
        }
    }
}
