//! `WWW-Authenticate` challenges of registries (RFC 9110 §11, distribution token specification).

use std::collections::HashMap;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The strongest challenge that we can answer among all header values, each of which may hold several.
pub(crate) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<Challenge> = headers.flat_map(challenges).collect();
    all.iter().find(|c| matches!(c, Challenge::Bearer { .. })).or(all.first()).cloned()
}

/// The challenges of one header: an element of its list is either a parameter of the challenge before it, or begins another.
fn challenges(header: &str) -> Vec<Challenge> {
    let mut told: Vec<(&str, HashMap<String, String>)> = Vec::new();
    for element in elements(header) {
        if let Some(parameter) = parameter(element) {
            if let Some((_, parameters)) = told.last_mut() {
                parameters.extend([parameter]);
            }
            continue;
        }
        let (scheme, rest) = element.split_once([' ', '\t']).unwrap_or((element, ""));
        told.push((scheme, parameter(rest).into_iter().collect()));
    }
    told.into_iter().filter_map(|(scheme, parameters)| known(scheme, parameters)).collect()
}

fn known(scheme: &str, mut parameters: HashMap<String, String>) -> Option<Challenge> {
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let realm = parameters.remove("realm")?;
    Some(Challenge::Bearer { realm, service: parameters.remove("service"), scope: parameters.remove("scope") })
}

/// What stands between the commas that are not quoted.
fn elements(header: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let between = header.split(move |c: char| {
        let ends = c == ',' && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        ends
    });
    between.map(str::trim).filter(|element| !element.is_empty())
}

/// `key="quoted \" value"` or `key=token`; a scheme with its first parameter has a blank in the place of the key.
fn parameter(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let key = key.trim();
    let is_token = !key.is_empty() && !key.contains(|c: char| c.is_whitespace() || c == '"');
    is_token.then(|| (key.to_ascii_lowercase(), unquoted(value.trim())))
}

fn unquoted(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"') else { return value.to_owned() };
    let mut text = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next().filter(|c| *c != '"') {
        text.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    text
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

    #[test]
    fn of_several_challenges_in_one_line_the_token_s_is_answered() {
        let bearer = |service: Option<&str>| {
            Some(Challenge::Bearer {
                realm: "https://a.example/t?x=1,2".into(),
                service: service.map(str::to_owned),
                scope: None,
            })
        };
        for (line, told) in [
            (
                r#"Basic realm="r, Bearer realm=\"no\"", Bearer realm="https://a.example/t?x=1,2",service="s""#,
                bearer(Some("s")),
            ),
            (r#"Bearer realm="https://a.example/t?x=1,2" , service = "s",Basic realm="r""#, bearer(Some("s"))),
            (r#",Bearer realm="https://a.example/t?x=1,2",, basic realm="r", service="of basic""#, bearer(None)),
            (r#"Negotiate YWJj==, BEARER realm="https://a.example/t?x=1,2""#, bearer(None)),
            (r#"Digest realm="d", nonce="n,m", Basic realm="Bearer realm=x""#, Some(Challenge::Basic)),
            (r#"Bearer service="s", Basic realm="r""#, Some(Challenge::Basic)),
            (r#"realm="of nothing", service="s""#, None),
        ] {
            assert_eq!(parse([line].into_iter()), told, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_the_parser_hang_or_panic(header in ".{0,200}") {
            let _ = parse([header.as_str(), &format!("Bearer {header}")].into_iter());
        }
    }
}
