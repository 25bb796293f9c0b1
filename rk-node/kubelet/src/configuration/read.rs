//! Values in the forms that the document writes them in.

pub use rk_config::go_duration as duration;

use crate::quantity;

/// A quantity in bytes, more than none.
pub fn amount_of_bytes(text: &str) -> Option<u64> {
    quantity::units(text).and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0)
}

/// A truth value in Go's forms (`strconv.ParseBool`).
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
