//! Numbers that no type holds.

use serde_json::{Number, Value};

/// The first number above all integers of 64 bits.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

/// Makes integers of the numbers that are whole: where no type holds a number, its value counts and not how it was spelled
/// (kube-apiserver v1.36 answers `1000` for `1e3` and `1000.0`).
pub fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let double = number.as_f64().filter(|_| number.is_f64());
            if let Some(double) = double.filter(|double| double.fract() == 0.0 && double.abs() < BEYOND) {
                *number = Number::from(double as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(fields) => fields.values_mut().for_each(make_whole),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_are_integers_however_they_are_spelled() {
        let mut value = json!({"a": [1.0, 1e3, -0.0, 1.5, 7], "b": {"c": -2.0, "d": 1e19, "e": "1.0"}});
        make_whole(&mut value);
        assert_eq!(value, json!({"a": [1, 1000, 0, 1.5, 7], "b": {"c": -2, "d": 1e19, "e": "1.0"}}));
        assert!(value["a"][2].is_i64());
    }
}
