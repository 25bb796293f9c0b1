//! The table of `docs/benchmarks.md`.

/// One measurement beside its budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The result with its unit.
    pub measured: String,
    /// The budget, or a dash.
    pub budget: &'static str,
}

impl Row {
    /// A row.
    pub fn new(what: impl Into<String>, measured: impl Into<String>, budget: &'static str) -> Row {
        Row { what: what.into(), measured: measured.into(), budget }
    }
}

/// The whole document.
pub fn render(machine: &str, rows: &[Row]) -> String {
    let mut text = format!("# Benchmarks\n\nWritten by `cargo xtask bench`. Measured on: {machine}.\n\n| what | measured | budget |\n|---|---|---|\n");
    for row in rows {
        text.push_str(&format!("| {} | {} | {} |\n", row.what, row.measured, row.budget));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_becomes_a_line_of_the_table() {
        let text = render("a desk", &[Row::new("kernel", "5.0 MB", "—")]);
        assert!(text.contains("a desk") && text.ends_with("| kernel | 5.0 MB | — |\n"), "{text}");
    }
}
