//! `WWW-Authenticate` challenges of registries (RFC 9110 §11, distribution token specification).

use std::collections::HashMap;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The strongest challenge that we can answer among all header values.
pub(crate) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<Challenge> = headers.filter_map(parse_one).collect();
    all.iter().find(|c| matches!(c, Challenge::Bearer { .. })).or(all.first()).cloned()
}

fn parse_one(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            let mut params = parameters(rest);
            let realm = params.remove("realm")?;
            Some(Challenge::Bearer { realm, service: params.remove("service"), scope: params.remove("scope") })
        }
        _ => None,
    }
}

/// `key="quoted \" value",key=token`.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| matches!(c, ',' | ' ' | '\t')).is_some() {}
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && *c != ',') {
            key.push(c.to_ascii_lowercase());
        }
        if chars.next_if_eq(&'=').is_none() {
            if chars.peek().is_none() {
                return found;
            }
            continue;
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next().filter(|c| *c != '"') {
                value.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                value.push(c);
            }
        }
        found.insert(key.trim().to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_quotes_and_commas_inside_them() {
        let header =
            r#"Bearer realm="https://auth.example/token",service="registry, \"x\"",scope="repository:a/b:pull,push""#;
        assert_eq!(
            parse(["Basic realm=\"x\"", header].into_iter()),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".into(),
                service: Some("registry, \"x\"".into()),
                scope: Some("repository:a/b:pull,push".into()),
            })
        );
        assert_eq!(parse(["basic"].into_iter()), Some(Challenge::Basic));
        for bad in ["", "Bearer", "Bearer realm", "Negotiate abc", "Bearer =,=,\"", "Bearer a=\"b"] {
            assert_eq!(parse([bad].into_iter()), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_the_parser_hang_or_panic(header in ".{0,200}") {
            let _ = parse([header.as_str(), &format!("Bearer {header}")].into_iter());
        }
    }
}
