//! Short hashes in names and labels, in the alphabet that Kubernetes uses (no vowels, so no words).

use serde::Serialize;

const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a, 32 bits.
pub(crate) fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Maps every character into the safe alphabet.
pub(crate) fn safe_encode(text: &str) -> String {
    text.bytes().map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()])).collect()
}

/// Hash of an object's JSON and, when names collided, of how often they did. Object keys are ordered, so equal
/// objects hash equally.
pub(crate) fn of_object<T: Serialize>(object: &T, collisions: Option<i32>) -> String {
    // Serializing plain API types cannot fail.
    let mut bytes = serde_json::to_value(object).map(|v| v.to_string().into_bytes()).unwrap_or_default();
    if let Some(count) = collisions {
        bytes.extend_from_slice(&count.to_le_bytes());
    }
    safe_encode(&fnv32a(&bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_stable_safe_and_change_with_collisions() {
        assert_eq!(fnv32a(b"a"), 0xe40c_292c);
        let value = serde_json::json!({"b": 1, "a": [1, 2]});
        let (plain, collided) = (of_object(&value, None), of_object(&value, Some(1)));
        assert_eq!(plain, of_object(&serde_json::json!({"a": [1, 2], "b": 1}), None));
        assert_ne!(plain, collided);
        assert!(plain.bytes().all(|b| ALPHABET.contains(&b)));
    }
}
