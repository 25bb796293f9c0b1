//! Resource quantities as integers: whole units, or thousandths.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Parses a quantity into thousandths, rounding up; saturates. `None` when it is no quantity.
pub fn try_parse_milli(text: &str) -> Option<i64> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (negative, digits) = match number.as_bytes().first()? {
        b'-' => (true, number.get(1..)?),
        b'+' => (false, number.get(1..)?),
        _ => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Nine decimals are the finest that the format knows (nano).
    let mut nano: i128 = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()?.checked_mul(1_000_000_000)? };
    let mut unit = 100_000_000i128;
    for digit in fraction.chars() {
        nano += i128::from(digit.to_digit(10)?) * unit;
        unit /= 10;
    }
    let nano = scale(nano, suffix)?;
    let milli = nano / 1_000_000 + i128::from(nano % 1_000_000 > 0);
    let milli = if negative { -(nano / 1_000_000) } else { milli };
    Some(milli.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
}

fn scale(nano: i128, suffix: &str) -> Option<i128> {
    let decimal = |power: i32| {
        let factor = 10i128.checked_pow(power.unsigned_abs())?;
        if power < 0 { Some(nano / factor + i128::from(nano % factor != 0)) } else { Some(nano.saturating_mul(factor)) }
    };
    match suffix {
        "" => Some(nano),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => Some(nano.saturating_mul(1 << 10)),
        "Mi" => Some(nano.saturating_mul(1 << 20)),
        "Gi" => Some(nano.saturating_mul(1 << 30)),
        "Ti" => Some(nano.saturating_mul(1 << 40)),
        "Pi" => Some(nano.saturating_mul(1 << 50)),
        "Ei" => Some(nano.saturating_mul(1 << 60)),
        _ => decimal(suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok().filter(|p| p.abs() <= 18)?),
    }
}

/// Thousandths of a unit (CPU); 0 when unreadable, as the API admits no such value.
pub fn parse_milli(quantity: &Quantity) -> i64 {
    try_parse_milli(&quantity.0).unwrap_or(0)
}

/// Whole units (bytes, pods), rounded up; 0 when unreadable.
pub fn parse_value(quantity: &Quantity) -> i64 {
    // Thousandths of large byte counts overflow 64 bits, hence the exact path for plain numbers.
    if let Ok(exact) = quantity.0.parse::<i64>() {
        return exact;
    }
    let text = quantity.0.trim();
    let exact = text.find(|c: char| !c.is_ascii_digit()).and_then(|at| {
        let (number, suffix) = text.split_at(at);
        let nano = scale(number.parse::<i128>().ok()?.checked_mul(1_000_000_000)?, suffix)?;
        Some((nano / 1_000_000_000 + i128::from(nano % 1_000_000_000 > 0)).min(i128::from(i64::MAX)) as i64)
    });
    exact.unwrap_or_else(|| {
        let milli = parse_milli(quantity);
        milli / 1000 + i64::from(milli % 1000 > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_kubernetes_reads_them() {
        for (text, milli) in [
            ("1", 1000),
            ("100m", 100),
            ("0.5", 500),
            ("1.5Gi", 1_610_612_736_000),
            ("2k", 2_000_000),
            ("1e3", 1_000_000),
            ("1u", 1),
            ("-1", -1000),
            ("0", 0),
        ] {
            assert_eq!(try_parse_milli(text), Some(milli), "{text}");
        }
        for text in ["", "abc", "1Q", "e3", "."] {
            assert_eq!(try_parse_milli(text), None, "{text}");
        }
        for (text, value) in
            [("128Mi", 134_217_728), ("1500m", 2), ("16Ei", i64::MAX), ("110", 110), ("8192Pi", i64::MAX)]
        {
            assert_eq!(parse_value(&Quantity(text.to_owned())), value, "{text}");
        }
    }
}
