//! What names may look like. Each check returns the broken rules in upstream's words; an empty list means valid.

/// Longest DNS label.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;
/// Longest name part of a label or annotation key.
pub const QUALIFIED_NAME_MAX: usize = 63;
/// Total size of all annotations of an object, in bytes.
pub const ANNOTATIONS_MAX: usize = 256 * 1024;

const LABEL_WORDS: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
                           alphanumeric character";
const SUBDOMAIN_WORDS: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
                               with an alphanumeric character";

/// `words (e.g. 'a',  or 'b', regex used for validation is 'r')`, spacing as upstream has it.
fn regex_error(words: &str, regex: &str, examples: &[&str]) -> String {
    let quoted: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    if quoted.is_empty() {
        return format!("{words} (regex used for validation is '{regex}')");
    }
    format!("{words} (e.g. {}regex used for validation is '{regex}')", quoted.join(" or "))
}

fn max_length(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// What [`max_length`] is for keys and values of labels, which upstream judges by newer words.
fn max_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// Starts and ends with `edge`, has only `inner` between.
fn framed(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().copied().is_some_and(edge)
        && bytes.last().copied().is_some_and(edge)
        && bytes.iter().copied().all(inner)
}

/// RFC 1123 label: names of namespaces, containers, ports of pods.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(max_length(LABEL_MAX));
    }
    if !framed(text, lower_alnum, |b| lower_alnum(b) || b == b'-') {
        if is_subdomain(text) {
            errors.push("must not contain dots".into());
            return errors;
        }
        errors.push(regex_error(LABEL_WORDS, "[a-z0-9]([-a-z0-9]*[a-z0-9])?", &["my-name", "123-abc"]));
    }
    errors
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|label| framed(label, lower_alnum, |b| lower_alnum(b) || b == b'-'))
}

/// RFC 1123 subdomain: names of most objects.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    subdomain(text, max_length)
}

/// Where a resolver looks for names: a subdomain whose labels may hold underscores, as those of services do (KEP-4427).
pub fn dns_search(text: &str) -> Vec<String> {
    let inner = |b| lower_alnum(b) || matches!(b, b'-' | b'_');
    let fits = text.split('.').all(|label| framed(label.strip_prefix('_').unwrap_or(label), lower_alnum, inner));
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        errors.push(max_length(SUBDOMAIN_MAX));
    }
    if !fits {
        let regex = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
        errors.push(regex_error(&SUBDOMAIN_WORDS.replace("'-'", "'_', '-'"), regex, &["example.com"]));
    }
    errors
}

fn subdomain(text: &str, too_long: fn(usize) -> String) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        errors.push(too_long(SUBDOMAIN_MAX));
    }
    if !is_subdomain(text) {
        let regex = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
        errors.push(regex_error(SUBDOMAIN_WORDS, regex, &["example.com"]));
    }
    errors
}

/// RFC 1035 label: names of Services.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(max_length(LABEL_MAX));
    }
    let fits = framed(text, lower_alnum, |b| lower_alnum(b) || b == b'-')
        && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if !fits {
        let words = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and \
                     end with an alphanumeric character";
        errors.push(regex_error(words, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    errors
}

/// A wildcard DNS subdomain (`*.example.com`): Ingress hosts.
pub fn wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        errors.push(max_length(SUBDOMAIN_MAX));
    }
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        let words = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case \
                     alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        let regex = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
        errors.push(regex_error(words, regex, &["*.example.com"]));
    }
    errors
}

fn qualified_part(name: &str) -> bool {
    framed(name, |b| b.is_ascii_alphanumeric(), |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A label or annotation key, a resource name: `[prefix/]name`.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let words = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let regex = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
    let examples = ["MyName", "my.name", "123-abc"];
    let name = match text.split_once('/') {
        None => text,
        Some((_, name)) if name.contains('/') => {
            let shape = regex_error(&format!("a valid label key {words}"), regex, &examples);
            return vec![format!("{shape} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")];
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                errors.push(format!("prefix part {}", "must be non-empty"));
            } else {
                errors.extend(subdomain(prefix, max_bytes).into_iter().map(|e| format!("prefix part {e}")));
            }
            name
        }
    };
    if name.is_empty() {
        errors.push(format!("name part {}", "must be non-empty"));
    } else if name.len() > QUALIFIED_NAME_MAX {
        errors.push(format!("name part {}", max_bytes(QUALIFIED_NAME_MAX)));
    }
    if !qualified_part(name) {
        errors.push(format!("name part {}", regex_error(words, regex, &examples)));
    }
    errors
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(max_bytes(LABEL_MAX));
    }
    if !text.is_empty() && !qualified_part(text) {
        let words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                     with an alphanumeric character";
        errors.push(regex_error(
            words,
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// What is wrong with a path below a domain, such as `example.com/controller`.
pub fn domain_prefixed_path(text: &str) -> Vec<String> {
    match text.split_once('/') {
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => dns1123_subdomain(domain),
        _ => vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".into()],
    }
}

/// A name that is one path segment and nothing more: RBAC objects.
pub fn path_segment(text: &str) -> Vec<String> {
    match text {
        "." => return vec!["may not be '.'".into()],
        ".." => return vec!["may not be '..'".into()],
        _ => {}
    }
    ["/", "%"].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// The name of an environment variable: printable ASCII but `=`.
pub fn env_var_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.is_empty() {
        errors.push("environment variable name must be non-empty".to_owned());
        return errors;
    }
    if !text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=') {
        errors.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='".into(),
        );
    }
    errors
}

/// An identifier as C has it: names of attributes of devices.
pub fn c_identifier(text: &str) -> Vec<String> {
    let fits = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fits {
        return Vec::new();
    }
    let words = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
    vec![regex_error(words, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// The reason of a condition.
pub fn condition_reason(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let fits = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b':'));
    if fits {
        return Vec::new();
    }
    let words = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or \
                 '_,:', and must end with an alphanumeric character or '_'";
    let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
    vec![regex_error(words, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples)]
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        errors.push(max_length(SUBDOMAIN_MAX));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        let words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        errors.push(regex_error(words, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    if text == "." {
        errors.push("must not be '.'".into());
    } else if text == ".." {
        errors.push("must not be '..'".into());
    } else if text.starts_with("..") {
        errors.push("must not start with '..'".into());
    }
    errors
}

/// The name of a port: an IANA service name.
pub fn port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 15 {
        errors.push(max_length(15));
    }
    if !text.bytes().all(|b| lower_alnum(b) || b == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".into());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".into());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".into());
    }
    errors
}

/// A port number.
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65535)
}

/// `must be between low and high, inclusive`.
pub fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) {
        Vec::new()
    } else {
        vec![format!("must be between {low} and {high}, inclusive")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_names_break_no_rule() {
        let none: Vec<String> = Vec::new();
        assert_eq!(dns1123_label("a-1"), none);
        assert_eq!(dns1123_subdomain("a-1.b"), none);
        assert_eq!(dns1035_label("a-1"), none);
        assert_eq!(qualified_name("example.com/My_Name"), none);
        assert_eq!(label_value(""), none);
        assert_eq!(port_name("http-2"), none);
        assert_eq!(config_map_key("a.B_c"), none);
        assert_eq!(wildcard_dns1123_subdomain("*.example.com"), none);
    }

    #[test]
    fn the_words_of_a_broken_name_are_those_that_clients_know() {
        assert_eq!(
            dns1123_subdomain("A_b"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an \
              alphanumeric character (e.g. 'example.com', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(
            dns1035_label("1a"),
            [
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with \
              an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(
            label_value("a b"),
            [
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
              alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
              '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ]
        );
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        let prefix = format!("{}/a", "a".repeat(254));
        assert_eq!(qualified_name(&prefix), ["prefix part must be no more than 253 bytes"]);
        assert_eq!(dns1035_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
    }

    #[test]
    fn empty_names_are_not_valid() {
        assert_eq!(dns1123_label("").len(), 1);
        assert_eq!(dns1123_subdomain("").len(), 1);
        assert_eq!(dns1123_subdomain("a..b").len(), 1);
        assert_eq!(qualified_name("").len(), 2);
    }
}
