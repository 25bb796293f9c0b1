//! Header blocks: name-value pairs under one zlib stream per direction, primed with SPDY's dictionary.

use bytes::{Buf, BufMut, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;

/// Largest decompressed block; a client's stream headers are a few dozen bytes.
const BLOCK_LIMIT: usize = 64 * 1024;
/// Most pairs in a block.
const PAIR_LIMIT: usize = 128;

/// Name-value pairs, names in lower case.
pub(super) type Headers = Vec<(String, String)>;

/// Why a block cannot be read. The connection is lost then, since both sides share the zlib state.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("the header block is not valid zlib data")]
    Zlib(#[source] flate2::DecompressError),
    #[error("the header block is over the limit of {BLOCK_LIMIT} bytes or {PAIR_LIMIT} pairs")]
    TooLarge,
    #[error("the header block ends early")]
    Short,
}

/// Reads the blocks of one connection, in order.
pub(super) struct Decoder(Decompress);

impl Decoder {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn decode(&mut self, block: &[u8]) -> Result<Headers, HeaderError> {
        let plain = self.inflate(block)?;
        pairs(plain.into())
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, HeaderError> {
        let mut plain = Vec::with_capacity(1024);
        let start = self.0.total_in();
        loop {
            let used = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX);
            let rest = block.get(used..).unwrap_or_default();
            let before = plain.len();
            let status = match self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Ok(status) => status,
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(HeaderError::Zlib)?;
                    continue;
                }
                Err(error) => return Err(HeaderError::Zlib(error)),
            };
            let consumed = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX) >= block.len();
            let full = plain.len() == plain.capacity();
            let stuck = status == Status::BufError && plain.len() == before && !full;
            if (consumed && !full) || status == Status::StreamEnd || stuck {
                return Ok(plain);
            }
            if plain.len() >= BLOCK_LIMIT {
                return Err(HeaderError::TooLarge);
            }
            plain.reserve(1024);
        }
    }
}

fn pairs(mut plain: Bytes) -> Result<Headers, HeaderError> {
    let count = number(&mut plain)?;
    if count > PAIR_LIMIT {
        return Err(HeaderError::TooLarge);
    }
    (0..count).map(|_| Ok((text(&mut plain)?.to_ascii_lowercase(), text(&mut plain)?))).collect()
}

fn number(plain: &mut Bytes) -> Result<usize, HeaderError> {
    if plain.len() < 4 { Err(HeaderError::Short) } else { Ok(plain.get_u32() as usize) }
}

fn text(plain: &mut Bytes) -> Result<String, HeaderError> {
    let size = number(plain)?;
    if plain.len() < size {
        return Err(HeaderError::Short);
    }
    Ok(String::from_utf8_lossy(&plain.split_to(size)).into_owned())
}

/// Writes the blocks of one connection, in order.
pub(super) struct Encoder(Compress);

impl Encoder {
    pub(super) fn new() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        // The dictionary is a constant that zlib always takes; without it blocks are larger but still valid.
        let _ = compress.set_dictionary(&dictionary());
        Self(compress)
    }

    pub(super) fn encode(&mut self, headers: &[(&str, &str)]) -> Bytes {
        let mut plain = Vec::new();
        plain.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + 256);
        let start = self.0.total_in();
        loop {
            let used = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX);
            let rest = plain.get(used..).unwrap_or_default();
            let before = (block.len(), rest.len());
            let done = self.0.compress_vec(rest, &mut block, FlushCompress::Sync);
            let room = block.len() < block.capacity();
            let idle = (block.len(), rest.len()) == before && rest.is_empty();
            if done.is_err() || (room && (rest.is_empty() || self.0.total_in() - start >= plain.len() as u64)) || idle {
                return block.into();
            }
            block.reserve(256);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_share_one_zlib_stream() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        for round in 0..50 {
            let id = round.to_string();
            let block = encoder.encode(&[("streamType", "data"), ("port", "8080"), ("requestID", &id)]);
            let headers = decoder.decode(&block).unwrap();
            assert_eq!(headers[0], ("streamtype".into(), "data".into()));
            assert_eq!(headers[2], ("requestid".into(), id));
        }
    }

    #[test]
    fn the_first_block_names_the_dictionary() {
        let block = Encoder::new().encode(&[]);
        assert_eq!(block[2..6], [0xe3, 0xc6, 0xa7, 0xc2]);
    }

    #[test]
    fn garbage_and_bombs_are_errors() {
        assert!(Decoder::new().decode(b"not zlib").is_err());
        let bomb = Encoder::new().encode(&[("a", &"x".repeat(BLOCK_LIMIT * 4))]);
        assert!(matches!(Decoder::new().decode(&bomb), Err(HeaderError::TooLarge)));
    }
}
