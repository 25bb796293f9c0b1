//! Signals as images, CRI and Linux number them.

use rk_cri_api::v1::Signal;

/// `SIGTERM`: what asks a container to stop when nobody says otherwise.
pub(crate) const TERM: i32 = 15;
/// `SIGKILL`.
pub(crate) const KILL: i32 = 9;

/// Names without `SIG` in the order of Linux's numbers, from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// Other names of the same.
const ALIASES: [(&str, &str); 4] = [("IOT", "ABRT"), ("CLD", "CHLD"), ("POLL", "IO"), ("UNUSED", "SYS")];
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// A signal as an image's config writes it: `SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`.
pub(crate) fn parse(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    if let Ok(number) = upper.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest, "+", "PLUS").map(|n| RTMIN + n);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest, "-", "MINUS").map(|n| RTMAX - n);
    }
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    NAMES.iter().position(|known| *known == name).and_then(|at| i32::try_from(at + 1).ok())
}

fn offset(rest: &str, sign: &str, word: &str) -> Option<i32> {
    if rest.is_empty() {
        return Some(0);
    }
    rest.strip_prefix(sign).or_else(|| rest.strip_prefix(word))?.parse().ok().filter(|n| (0..=15).contains(n))
}

/// Linux's number for CRI's; `None` for "the runtime's default".
pub(crate) fn from_cri(signal: Signal) -> Option<i32> {
    if signal == Signal::RuntimeDefault { None } else { parse(signal.as_str_name()) }
}

/// CRI's name for Linux's number.
pub(crate) fn to_cri(number: i32) -> Option<Signal> {
    let name = match number {
        1..=31 => NAMES.get(usize::try_from(number - 1).ok()?).map(|name| format!("SIG{name}"))?,
        RTMIN => "SIGRTMIN".into(),
        RTMAX => "SIGRTMAX".into(),
        35..=49 => format!("SIGRTMINPLUS{}", number - RTMIN),
        50..=63 => format!("SIGRTMAXMINUS{}", RTMAX - number),
        _ => return None,
    };
    Signal::from_str_name(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_in_every_spelling_that_images_use() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("3", Some(3)),
            ("SIGQUIT", Some(3)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("SIGIOT", Some(6)),
            ("WINCH", Some(28)),
            ("", None),
            ("SIGFOO", None),
            ("0", None),
            ("99", None),
        ] {
            assert_eq!(parse(text), number, "{text}");
        }
    }

    #[test]
    fn every_linux_signal_survives_the_way_to_cri_and_back() {
        for number in (1..=31).chain(34..=64) {
            let cri = to_cri(number).unwrap_or_else(|| panic!("signal {number} has no CRI name"));
            assert_eq!(from_cri(cri), Some(number), "{}", cri.as_str_name());
        }
        assert_eq!(from_cri(Signal::RuntimeDefault), None);
    }
}
