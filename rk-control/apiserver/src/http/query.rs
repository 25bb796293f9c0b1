//! Query parameters.

use std::num::{IntErrorKind, ParseIntError};
use std::time::Duration;

use rk_api::status::quote;

/// Decoded query parameters in their order.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the part of a URL after `?`. What is malformed in it says nothing, as in Go.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(
            text.split('&')
                .filter(|pair| !pair.is_empty() && !pair.contains(';') && is_sound(pair))
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first value of a parameter, or the empty string.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// A boolean parameter, read as upstream reads it: present and neither `false` (in any case) nor `0`.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// An integer parameter; absent is `None`.
    ///
    /// # Errors
    /// The value of a parameter that is no integer, in upstream's words.
    pub fn number(&self, name: &str) -> Result<Option<i64>, String> {
        let read = |text: &str| text.parse::<i64>().map_err(|error| no_integer(text, &error));
        self.get(name).map(read).transpose()
    }

    /// The time that the client lets the request take; `None` where it sets no bound, by a time that is not above zero either.
    ///
    /// # Errors
    /// It is no length of time, in upstream's words.
    pub fn timeout(&self) -> Result<Option<Duration>, String> {
        let text = self.text("timeout");
        if text.is_empty() {
            return Ok(None);
        }
        match rk_cel::parse_duration(text) {
            Some(nanos) => Ok(u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos)),
            None => Err(format!(
                "invalid timeout specified in the request URL - time: {} duration {}",
                fault(text),
                cited(text)
            )),
        }
    }
}

/// Whether every percent sign of a text begins an escape.
fn is_sound(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let mut bytes = rest.bytes();
        bytes.next().and_then(hex).is_some() && bytes.next().and_then(hex).is_some()
    })
}

/// Percent-decodes; bytes that do not form UTF-8 become the replacement character. `plus` reads `+` as a space.
#[must_use]
pub fn decode(text: &str, plus: bool) -> String {
    if !(text.contains('%') || plus && text.contains('+')) {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' if plus => out.push(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                match (ahead.next().and_then(hex), ahead.next().and_then(hex)) {
                    (Some(high), Some(low)) => {
                        out.push(high << 4 | low);
                        bytes = ahead;
                    }
                    _ => out.push(byte),
                }
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Upstream's words for a parameter that is no integer.
fn no_integer(text: &str, error: &ParseIntError) -> String {
    let why = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.ParseInt: parsing {}: {why}", quote(text))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// What keeps a text from being a length of time, in Go's words: the first fault of it.
fn fault(text: &str) -> String {
    let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    while rest.starts_with(is_number) {
        let (run, _) = rest.split_at(rest.find(|letter: char| !is_number(letter)).unwrap_or(rest.len()));
        // A second point ends the number.
        let (number, after) = rest.split_at(run.match_indices('.').nth(1).map_or(run.len(), |(at, _)| at));
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let whole = number.split('.').next().unwrap_or_default();
        if number == "." || !whole.is_empty() && whole.parse::<i64>().is_err() {
            break;
        }
        if unit.is_empty() {
            return "missing unit in".to_owned();
        }
        if rk_cel::parse_duration(&format!("1{unit}")).is_none() {
            return format!("unknown unit {} in", cited(unit));
        }
        rest = after;
    }
    "invalid".to_owned()
}

/// A text in quotes as Go's package for time cites it: what is not plain ASCII byte by byte.
fn cited(text: &str) -> String {
    let mut out = "\"".to_owned();
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=0x7f => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_kept_in_order() {
        let query =
            Query::parse("labelSelector=a%3Db%2Cc&command=sh&command=-c&watch=1&x+y=1+2&odd=%zz&%4=1&a;b=1&half=%4");
        assert_eq!(query.text("labelSelector"), "a=b,c");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c"]);
        assert!(query.flag("watch"));
        assert_eq!(query.text("x y"), "1 2");
        assert_eq!([query.get("odd"), query.get("half"), query.get("a"), query.get("a;b")], [None; 4]);
    }

    #[test]
    fn what_is_no_integer_is_told_from_what_is_too_large() {
        let query = Query::parse("limit=x&large=99999999999999999999&fine=-1&empty=");
        assert_eq!(query.number("limit"), Err("strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()));
        let large = "strconv.ParseInt: parsing \"99999999999999999999\": value out of range";
        assert_eq!(query.number("large"), Err(large.to_owned()));
        assert_eq!((query.number("fine"), query.number("none")), (Ok(Some(-1)), Ok(None)));
        assert_eq!(query.number("empty"), Err("strconv.ParseInt: parsing \"\": invalid syntax".to_owned()));
    }

    #[test]
    fn a_time_that_is_none_is_told_by_its_first_fault() {
        let of = |text: &str| Query(vec![("timeout".to_owned(), text.to_owned())]).timeout();
        for (text, millis) in
            [("", 0), ("0", 0), ("+0", 0), ("1h30m", 5_400_000), ("-1.5s", 0), (".5s", 500), ("1.s", 1000)]
        {
            assert_eq!(of(text), Ok((millis > 0).then(|| Duration::from_millis(millis))), "{text}");
        }
        for (text, fault) in [
            ("5", "missing unit in"),
            ("1m5", "missing unit in"),
            ("1.2.3s", "missing unit in"),
            ("5d", "unknown unit \"d\" in"),
            ("1h2 m", "unknown unit \" m\" in"),
            ("invalid", "invalid"),
            ("-", "invalid"),
            (".s", "invalid"),
            ("..5s", "invalid"),
            ("99999999999999999999h", "invalid"),
            ("99999999999999999999", "invalid"),
        ] {
            let why = format!("invalid timeout specified in the request URL - time: {fault} duration {text:?}");
            assert_eq!(of(text), Err(why));
        }
        let of_letters = r#"invalid timeout specified in the request URL - time: unknown unit "\xc3\xa4\"" in duration "5\xc3\xa4\"""#;
        assert_eq!(of("5\u{e4}\""), Err(of_letters.to_owned()));
        assert!(of(&"99999999999999999999h".repeat(500)).is_err(), "the sum is longer than any number");
    }

    #[test]
    fn what_is_no_number_is_told_in_go_s_words() {
        let of = |text: &str| Query(vec![("limit".to_owned(), text.to_owned())]).number("limit");
        assert_eq!(of("-5"), Ok(Some(-5)));
        assert_eq!(of("x"), Err("strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()));
        let long = "99999999999999999999";
        assert_eq!(of(long), Err(format!("strconv.ParseInt: parsing {long:?}: value out of range")));
    }

    #[test]
    fn an_empty_flag_is_set_and_a_false_one_is_not() {
        assert!(Query::parse("watch").flag("watch"));
        assert!(!Query::parse("watch=false").flag("watch"));
        assert!(!Query::parse("watch=False").flag("watch"));
        assert!(!Query::parse("").flag("watch"));
    }
}
