//! Kubernetes quantities (`500m`, `1Gi`, `1e3`) as numbers.

/// The value in thousandths, rounded up, or `None` for text that is no quantity.
pub fn milli(text: &str) -> Option<i128> {
    let text = text.trim();
    let number_end = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && (*c == '-' || *c == '+'))))
        .map_or(text.len(), |(i, _)| i);
    let (number, suffix) = text.split_at(number_end);
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Nano precision is the finest that a quantity can carry.
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut fraction9: String = fraction.chars().take(9).collect();
    while fraction9.len() < 9 {
        fraction9.push('0');
    }
    let nanos = whole.checked_mul(1_000_000_000)?.checked_add(fraction9.parse::<i128>().ok()?)?;
    let (multiply, divide) = scale(suffix)?;
    let value = nanos.checked_mul(multiply)?;
    let divisor = divide.checked_mul(1_000_000)?;
    let rounded = value / divisor + i128::from(value % divisor != 0);
    Some(if negative { -rounded } else { rounded })
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if let Some(power) = BINARY.iter().position(|s| *s == suffix) {
        return Some((1024_i128.pow(power as u32 + 1), 1));
    }
    if let Some(power) = DECIMAL.iter().position(|s| *s == suffix) {
        return Some((1000_i128.pow(power as u32 + 1), 1));
    }
    match suffix {
        "" => Some((1, 1)),
        "m" => Some((1, 1000)),
        "u" => Some((1, 1_000_000)),
        "n" => Some((1, 1_000_000_000)),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

/// The value in whole units, rounded up.
pub fn units(text: &str) -> Option<i128> {
    milli(text).map(|m| m / 1000 + i128::from(m % 1000 > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_parse_in_every_notation() {
        for (text, want) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("500m", Some(500)),
            ("1.5", Some(1500)),
            (".5", Some(500)),
            ("1Ki", Some(1_024_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("2k", Some(2_000_000)),
            ("1e3", Some(1_000_000)),
            ("1E3", Some(1_000_000)),
            ("1E", Some(1_000_000_000_000_000_000_000)),
            ("100u", Some(1)),
            ("1n", Some(1)),
            ("-1", Some(-1000)),
            ("", None),
            ("Gi", None),
            ("1x", None),
            ("1.2.3", None),
        ] {
            assert_eq!(milli(text), want, "{text}");
        }
        assert_eq!(units("1100m"), Some(2));
    }
}
