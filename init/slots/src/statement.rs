//! What a signature over an upgrade says.

/// The text that is signed: sizes and hash of what an upgrade sends, EFI program and slot one behind the other.
pub fn statement(total_bytes: u64, program_bytes: u64, sha256: &str) -> String {
    format!("rk upgrade 1\nbytes {total_bytes}\nprogram {program_bytes}\nsha256 {}\n", sha256.to_ascii_lowercase())
}
