//! Escapes in string and bytes literals.

/// A part of a literal: a character, or (in bytes) one byte.
enum Part {
    Letter(char),
    Byte(u8),
}

/// The text of a string literal.
pub(super) fn text(body: &str) -> Result<String, String> {
    let mut out = String::with_capacity(body.len());
    walk(body, |part| match part {
        Part::Letter(letter) => out.push(letter),
        Part::Byte(byte) => out.push(char::from(byte)),
    })?;
    Ok(out)
}

/// The bytes of a bytes literal.
pub(super) fn bytes(body: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(body.len());
    walk(body, |part| match part {
        Part::Letter(letter) => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        Part::Byte(byte) => out.push(byte),
    })?;
    Ok(out)
}

fn walk(body: &str, mut found: impl FnMut(Part)) -> Result<(), String> {
    let mut letters = body.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            found(Part::Letter(letter));
            continue;
        }
        let bad = || "token recognition error at an escape sequence".to_owned();
        let kind = letters.next().ok_or_else(bad)?;
        let mut digits = |count: usize, radix: u32, first: Option<char>| {
            let text: String = first.into_iter().chain(letters.by_ref().take(count)).collect();
            u32::from_str_radix(&text, radix).map_err(|_| bad())
        };
        found(match kind {
            'a' => Part::Letter('\u{7}'),
            'b' => Part::Letter('\u{8}'),
            'f' => Part::Letter('\u{c}'),
            'n' => Part::Letter('\n'),
            'r' => Part::Letter('\r'),
            't' => Part::Letter('\t'),
            'v' => Part::Letter('\u{b}'),
            '\\' | '\'' | '"' | '`' | '?' => Part::Letter(kind),
            'x' | 'X' => Part::Byte(u8::try_from(digits(2, 16, None)?).map_err(|_| bad())?),
            '0'..='3' => Part::Byte(u8::try_from(digits(2, 8, Some(kind))?).map_err(|_| bad())?),
            'u' => Part::Letter(char::from_u32(digits(4, 16, None)?).ok_or_else(bad)?),
            'U' => Part::Letter(char::from_u32(digits(8, 16, None)?).ok_or_else(bad)?),
            _ => return Err(bad()),
        });
    }
    Ok(())
}
