//! CRC-32C, as the superblock has it: without the last inversion.

/// Castagnoli's polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Sum of a few KiB, bit by bit.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

fn step(sum: u32) -> u32 {
    (sum >> 1) ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_is_castagnolis() {
        assert_eq!(!super::crc32c(b"123456789"), 0xe306_9283, "the check value of RFC 3720's polynomial");
    }
}
