//! Label selectors as Go prints them, which tables and events of upstream show.

use serde_json::Value;

use crate::meta;

/// The text of a `LabelSelector` in its canonical JSON form; `nil` of one that is not there.
pub fn printed(selector: &Value) -> String {
    if selector.is_null() {
        return "nil".to_owned();
    }
    let labels = meta::at(selector, &["matchLabels"]).as_object().into_iter().flatten();
    let labels: String = labels.map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default())).collect();
    let expressions = meta::at(selector, &["matchExpressions"]).as_array().into_iter().flatten();
    let expressions: String = expressions
        .map(|expression| {
            let values = meta::at(expression, &["values"]).as_array().into_iter().flatten();
            let values: Vec<&str> = values.filter_map(Value::as_str).collect();
            let (key, operator) = (meta::text(expression, &["key"]), meta::text(expression, &["operator"]));
            format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},", values.join(" "))
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_selector_is_shown_with_all_that_it_asks_for() {
        let empty = "&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{},}";
        let labels =
            "&LabelSelector{MatchLabels:map[string]string{a: b,c: d,},MatchExpressions:[]LabelSelectorRequirement{},}";
        let both = "&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},LabelSelectorRequirement{Key:l,Operator:Exists,Values:[],},},}";
        let expressions =
            json!([{"key": "k", "operator": "In", "values": ["x", "y"]}, {"key": "l", "operator": "Exists"}]);
        for (selector, text) in [
            (Value::Null, "nil"),
            (json!({}), empty),
            (json!({"matchLabels": {"c": "d", "a": "b"}}), labels),
            (json!({"matchExpressions": expressions}), both),
        ] {
            assert_eq!(printed(&selector), text);
        }
    }
}
