//! Files of variables that a container of the pod wrote (KEP-3721): a small part of what a POSIX shell reads.
//!
//! `NAME='value'`, where the value is taken as it stands, over several lines if need be. Blank lines, what a `#` begins at the start of
//! a line, and a comment behind a value are skipped.

/// The value of `key` in the text of a file; `None` when it is not there.
///
/// # Errors
/// A line before it that is none of the above, or a quote that is never closed; the text names the line.
pub fn value_of(text: &str, key: &str) -> Result<Option<String>, String> {
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let declared = first.trim_start();
        if declared.is_empty() || declared.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let wrong = |why: &str| Err(format!("line {line}: {why}"));
        let Some((name, _)) = declared.split_once('=') else { return wrong("there is no '='") };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return wrong("a name stands right before its '=' and has no blanks");
        }
        let behind = rest.split_once('=').map_or("", |(_, behind)| behind);
        // A blank behind the sign assigns nothing, as in a shell.
        if behind.is_empty() || behind.starts_with(char::is_whitespace) {
            if name == key {
                return Ok(Some(String::new()));
            }
            (rest, line) = (after, line + 1);
            continue;
        }
        let Some(quoted) = behind.strip_prefix('\'') else { return wrong("a value stands in single quotes") };
        let Some((value, behind)) = quoted.split_once('\'') else { return wrong("the quote is never closed") };
        let (tail, after) = behind.split_once('\n').unwrap_or((behind, ""));
        if !tail.trim().is_empty() && !tail.trim_start().starts_with('#') {
            return wrong("only a comment may stand behind a value");
        }
        if name == key {
            return Ok(Some(value.to_owned()));
        }
        (rest, line) = (after, line + 1 + value.matches('\n').count());
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_they_stand() {
        let text =
            "# first\n\n  A='1' # one\nB='two\nlines # and no comment'\nC= 'x'\nD='$A \"q\" \\n'\nA='later'\nE=\nF=''";
        for (key, want) in [
            ("A", Some("1")),
            ("B", Some("two\nlines # and no comment")),
            ("C", Some("")),
            ("D", Some("$A \"q\" \\n")),
            ("E", Some("")),
            ("F", Some("")),
            ("G", None),
        ] {
            assert_eq!(value_of(text, key), Ok(want.map(str::to_owned)), "{key}");
        }
    }

    #[test]
    fn a_line_that_is_no_declaration_is_named() {
        for (text, why) in [
            ("A='1'\nB", "line 2: there is no '='"),
            ("A ='1'", "line 1: a name stands right before its '=' and has no blanks"),
            ("='1'", "line 1: a name stands right before its '=' and has no blanks"),
            ("export A='1'", "line 1: a name stands right before its '=' and has no blanks"),
            ("A=1", "line 1: a value stands in single quotes"),
            ("A='1\n2'\nB=\"2\"", "line 3: a value stands in single quotes"),
            ("A='1", "line 1: the quote is never closed"),
            ("A='1'2", "line 1: only a comment may stand behind a value"),
        ] {
            assert_eq!(value_of(text, "Z"), Err(why.to_owned()), "{text}");
        }
    }
}
