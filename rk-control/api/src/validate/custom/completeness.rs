//! What a combination of schemas bounds must be a place of the schema itself.

use serde_json::Value;

use super::super::get::{entries, field, list};
use super::schema::MAX_DEPTH;
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// A place of the schema, and one of a combination that bounds what stands there.
#[derive(Clone, Copy)]
struct Pair<'a> {
    own: Option<&'a Value>,
    bound: &'a Value,
}

/// Judges the combinations at the root of a schema: upstream looks at no others.
pub(super) fn check(schema: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    combined(Pair { own: Some(schema), bound: schema }, path, path, 0, errors);
}

/// The combinations that stand beside what is bound; `path` is the place, `bound` where it is bounded.
fn combined(pair: Pair<'_>, path: &Path<'_>, bound: &Path<'_>, depth: usize, errors: &mut FieldErrors) {
    if let Some(part) = field(pair.bound, "not") {
        nested(Pair { bound: part, ..pair }, path, &bound.child("not"), depth + 1, errors);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        let all = bound.child(key);
        for (index, part) in list(pair.bound, key).iter().enumerate() {
            nested(Pair { bound: part, ..pair }, path, &all.index(index), depth + 1, errors);
        }
    }
}

fn nested(pair: Pair<'_>, path: &Path<'_>, bound: &Path<'_>, depth: usize, errors: &mut FieldErrors) {
    if depth > MAX_DEPTH {
        return;
    }
    let Some(own) = pair.own else { return errors.required(path, &format!("because it is defined in {bound}")) };
    combined(pair, path, bound, depth, errors);
    if let Some(items) = field(pair.bound, "items").filter(|items| items.is_object()) {
        let pair = Pair { own: field(own, "items"), bound: items };
        nested(pair, &path.child("items"), &bound.child("items"), depth + 1, errors);
    }
    let (here, there) = (path.child("properties"), bound.child("properties"));
    for (name, property) in entries(pair.bound, "properties") {
        let pair = Pair { own: at(own, &["properties"]).get(name), bound: property };
        nested(pair, &here.key(name), &there.key(name), depth + 1, errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_bounded_is_there() {
        let told = |combination: Value| -> Vec<String> {
            let mut schema = json!({"type": "object", "properties": {
                "a": {"type": "array", "items": {"type": "string"}}, "b": {"type": "integer"}}});
            schema["anyOf"] = json!([combination]);
            let mut errors = FieldErrors::new();
            check(&schema, &Path::new("s"), &mut errors);
            errors.0.iter().map(ToString::to_string).collect()
        };
        assert!(told(json!({"properties": {"a": {"items": {"pattern": "x"}}, "b": {"minimum": 1}}})).is_empty());
        let missing = told(json!({"not": {"properties": {"c": {"minimum": 1}}}}));
        let place = "s.properties[c]: Required value: because it is defined in s.anyOf[0].not.properties[c]";
        assert_eq!(missing, [place]);
        let items = told(json!({"properties": {"b": {"items": {}}}}));
        let place = "s.properties[b].items: Required value: because it is defined in s.anyOf[0].properties[b].items";
        assert_eq!(items, [place]);
    }
}
