//! The tables of `docs/benchmarks.md`. Each bench owns one section between two marks; what stands outside is left alone.

/// One measurement beside its budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The result with its unit.
    pub measured: String,
    /// The budget, or a dash.
    pub budget: String,
}

impl Row {
    /// A row.
    pub fn new(what: impl Into<String>, measured: impl Into<String>, budget: &str) -> Row {
        Row { what: what.into(), measured: measured.into(), budget: budget.to_owned() }
    }
}

/// A section's table.
pub fn render(machine: &str, rows: &[Row]) -> String {
    let mut text = format!("Measured on: {machine}.\n\n| what | measured | budget |\n|---|---|---|\n");
    for row in rows {
        text.push_str(&format!("| {} | {} | {} |\n", row.what, row.measured, row.budget));
    }
    text
}

/// `document` with the section `name` replaced by `table`, or with the section added under `title` when it has none.
pub fn place(document: &str, name: &str, title: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->\n"));
    let section = format!("{begin}{table}{end}");
    match (document.find(&begin), document.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            let (before, after) = (&document[..from], &document[to + end.len()..]);
            format!("{before}{section}{after}")
        }
        _ => format!("{}\n\n## {title}\n\n{section}", document.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_becomes_a_line_of_the_table() {
        let text = render("a desk", &[Row::new("kernel", "5.0 MB", "—")]);
        assert!(text.contains("a desk") && text.ends_with("| kernel | 5.0 MB | — |\n"), "{text}");
    }

    #[test]
    fn a_section_is_added_once_and_then_replaced_where_it_stands() {
        let first = place("# Benchmarks\n", "node", "Nodes", "old\n");
        assert_eq!(first, "# Benchmarks\n\n## Nodes\n\n<!-- node: begin -->\nold\n<!-- node: end -->\n");
        let both = place(&first, "api", "The API", "rows\n");
        let again = place(&both, "node", "Nodes", "new\n");
        assert_eq!(again, both.replace("old\n", "new\n"));
    }
}
