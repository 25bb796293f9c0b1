//! Configs of nodes, as they are printed.

use super::{in_time, on_each, sort_out};
use crate::args::{Format, Global};
use crate::connect::{Trust, connect};
use crate::exit::Class;
use crate::output;
use anyhow::Result;
use rk_machine_proto::v1::Empty;
use serde_json::Value;

/// Prints the configs of nodes, and tells which could not be had.
///
/// # Errors
/// Standard output is gone, or a node's config is no YAML.
pub async fn show(global: &Global, nodes: Vec<String>, trust: Trust) -> Result<Class> {
    let (limit, several) = (global.timeout, nodes.len() > 1);
    let answers = on_each(nodes, move |node| {
        let trust = trust.clone();
        async move {
            let asked = async { anyhow::Ok(connect(&node, &trust).await?.get_config(Empty {}).await?.into_inner()) };
            Ok(serde_json::to_value(in_time(limit, asked).await?)?)
        }
    })
    .await;
    let (good, class) = sort_out(answers);
    if !good.is_empty() {
        output::write(text(global.print, several, &good)?.as_bytes())?;
    }
    Ok(class)
}

/// By default the text of each node, of several as documents that name it; else the configs themselves in that form.
fn text(format: Format, several: bool, answers: &[(String, Value)]) -> Result<String> {
    let field = |answer: &Value, name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if format == Format::Table {
        let head = |node: &str, answer: &Value| match several {
            true => format!("---\n# {node}, from {}\n", field(answer, "source")),
            false => String::new(),
        };
        return Ok(answers.iter().map(|(node, answer)| head(node, answer) + &field(answer, "config")).collect());
    }
    let parsed = answers.iter().map(|(node, answer)| {
        let config: Value = serde_yaml_ng::from_str(&field(answer, "config"))?;
        anyhow::Ok((node.clone(), config))
    });
    output::encoded(format, several, &parsed.collect::<Result<Vec<_>>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configs_are_the_nodes_own_text_or_objects_in_the_form_that_was_asked_for() {
        let one = ("n1".to_owned(), json!({"config": "role: worker # w\n", "source": "a drive"}));
        let two = ("n2".to_owned(), one.1.clone());
        let both = [one.clone(), two];
        assert_eq!(text(Format::Table, false, std::slice::from_ref(&one)).unwrap(), "role: worker # w\n");
        let named = text(Format::Table, true, &both).unwrap();
        assert!(named.starts_with("---\n# n1, from a drive\nrole: worker") && named.contains("# n2, from"), "{named}");
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(&text(Format::Json, false, &[one]).unwrap()), json!({"role": "worker"}));
        assert_eq!(
            read(&text(Format::Json, true, &both).unwrap()),
            json!({"n1": {"role": "worker"}, "n2": {"role": "worker"}})
        );
        assert_eq!(text(Format::Yaml, true, &both).unwrap(), "n1:\n  role: worker\nn2:\n  role: worker\n");
    }
}
