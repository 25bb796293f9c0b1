//! Bytes as they come from the caller, in pieces of any size, counted and hashed.

use sha2::{Digest, Sha256};
use tokio::sync::mpsc::Receiver;
use tonic::Status;

/// A stream of a promised length and hash.
pub struct Source {
    pieces: Receiver<Vec<u8>>,
    rest: Vec<u8>,
    left: u64,
    hasher: Sha256,
}

impl Source {
    /// `total` bytes will come.
    pub fn new(pieces: Receiver<Vec<u8>>, total: u64) -> Source {
        Source { pieces, rest: Vec::new(), left: total, hasher: Sha256::new() }
    }

    /// The next bytes, at most `most`; never empty.
    ///
    /// # Errors
    /// The caller is gone before all has come, or sends more than promised.
    pub fn next(&mut self, most: usize) -> Result<Vec<u8>, Status> {
        while self.rest.is_empty() {
            let short = || {
                Status::data_loss(format!("the image ended {} bytes early; nothing was changed for good", self.left))
            };
            self.rest = self.pieces.blocking_recv().ok_or_else(short)?;
        }
        let size = self.rest.len().min(most);
        let after = self.rest.split_off(size);
        let piece = std::mem::replace(&mut self.rest, after);
        let length = piece.len() as u64;
        self.left =
            self.left.checked_sub(length).ok_or_else(|| Status::invalid_argument("more came than was promised"))?;
        self.hasher.update(&piece);
        Ok(piece)
    }

    /// Exactly `length` bytes.
    ///
    /// # Errors
    /// As [`Source::next`].
    pub fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Status> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            bytes.extend(self.next(length - bytes.len())?);
        }
        Ok(bytes)
    }

    /// Checks that all came as promised.
    ///
    /// # Errors
    /// The hash is another.
    pub fn finish(self, sha256: &str) -> Result<(), Status> {
        let got = hex::encode(self.hasher.finalize());
        if self.left == 0 && got == sha256.to_ascii_lowercase() {
            return Ok(());
        }
        Err(Status::data_loss(format!(
            "the image arrived with SHA-256 {got}, not {sha256}; nothing was changed for good"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(pieces: &[&[u8]], total: u64) -> Source {
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        for piece in pieces {
            sender.try_send(piece.to_vec()).unwrap();
        }
        Source::new(receiver, total)
    }

    #[test]
    fn pieces_are_cut_as_they_are_wanted_and_the_hash_is_over_all() {
        let mut source = source(&[b"abc", b"", b"defg"], 7);
        assert_eq!(source.exactly(5).unwrap(), b"abcde");
        assert_eq!(source.next(100).unwrap(), b"fg");
        source.finish(&hex::encode(Sha256::digest(b"abcdefg"))).unwrap();
    }

    #[test]
    fn too_little_too_much_and_other_bytes_are_noticed() {
        assert_eq!(source(&[b"abc"], 9).exactly(9).unwrap_err().code(), tonic::Code::DataLoss);
        assert_eq!(source(&[b"abc"], 2).next(9).unwrap_err().code(), tonic::Code::InvalidArgument);
        let mut other = source(&[b"abc"], 3);
        other.exactly(3).unwrap();
        assert_eq!(other.finish(&"0".repeat(64)).unwrap_err().code(), tonic::Code::DataLoss);
    }
}
