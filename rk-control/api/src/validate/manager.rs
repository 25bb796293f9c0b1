//! Field managers: who may be one, and what is sent as `managedFields`.

use serde_json::Value;

use super::get::{list, text};
use crate::status::{FieldErrors, Path, is_printable};

/// Longest name of a manager, in bytes; upstream's limit.
const LIMIT: usize = 128;
/// Longest name of a subresource, in bytes; upstream's limit.
const SUBRESOURCE_LIMIT: usize = 256;
/// Most wrong characters reported for one manager: each report quotes all of it.
const TOLD: usize = 4;

/// The rules for the name of a manager: short, and nothing in it that cannot be seen.
pub fn field_manager(manager: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if manager.len() > LIMIT {
        errors.too_long(path, LIMIT);
    }
    for (at, letter) in manager.char_indices().filter(|(_, letter)| !is_printable(*letter)).take(TOLD) {
        errors.invalid(path, manager, format!("invalid character U+{:04X} (at position {at})", u32::from(letter)));
    }
}

/// The manager that a user agent stands for: what comes before the first slash, as far as it can be seen; empty for none.
#[must_use]
pub fn manager_of_agent(agent: &str) -> String {
    let mut manager = String::new();
    for letter in agent.chars().take_while(|letter| *letter != '/').filter(|letter| is_printable(*letter)) {
        if manager.len() + letter.len_utf8() > LIMIT {
            break;
        }
        manager.push(letter);
    }
    manager
}

/// The rules for `managedFields` besides those that reading it has.
pub(super) fn managed_fields(metadata: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, entry) in list(metadata, "managedFields").iter().enumerate() {
        let path = path.index(index);
        field_manager(text(entry, "manager"), &path.child("manager"), errors);
        if text(entry, "subresource").len() > SUBRESOURCE_LIMIT {
            errors.too_long(&path.child("subresource"), SUBRESOURCE_LIMIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_sent_as_managed_fields_names_managers_that_may_be() {
        let told = |entry: Value| {
            let mut errors = FieldErrors::new();
            managed_fields(
                &json!({"managedFields": [entry]}),
                &Path::new("metadata").child("managedFields"),
                &mut errors,
            );
            errors.0.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(told(json!({"manager": "a b\u{e9}", "subresource": "status"})).is_empty());
        for (entry, want) in [
            (
                json!({"manager": "a\u{200b}b"}),
                "metadata.managedFields[0].manager: Invalid value: \"a\\u200bb\": invalid character U+200B (at position 1)",
            ),
            (
                json!({"manager": "m".repeat(129)}),
                "metadata.managedFields[0].manager: Too long: may not be more than 128 bytes",
            ),
            (
                json!({"manager": "m", "subresource": "s".repeat(257)}),
                "metadata.managedFields[0].subresource: Too long: may not be more than 256 bytes",
            ),
        ] {
            assert_eq!(told(entry), [want]);
        }
    }

    #[test]
    fn an_agent_is_known_by_what_can_be_seen_before_the_slash() {
        for (agent, want) in
            [("kubectl/v1 (x)", "kubectl"), ("/x", ""), ("\u{e9}\u{7}/1", "\u{e9}"), (" a b/c", " a b"), ("", "")]
        {
            assert_eq!(manager_of_agent(agent), want);
        }
        assert_eq!(manager_of_agent(&"\u{e9}".repeat(100)).len(), 128);
        assert_eq!(manager_of_agent(&format!("x{}", "\u{e9}".repeat(100))).len(), 127);
    }
}
