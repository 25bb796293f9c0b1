//! A small part of TPM 2.0: a secret is sealed to a machine's measurements, and got back while they are the same.
//!
//! Bytes in, bytes out: whoever can exchange a command for its response ([`Transport`]) brings the device. Commands and their
//! numbers are those of the TPM 2.0 Library, part 3; structures those of part 2. What is used: an ECC storage key that the TPM
//! derives from its own seed each time, one sealed object below it, a policy over PCRs of the SHA-256 bank.
//!
//! Responses are bytes from outside: they are read with bounds, and nothing here panics on them.

mod command;
mod error;
pub mod outside;
mod response;
mod seal;

pub use error::TpmError;
pub use seal::{MOST_PCR, Sealed, read_pcr, seal, unseal};

/// Longest response that is taken; a TPM's own buffers are 4 KiB.
pub const MOST_RESPONSE: usize = 4096;

/// What takes a command to a TPM and brings its response.
pub trait Transport {
    /// One command, one response of at most [`MOST_RESPONSE`] bytes.
    ///
    /// # Errors
    /// The device cannot be spoken with.
    fn exchange(&mut self, command: &[u8]) -> std::io::Result<Vec<u8>>;
}

impl<T: std::io::Read + std::io::Write> Transport for T {
    /// As the kernel's `/dev/tpmrm0` does it: a write is a command, the read after it its response.
    fn exchange(&mut self, command: &[u8]) -> std::io::Result<Vec<u8>> {
        self.write_all(command)?;
        let mut response = vec![0; MOST_RESPONSE];
        let size = self.read(&mut response)?;
        response.truncate(size);
        Ok(response)
    }
}
