//! What signatures over images say.

use sha2::{Digest, Sha256};

/// The text that is signed for upgrades: sizes and hash of what one sends, EFI program and slot one behind the other.
pub fn statement(total_bytes: u64, program_bytes: u64, sha256: &str) -> String {
    format!("rk upgrade 1\nbytes {total_bytes}\nprogram {program_bytes}\nsha256 {}\n", sha256.to_ascii_lowercase())
}

/// The text that is signed for installations on disks with sectors of `sector` bytes: sizes and [`PieceSum`] of what one sends.
pub fn install_statement(disk_bytes: u64, data_bytes: u64, sector: u32, sha256: &str) -> String {
    let sha256 = sha256.to_ascii_lowercase();
    format!("rk install 1\ndisk {disk_bytes}\nbytes {data_bytes}\nsector {sector}\nsha256 {sha256}\n")
}

/// SHA-256 over the pieces of a disk image in their order: of each its offset and its length (eight bytes, big-endian) and itself.
#[derive(Debug, Clone, Default)]
pub struct PieceSum(Sha256);

impl PieceSum {
    /// The next piece.
    pub fn add(&mut self, offset: u64, data: &[u8]) {
        self.0.update(offset.to_be_bytes());
        self.0.update((data.len() as u64).to_be_bytes());
        self.0.update(data);
    }

    /// In hex.
    pub fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}
