//! One line of a log as a receiver wants it.

use jiff::Timestamp;
use rk_config::LogFormat;
use serde_json::json;

/// `daemon`, as RFC 5424 numbers facilities.
const DAEMON: u8 = 3;
/// A datagram that every path carries (RFC 5426 asks for 2048 of receivers).
pub const MOST_DATAGRAM: usize = 2048;

/// Who logs.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The machine's name.
    pub host: String,
    /// `rk`'s services by their names, `kernel`.
    pub service: String,
}

/// The line with whatever its format puts around it; `framed` when messages follow one another in a stream. One that is not fits a datagram: the
/// end of a long line is left out, and what is around it is whole.
pub fn encode(format: LogFormat, framed: bool, time: Timestamp, origin: &Origin, line: &str) -> Vec<u8> {
    let severity = severity(line);
    let message: String = line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
    let record = |message: &str| record(format, framed, time, origin, (severity, message));
    if framed {
        return record(&message);
    }
    let room = MOST_DATAGRAM.saturating_sub(record("").len());
    record(that_fits(&message, room))
}

/// The start of a text that takes at most so many bytes in a record.
fn that_fits(text: &str, room: usize) -> &str {
    let mut used = 0;
    let beyond = text.char_indices().find(|(_, c)| {
        // JSON writes these with a backslash, and every other character of a message as it is.
        used += if matches!(c, '"' | '\\' | '\t') { 2 } else { c.len_utf8() };
        used > room
    });
    beyond.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

fn record(
    format: LogFormat,
    framed: bool,
    time: Timestamp,
    origin: &Origin,
    (severity, message): (u8, &str),
) -> Vec<u8> {
    match format {
        LogFormat::Json => {
            let Origin { host, service } = origin;
            let time = format!("{time:.3}");
            let record =
                json!({"time": time, "host": host, "service": service, "level": word(severity), "message": message});
            format!("{record}{}", if framed { "\n" } else { "" }).into_bytes()
        }
        LogFormat::Syslog => {
            let priority = DAEMON * 8 + severity;
            let (host, service) = (token(&origin.host, 255), token(&origin.service, 48));
            let text = format!("<{priority}>1 {time:.3} {host} {service} - - - {message}");
            let length = if framed { format!("{} ", text.len()) } else { String::new() };
            (length + &text).into_bytes()
        }
    }
}

/// Printable ASCII without blanks, as fields of a syslog header are.
fn token(text: &str, most: usize) -> String {
    let token: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if token.is_empty() { "-".to_owned() } else { token }
}

/// As RFC 5424 numbers them, by the word that services and the kernel put near the start of a line.
fn severity(line: &str) -> u8 {
    let head: String = line.chars().take(60).collect();
    let found = head.split(|c: char| !c.is_ascii_alphanumeric()).find_map(|word| match word {
        "emerg" => Some(0),
        "alert" => Some(1),
        "crit" => Some(2),
        "ERROR" | "err" | "error" => Some(3),
        "WARN" | "warn" | "WARNING" => Some(4),
        "notice" => Some(5),
        "INFO" | "info" => Some(6),
        "DEBUG" | "TRACE" | "debug" => Some(7),
        _ => None,
    });
    found.unwrap_or(6)
}

fn word(severity: u8) -> &'static str {
    match severity {
        0..=2 => "critical",
        3 => "error",
        4 => "warning",
        5 | 6 => "info",
        _ => "debug",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(format: LogFormat, framed: bool, line: &str) -> String {
        let origin = Origin { host: "w 1".to_owned(), service: "node".to_owned() };
        let time: Timestamp = "2026-01-02T03:04:05.678901Z".parse().unwrap();
        String::from_utf8(encode(format, framed, time, &origin, line)).unwrap()
    }

    #[test]
    fn a_line_is_an_object_or_a_syslog_message_with_its_length_before_it_in_a_stream() {
        let json: serde_json::Value = serde_json::from_str(&encoded(LogFormat::Json, true, "WARN a \"b\"")).unwrap();
        assert_eq!((json["level"].as_str(), json["message"].as_str()), (Some("warning"), Some("WARN a \"b\"")));
        assert_eq!(json["time"], "2026-01-02T03:04:05.678Z");
        let syslog = encoded(LogFormat::Syslog, false, "ERROR x\u{7}y");
        assert_eq!(syslog, "<27>1 2026-01-02T03:04:05.678Z w1 node - - - ERROR x y");
        let framed = encoded(LogFormat::Syslog, true, "ERROR x\u{7}y");
        assert_eq!(framed, format!("{} {syslog}", syslog.len()));
        assert!(!encoded(LogFormat::Json, false, "a\nb").contains('\n'));
    }

    #[test]
    fn a_datagram_has_room_for_the_end_of_its_object_whatever_the_line() {
        for long in ["x".repeat(9000), "\u{e4}\"".repeat(3000), format!("a{}", "\u{1f980}".repeat(600))] {
            let text = encoded(LogFormat::Json, false, &long);
            assert!(text.len() <= MOST_DATAGRAM, "{} bytes", text.len());
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            let message = json["message"].as_str().unwrap();
            assert!(message.len() > 900 && long.starts_with(message), "{message}");
            assert!(encoded(LogFormat::Syslog, false, &long).len() <= MOST_DATAGRAM);
            assert!(encoded(LogFormat::Json, true, &long).len() > MOST_DATAGRAM, "a stream has room");
        }
    }

    #[test]
    fn levels_are_found_at_the_start_of_a_line_alone() {
        for (line, wanted) in [
            ("INFO all is well", 6),
            ("machine WARN odd", 4),
            ("[    5.140900] err    disk", 3),
            ("plain", 6),
            ("2026-01-01T00:00:00Z  WARN rk_node: x", 4),
        ] {
            assert_eq!(severity(line), wanted, "{line}");
        }
        assert_eq!(severity(&format!("{}ERROR", "long text ".repeat(9))), 6);
    }
}
