//! Amounts of resources: `100m`, `1.5Gi`, `2e3`.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

/// How an amount was written, and will be written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Powers of ten by letter: `100m`, `5k`, `3M`.
    #[default]
    DecimalSi,
    /// Powers of 1024: `5Ki`.
    BinarySi,
    /// Powers of ten by exponent: `12e6`.
    DecimalExponent,
}

/// Why a text is no amount; `Display` gives upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not an amount at all.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is malformed.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// The unit is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact amount in steps of 10⁻⁹, within ±(2⁶³−1).
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

const NANO: i128 = 1_000_000_000;
/// Amounts are capped here, as upstream caps them.
const MAX: i128 = i64::MAX as i128 * NANO;

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    /// A whole number.
    pub const fn from_units(units: i64, format: Format) -> Self {
        Quantity { nanos: units as i128 * NANO, format }
    }

    /// So many thousandths.
    pub const fn from_millis(millis: i64) -> Self {
        Quantity { nanos: millis as i128 * (NANO / 1000), format: Format::DecimalSi }
    }

    /// How it was written.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The amount in whole units, rounded up (away from zero), as upstream's `Value()`.
    pub fn units(&self) -> i64 {
        i64::try_from(div_away(self.nanos, NANO)).unwrap_or(i64::MAX)
    }

    /// The amount in thousandths, rounded up, as upstream's `MilliValue()`.
    pub fn millis(&self) -> i64 {
        i64::try_from(div_away(self.nanos, NANO / 1000)).unwrap_or(i64::MAX)
    }

    /// As a float, for ratios.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// −1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.nanos.signum() as i32
    }

    /// Whether it is nothing.
    pub const fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether it is a whole number.
    pub const fn is_integer(&self) -> bool {
        self.nanos % NANO == 0
    }
}

/// Division that rounds away from zero.
fn div_away(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 { quotient } else { quotient + value.signum() }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let digits = |c: char| c.is_ascii_digit();
        let whole_end = text.strip_prefix(['+', '-']).unwrap_or(text).trim_start_matches(digits);
        let suffix = whole_end.strip_prefix('.').map_or(whole_end, |fraction| fraction.trim_start_matches(digits));
        if text.is_empty() || !is_suffix(suffix) {
            return Err(QuantityError::Format);
        }
        let (base, exponent, format) = unit(suffix).ok_or(QuantityError::Suffix)?;
        let nanos = match scaled(text.strip_suffix(suffix).unwrap_or_default(), base, exponent) {
            Some(nanos) => nanos,
            // A unit alone is none of it, as far as upstream counts in 64 bits.
            None if exponent >= -9 && (base == 10 || exponent <= 40) => 0,
            None => return Err(QuantityError::Number),
        };
        Ok(Quantity { nanos: nanos.clamp(-MAX, MAX), format })
    }
}

/// Whether a text has the form of a suffix: letters of units, then an exponent.
fn is_suffix(text: &str) -> bool {
    let exponent = text.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    exponent.strip_prefix(['+', '-']).unwrap_or(exponent).bytes().all(|b| b.is_ascii_digit())
}

/// Base, exponent and format of a suffix.
fn unit(suffix: &str) -> Option<(i128, i32, Format)> {
    let decimal = |e| Some((10, e, Format::DecimalSi));
    let binary = |e| Some((2, e, Format::BinarySi));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        other => {
            let exponent = other.strip_prefix(['e', 'E'])?;
            exponent.parse::<i32>().ok().map(|e| (10, e, Format::DecimalExponent))
        }
    }
}

/// `number × base^exponent` in nanos, rounded away from zero; saturates far beyond the cap. Nothing when the number has no digits.
fn scaled(number: &str, base: i128, exponent: i32) -> Option<i128> {
    let (negative, digits) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Mantissa and decimal exponent; digits beyond what an i128 holds only matter for rounding up.
    let (mut mantissa, mut power, mut rest) = (0i128, 9i32, false);
    for (digit, is_fraction) in whole.bytes().map(|d| (d, false)).chain(fraction.bytes().map(|d| (d, true))) {
        if mantissa >= i128::MAX / 100_000_000_000_000_000_000 {
            rest |= digit != b'0';
            power += i32::from(!is_fraction);
            continue;
        }
        mantissa = mantissa * 10 + i128::from(digit - b'0');
        power -= i32::from(is_fraction);
    }
    let mut value = mantissa;
    if base == 2 {
        value = value.checked_shl(exponent.unsigned_abs()).filter(|v| v >> exponent == mantissa).unwrap_or(i128::MAX);
    } else {
        power = power.saturating_add(exponent);
    }
    let value = if value == 0 {
        0
    } else if power >= 0 {
        (0..power.min(60)).try_fold(value, |v, _| v.checked_mul(10)).unwrap_or(i128::MAX)
    } else {
        let by = 10i128.checked_pow(power.unsigned_abs()).unwrap_or(i128::MAX);
        div_away(value, by)
    };
    let value = if rest { value.saturating_add(1) } else { value };
    Some(if negative { -value } else { value })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANO;
        if self.format == Format::BinarySi && !small && self.is_integer() {
            let (mut amount, mut times) = (self.nanos / NANO, 0);
            while amount % 1024 == 0 && times < 6 {
                amount /= 1024;
                times += 1;
            }
            return write!(f, "{amount}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get(times).unwrap_or(&""));
        }
        let (mut amount, mut exponent) = (self.nanos, -9);
        while amount % 10 == 0 {
            amount /= 10;
            exponent += 1;
        }
        while exponent % 3 != 0 {
            amount *= 10;
            exponent -= 1;
        }
        // Without a letter for the power, the zeros are written out.
        while self.format != Format::DecimalExponent && exponent > 18 {
            amount *= 1000;
            exponent -= 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 { write!(f, "{amount}") } else { write!(f, "{amount}e{exponent}") };
        }
        let suffix = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        let index = usize::try_from(exponent / 3 + 3).unwrap_or_default();
        write!(f, "{amount}{}", suffix.get(index).unwrap_or(&""))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        // The format of zero says nothing: the first real amount decides.
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nanos: (self.nanos + other.nanos).clamp(-MAX, MAX), format }
    }
}

impl Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Quantity;

    fn neg(self) -> Quantity {
        Quantity { nanos: -self.nanos, format: self.format }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Quantity) {
        *self = *self - other;
    }
}

#[cfg(test)]
mod tests;
