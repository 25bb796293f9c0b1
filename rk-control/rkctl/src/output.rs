//! Answers as tables, JSON or YAML.

use crate::args::Format;
use anyhow::Result;
use serde_json::Value;

/// A column: its heading, the field it shows, and how.
#[derive(Debug, Clone, Copy)]
pub struct Column(pub &'static str, pub &'static str, pub Show);

/// How a field is shown in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// As it is.
    Plain,
    /// In KiB, MiB, GiB.
    Bytes,
    /// Seconds since 1970 as a date.
    Date,
    /// With one decimal.
    Tenths,
}

/// How an answer becomes a table.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The field that is the list of rows; empty when the answer is the only row.
    pub rows: &'static str,
    /// The columns.
    pub columns: &'static [Column],
}

/// Prints the answers of nodes as one document or table; where no node answered, nothing. `several` says whether more than one was asked:
/// what is printed has the same form whether all of them answer or one alone.
///
/// # Errors
/// Standard output is gone.
pub fn print(format: Format, shape: &Shape, several: bool, answers: &[(String, Value)]) -> Result<()> {
    write(printed(format, shape, several, answers)?.as_bytes())
}

fn printed(format: Format, shape: &Shape, several: bool, answers: &[(String, Value)]) -> Result<String> {
    match format {
        // An empty document would be the answer of a node.
        _ if answers.is_empty() => Ok(String::new()),
        Format::Table => Ok(table(shape, several, answers)),
        Format::Json | Format::Yaml => encoded(format, several, answers),
    }
}

/// The answers of nodes as one document: JSON when that was asked for, else YAML.
///
/// # Errors
/// A value that has no such form.
pub fn encoded(format: Format, several: bool, answers: &[(String, Value)]) -> Result<String> {
    Ok(match format {
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&document(several, answers))?),
        Format::Table | Format::Yaml => serde_yaml_ng::to_string(&document(several, answers))?,
    })
}

/// Prints what was made: for people a line each, for programs one document with all of them below `field`.
///
/// # Errors
/// Standard output is gone.
pub fn made(format: Format, field: &str, items: &[String]) -> Result<()> {
    write(things(format, field, items)?.as_bytes())
}

fn things(format: Format, field: &str, items: &[String]) -> Result<String> {
    if format == Format::Table {
        return Ok(items.iter().map(|item| format!("{item}\n")).collect());
    }
    let document = Value::Object([(field.to_owned(), items.into())].into_iter().collect());
    encoded(format, false, &[(String::new(), document)])
}

/// Prints what was done on nodes: for people a line each, for programs what they answered.
///
/// # Errors
/// Standard output is gone.
pub fn done(format: Format, word: &str, several: bool, answers: &[(String, Value)]) -> Result<()> {
    write(deeds(format, word, several, answers)?.as_bytes())
}

fn deeds(format: Format, word: &str, several: bool, answers: &[(String, Value)]) -> Result<String> {
    match format {
        Format::Table => Ok(answers.iter().map(|(node, _)| format!("{node}: {word}\n")).collect()),
        Format::Json | Format::Yaml if answers.is_empty() => Ok(String::new()),
        Format::Json | Format::Yaml => encoded(format, several, answers),
    }
}

/// Writes to standard output; a reader who went away is no error.
///
/// # Errors
/// Any other failure.
pub fn write(bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(err) if err.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// One node's answer as it is; several by name.
fn document(several: bool, answers: &[(String, Value)]) -> Value {
    match answers {
        [(_, only)] if !several => only.clone(),
        many => Value::Object(many.iter().cloned().collect()),
    }
}

/// Columns as wide as they need; the node's name first when there are several.
pub fn table(shape: &Shape, several: bool, answers: &[(String, Value)]) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut head: Vec<String> = if several { vec!["NODE".to_owned()] } else { Vec::new() };
    head.extend(shape.columns.iter().map(|column| column.0.to_owned()));
    lines.push(head);
    for (node, answer) in answers {
        let rows = match shape.rows {
            "" => vec![answer],
            field => answer.get(field).and_then(Value::as_array).map(|rows| rows.iter().collect()).unwrap_or_default(),
        };
        for row in rows {
            let mut line: Vec<String> = if several { vec![node.clone()] } else { Vec::new() };
            line.extend(shape.columns.iter().map(|Column(_, field, how)| cell(row.get(field), *how)));
            lines.push(line);
        }
    }
    let count = lines.first().map_or(0, Vec::len);
    let width =
        |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|text| text.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
        text.push('\n');
    }
    text
}

fn cell(value: Option<&Value>, how: Show) -> String {
    let Some(value) = value else { return String::new() };
    match (how, value) {
        (Show::Bytes, value) => value.as_u64().map(bytes).unwrap_or_default(),
        (Show::Date, value) => value.as_i64().and_then(date).unwrap_or_default(),
        (Show::Tenths, value) => value.as_f64().map(|number| format!("{number:.1}")).unwrap_or_default(),
        (Show::Plain, Value::String(text)) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        (Show::Plain, Value::Array(items)) => {
            items.iter().map(|item| cell(Some(item), Show::Plain)).collect::<Vec<_>>().join(",")
        }
        (Show::Plain, Value::Bool(truth)) => if *truth { "yes" } else { "no" }.to_owned(),
        (Show::Plain, Value::Null) => String::new(),
        (Show::Plain, other) => other.to_string(),
    }
}

/// A number of bytes for people.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (count as f64, "B");
    for next in UNITS.iter().skip(1) {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

fn date(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    Some(time.strftime("%Y-%m-%d %H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SHAPE: Shape = Shape {
        rows: "disks",
        columns: &[
            Column("NAME", "name", Show::Plain),
            Column("SIZE", "size", Show::Bytes),
            Column("SINCE", "since", Show::Date),
        ],
    };

    #[test]
    fn one_node_needs_no_name_and_several_do() {
        let answer =
            json!({"disks": [{"name": "vda", "size": 1_610_612_736_u64, "since": 0}, {"name": "b\u{1b}", "size": 12}]});
        assert_eq!(
            table(&SHAPE, false, &[("n1".to_owned(), answer.clone())]),
            "NAME   SIZE      SINCE\nvda    1.5 GiB   1970-01-01 00:00\nb      12 B\n"
        );
        let two = table(&SHAPE, true, &[("n1".to_owned(), answer.clone()), ("n2".to_owned(), answer)]);
        assert_eq!(two.lines().count(), 5);
        assert!(two.starts_with("NODE   NAME"), "{two}");
    }

    #[test]
    fn what_was_made_or_done_is_a_line_for_people_and_a_document_for_programs() {
        let answers = [("n1".to_owned(), json!({})), ("n2".to_owned(), json!({}))];
        let told = |format, several, answers: &[(String, Value)]| deeds(format, "done", several, answers).unwrap();
        assert_eq!(told(Format::Table, true, &answers), "n1: done\nn2: done\n");
        assert_eq!(told(Format::Json, true, &answers).parse::<Value>().unwrap(), json!({"n1": {}, "n2": {}}));
        assert_eq!(told(Format::Json, false, &answers[..1]).parse::<Value>().unwrap(), json!({}));
        assert_eq!(told(Format::Json, true, &[]), "");
        let files = ["a".to_owned(), "b".to_owned()];
        assert_eq!(things(Format::Table, "files", &files).unwrap(), "a\nb\n");
        assert_eq!(things(Format::Yaml, "files", &files).unwrap(), "files:\n- a\n- b\n");
    }

    #[test]
    fn the_only_one_of_several_that_answers_is_named_all_the_same() {
        let answers = [("n2".to_owned(), json!({"disks": [{"name": "vda"}]}))];
        assert!(table(&SHAPE, true, &answers).starts_with("NODE   NAME"));
        let read = |several: bool| encoded(Format::Json, several, &answers).unwrap().parse::<Value>().unwrap();
        assert_eq!(read(true), json!({"n2": {"disks": [{"name": "vda"}]}}));
        assert_eq!(read(false), json!({"disks": [{"name": "vda"}]}));
    }

    #[test]
    fn where_no_node_answers_nothing_is_printed() {
        for format in [Format::Table, Format::Json, Format::Yaml] {
            for several in [false, true] {
                assert_eq!(printed(format, &SHAPE, several, &[]).unwrap(), "", "{format:?}");
            }
        }
    }
}
