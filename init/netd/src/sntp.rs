//! SNTP (RFC 4330): packets and what an answer says about the clock. Pure.

use std::time::Duration;

/// Seconds from 1900 to 1970.
const EPOCH: i128 = 2_208_988_800;
/// 2036, when the seconds of NTP start again.
const ERA: i128 = 1 << 32;
const NANOS: i128 = 1_000_000_000;
/// An answer that took longer is too inexact.
const MOST_ROUND_TRIP: i128 = 2 * NANOS;
/// The day that the image's kernel and disks are dated by, 2025-01-01, since 1970: no clock was this early when this was written.
pub const EARLIEST: Duration = Duration::from_secs(1_735_689_600);
/// Times that may be: no certificate will be as late as their end.
const PLAUSIBLE: std::ops::Range<i128> = EARLIEST.as_secs() as i128 * NANOS..4_102_444_800 * NANOS;

/// Why an answer is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not 48 bytes of a server's answer.
    #[error("not an NTP answer")]
    Malformed,
    /// It answers another question.
    #[error("an answer to another question")]
    Foreign,
    /// The server does not know the time, or asks not to be queried (kiss-o'-death).
    #[error("the server has no time to give")]
    Unsynchronized,
    /// It took too long.
    #[error("the answer took too long")]
    Slow,
    /// A time that cannot be.
    #[error("the time is not plausible")]
    Implausible,
}

/// A question; `nonce` comes back in the answer and proves that it is one.
pub fn question(nonce: u64) -> [u8; 48] {
    let mut bytes = [0; 48];
    // Version 4, client.
    bytes[0] = 0x23;
    bytes[40..48].copy_from_slice(&nonce.to_be_bytes());
    bytes
}

/// How many nanoseconds our clock must go forward, by an answer that was asked for at `sent` and came at `came` (both by our
/// clock, since 1970).
///
/// # Errors
/// The answer is of no use.
pub fn offset(answer: &[u8], nonce: u64, sent: Duration, came: Duration) -> Result<i128, Refusal> {
    let packet: &[u8; 48] = answer.get(..48).and_then(|bytes| bytes.try_into().ok()).ok_or(Refusal::Malformed)?;
    let (leap, mode, stratum) = (packet[0] >> 6, packet[0] & 7, packet[1]);
    if mode != 4 {
        return Err(Refusal::Malformed);
    }
    if packet[24..32] != nonce.to_be_bytes() {
        return Err(Refusal::Foreign);
    }
    if leap == 3 || !(1..16).contains(&stratum) {
        return Err(Refusal::Unsynchronized);
    }
    let (received, transmitted) = (time(packet, 32), time(packet, 40));
    let (sent, came) = (nanos(sent), nanos(came));
    if came - sent - (transmitted - received) > MOST_ROUND_TRIP || came < sent || transmitted < received {
        return Err(Refusal::Slow);
    }
    if !PLAUSIBLE.contains(&transmitted) {
        return Err(Refusal::Implausible);
    }
    Ok(((received - sent) + (transmitted - came)) / 2)
}

/// Whether this time, since 1970, may be right.
pub fn plausible(clock: Duration) -> bool {
    PLAUSIBLE.contains(&nanos(clock))
}

/// The year of a time since 1970, by the mean length of years: near its ends it may be the neighbour.
pub fn year(time: Duration) -> u64 {
    1970 + time.as_secs() / 86_400 * 400 / 146_097
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

/// Nanoseconds since 1970 of the timestamp at an offset of the packet. Seconds below the middle are of the era after 2036.
fn time(packet: &[u8; 48], at: usize) -> i128 {
    let word = |at: usize| packet.iter().skip(at).take(4).fold(0i128, |sum, byte| sum << 8 | i128::from(*byte));
    let seconds = word(at);
    let seconds = if seconds < 1 << 31 { seconds + ERA } else { seconds };
    (seconds - EPOCH) * NANOS + ((word(at + 4) * NANOS) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: u64 = 0x0102_0304_0506_0708;
    const T: u64 = 1_800_000_000;

    fn answer(first: u8, stratum: u8, received: u64, transmitted: u64) -> [u8; 48] {
        let mut packet = [0; 48];
        packet[0] = first;
        packet[1] = stratum;
        packet[24..32].copy_from_slice(&NONCE.to_be_bytes());
        packet[32..36].copy_from_slice(&((received + 2_208_988_800) as u32).to_be_bytes());
        packet[40..44].copy_from_slice(&((transmitted + 2_208_988_800) as u32).to_be_bytes());
        packet
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn years_are_told_and_those_before_the_image_are_not_plausible() {
        for (seconds, wanted, right) in [
            (0, 1970, false),
            (1_478_000_000, 2016, false),
            (EARLIEST.as_secs() - 1, 2024, false),
            (EARLIEST.as_secs(), 2025, true),
            (T, 2027, true),
            (4_102_444_800, 2100, false),
        ] {
            assert_eq!((year(at(seconds)), plausible(at(seconds))), (wanted, right), "{seconds}");
        }
    }

    #[test]
    fn the_offset_is_the_middle_of_both_ways() {
        let packet = answer(0x24, 2, T + 10, T + 10);
        assert_eq!(offset(&packet, NONCE, at(T), at(T) + Duration::from_millis(200)), Ok(9_900_000_000));
        // After 2036 the seconds of NTP are small again.
        let late = 2_200_000_000;
        assert_eq!(offset(&answer(0x24, 2, late, late), NONCE, at(late), at(late)), Ok(0));
    }

    #[test]
    fn useless_answers_are_refused_by_name() {
        let good = answer(0x24, 2, T, T);
        let table = [
            (good[..47].to_vec(), Refusal::Malformed),
            (answer(0x23, 2, T, T).to_vec(), Refusal::Malformed),
            (answer(0xe4, 2, T, T).to_vec(), Refusal::Unsynchronized),
            (answer(0x24, 0, T, T).to_vec(), Refusal::Unsynchronized),
            (answer(0x24, 16, T, T).to_vec(), Refusal::Unsynchronized),
            (answer(0x24, 2, 1_000_000_000, 1_000_000_000).to_vec(), Refusal::Implausible),
        ];
        for (packet, wanted) in table {
            assert_eq!(offset(&packet, NONCE, at(T), at(T)), Err(wanted));
        }
        assert_eq!(offset(&good, NONCE + 1, at(T), at(T)), Err(Refusal::Foreign));
        assert_eq!(offset(&good, NONCE, at(T), at(T + 3)), Err(Refusal::Slow));
    }
}
