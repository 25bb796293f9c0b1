//! The pcap file format, with microseconds and Ethernet frames.

use std::time::Duration;

const MAGIC: u32 = 0xa1b2_c3d4;
const ETHERNET: u32 = 1;

/// The head of a file.
pub fn header(snap: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    bytes.extend(2u16.to_le_bytes());
    bytes.extend(4u16.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(snap.to_le_bytes());
    bytes.extend(ETHERNET.to_le_bytes());
    bytes
}

/// Appends a packet: when it came (since 1970), what was kept of it, how long it was.
pub fn record(file: &mut Vec<u8>, time: Duration, kept: &[u8], length: usize) {
    let word = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    // The format ends in 2106.
    file.extend((time.as_secs() as u32).to_le_bytes());
    file.extend(time.subsec_micros().to_le_bytes());
    file.extend(word(kept.len()));
    file.extend(word(length.max(kept.len())));
    file.extend_from_slice(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_head_and_records_of_the_format() {
        let mut file = header(65_535);
        assert_eq!(file.len(), 24);
        record(&mut file, Duration::new(1, 2_000), &[1, 2, 3], 9);
        assert_eq!(file[24..], [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 1, 2, 3]);
    }
}
