//! Numbers as they are once they were written and read again.

use serde_json::{Number, Value};

/// Beyond it numbers are no integers of 64 bits.
pub(crate) const INTEGERS: f64 = 9_223_372_036_854_775_808.0;

/// Gives all numbers in a value the form in which kube-apiserver v1.36 writes those of custom objects: whole ones have no point.
pub fn settle(value: &mut Value) {
    match value {
        Value::Number(number) => *number = settled(number),
        Value::Array(items) => items.iter_mut().for_each(settle),
        Value::Object(members) => members.values_mut().for_each(settle),
        _ => {}
    }
}

/// A number as an integer if it is one of 64 bits, else with a point.
pub(super) fn settled(number: &Number) -> Number {
    match number.as_f64() {
        Some(double) if !number.is_i64() && double.fract() == 0.0 && double.abs() < INTEGERS => {
            Number::from(double as i64)
        }
        Some(double) if number.is_u64() && !number.is_i64() => {
            Number::from_f64(double).unwrap_or_else(|| number.clone())
        }
        _ => number.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_lose_their_point_and_those_beyond_integers_get_one() {
        for (number, expected) in [
            (json!(2.0), "2"),
            (json!(-0.0), "0"),
            (json!(-7e3), "-7000"),
            (json!(2.5), "2.5"),
            (json!(i64::MAX), "9223372036854775807"),
            (json!(i64::MIN), "-9223372036854775808"),
        ] {
            let mut value = json!({"list": [number]});
            settle(&mut value);
            assert_eq!(value["list"][0].to_string(), expected);
        }
        let mut large = json!([u64::MAX, 1e300]);
        settle(&mut large);
        assert!(large[0].is_f64() && large[1].is_f64(), "{large}");
    }
}
