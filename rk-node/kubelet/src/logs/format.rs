//! The CRI log format: `<RFC3339Nano> <stdout|stderr> <P|F> <text>`, one line of output per line, long ones in parts.

/// One parsed line of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Time as written.
    pub time: &'a str,
    /// True for standard error.
    pub stderr: bool,
    /// True when the output's line ends here.
    pub full: bool,
    /// The output, without the file's own line end.
    pub text: &'a [u8],
}

/// Parses a line (without its end); `None` for anything else, a torn line for instance.
pub fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok().filter(|t| t.len() >= 20)?;
    let stderr = match parts.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    // More tags may follow the first, separated by colons.
    let full = match parts.next()?.split(|b| *b == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Line { time, stderr, full, text: parts.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed_and_nonsense_is_not() {
        let line = parse_line(b"2016-10-06T00:17:09.669794202Z stdout F a  b").unwrap();
        assert_eq!(
            (line.time, line.stderr, line.full, line.text),
            ("2016-10-06T00:17:09.669794202Z", false, true, &b"a  b"[..])
        );
        let line = parse_line(b"2016-10-06T00:17:09.6Z stderr P:x ").unwrap();
        assert!(line.stderr && !line.full && line.text.is_empty());
        for bad in [
            &b""[..],
            b"x",
            b"2016-10-06T00:17:09.6Z stdin F x",
            b"2016-10-06T00:17:09.6Z stdout X x",
            b"now stdout F x",
        ] {
            assert_eq!(parse_line(bad), None);
        }
    }
}
