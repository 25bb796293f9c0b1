//! Bytes in the place of text, for formats that know text alone: what is no UTF-8 stands there as letters that nobody uses.

/// Stands for the byte 0; those behind it, at the end of the last private plane, for all others.
const FIRST: u32 = 0x10_FE00;

/// Text that tells bytes: themselves where they are text.
pub fn bytes_as_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match byte(letter) {
                // It would be taken for the byte that it stands for.
                Some(_) => text.extend(letter.encode_utf8(&mut [0; 4]).bytes().map(stand_in)),
                None => text.push(letter),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(stand_in));
    }
    text
}

/// The bytes that [`bytes_as_text`] was given.
pub fn text_as_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for letter in text.chars() {
        match byte(letter) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

fn stand_in(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn byte(letter: char) -> Option<u8> {
    u32::from(letter).checked_sub(FIRST).and_then(|byte| u8::try_from(byte).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_as_text_and_come_back() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"A=b", "A=b"),
            ("\u{fc}\u{10ffff}".as_bytes(), "\u{fc}\u{10ffff}"),
            (b"a\xffb\xc3", "a\u{10feff}b\u{10fec3}"),
            (b"\0", "\0"),
        ] {
            assert_eq!(bytes_as_text(bytes), text);
            assert_eq!(text_as_bytes(text), bytes);
        }
        let all: Vec<u8> = (0..=255).chain("\u{10fe41}".bytes()).collect();
        assert_eq!(text_as_bytes(&bytes_as_text(&all)), all);
    }
}
