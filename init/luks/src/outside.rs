//! Headers by themselves, for a fuzz target: bytes of any kind are understood or refused, and what is understood is written so that it
//! means the same.

use crate::binary::{Binary, SIZE};
use crate::{Header, Secret, Write};
use serde_json::Value;

/// Deriving a key is dear on purpose, and not what is looked for here.
const MOST_ITERATIONS: u64 = 2000;

/// A disk that begins with these bytes; and one whose header says them as its text, with a right checksum.
pub fn header(data: &[u8]) {
    understood(data);
    let Ok(json) = std::str::from_utf8(data) else { return };
    let text = |text: &str| text.to_owned();
    let binary = Binary { size: SIZE as u64, sequence: 1, label: text("l"), uuid: text("u"), subsystem: text("s") };
    if let Ok(Some(first)) = binary.encode(json, 0, &mut noise) {
        understood(&first);
    }
}

fn understood(disk: &[u8]) {
    let Ok(mut header) = Header::read(&|at, size| Ok(read(disk, at, size))) else { return };
    let _ = (header.segment().is_ok(), header.tokens("rk-tpm2"));
    let before = (header.label().to_owned(), header.slots(), header.segment().ok());
    let cheap = header.text_value().is_some_and(|value| is_cheap(&value));
    if cheap {
        let _ = header.open(&Secret::new(vec![1]), None, &|at, size| Ok(read(disk, at, size)));
    }
    // A text that has outgrown its room is refused.
    let Ok(writes) = header.encode(&mut noise) else { return };
    let mut again = Vec::new();
    for Write { offset, bytes } in writes {
        let at = usize::try_from(offset).unwrap_or(0);
        again.resize(again.len().max(at + bytes.len()), 0);
        if let Some(room) = again.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(&bytes);
        }
    }
    let same = Header::read(&|at, size| Ok(read(&again, at, size)));
    let after = same.map(|header| (header.label().to_owned(), header.slots(), header.segment().ok()));
    assert!(after.is_ok_and(|after| after == before), "a header that was written reads otherwise");
}

fn noise(bytes: &mut [u8]) -> std::io::Result<()> {
    bytes.fill(7);
    Ok(())
}

fn read(disk: &[u8], at: u64, size: usize) -> Vec<u8> {
    let start = usize::try_from(at).unwrap_or(usize::MAX).min(disk.len());
    let end = start.saturating_add(size).min(disk.len());
    disk.get(start..end).unwrap_or_default().to_vec()
}

/// Whether no key derivation in it takes long.
fn is_cheap(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().all(|(name, value)| match (name.as_str(), value) {
            ("iterations", value) => value.as_u64().is_some_and(|times| times <= MOST_ITERATIONS),
            ("type", Value::String(kind)) => !kind.starts_with("argon2"),
            (_, value) => is_cheap(value),
        }),
        Value::Array(values) => values.iter().all(is_cheap),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_has_headers_that_are_understood() {
        for (json, slots) in [
            (include_str!("../../fuzz/corpus/luks/sealed"), vec![0]),
            (include_str!("../../fuzz/corpus/luks/passphrase"), vec![0]),
        ] {
            let binary =
                Binary { size: SIZE as u64, sequence: 1, label: "l".into(), uuid: "u".into(), subsystem: "s".into() };
            let first = binary.encode(json, 0, &mut noise).unwrap().unwrap();
            let header = Header::read(&|at, size| Ok(read(&first, at, size))).unwrap();
            assert_eq!(header.slots(), slots);
            assert!(header.segment().is_ok(), "{json}");
        }
    }
}
