use serde::{Serialize, de::DeserializeOwned};

/// The largest body of a frame. An exec's arguments and environment are the biggest thing sent; Linux bounds one argument to
/// 128 KiB and the kubelet's requests stay far below, so a megabyte refuses only nonsense.
pub const MAX_FRAME: usize = 1024 * 1024;
/// Bytes of the length prefix.
pub const HEADER: usize = 4;

/// Why a frame cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The body is larger than [`MAX_FRAME`].
    #[error("frame of {0} bytes is larger than the {MAX_FRAME} allowed")]
    TooLarge(usize),
    /// The body is not the JSON of the expected message.
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The wire form of `message`.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut out = vec![0; HEADER];
    serde_json::to_writer(&mut out, message)?;
    let body = out.len() - HEADER;
    let length = u32::try_from(body).ok().filter(|_| body <= MAX_FRAME).ok_or(FrameError::TooLarge(body))?;
    out.splice(..HEADER, length.to_be_bytes());
    Ok(out)
}

/// Cuts a byte stream into messages; holds at most one frame and what followed it in the same read.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Adds bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes come. After an error the stream is unusable.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes(*header) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLarge(length));
        }
        let Some(body) = self.buffer.get(HEADER..HEADER + length) else { return Ok(None) };
        let message = serde_json::from_slice(body)?;
        self.buffer.drain(..HEADER + length);
        if self.buffer.is_empty() {
            // A big exec request must not stay resident in a process that lives as long as its pod.
            self.buffer = Vec::new();
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_being_cut_at_every_byte() {
        let wire = encode(&vec!["a", "longer"]).unwrap();
        for cut in 0..wire.len() {
            let mut decoder = Decoder::default();
            decoder.push(&wire[..cut]);
            assert!(decoder.take::<Vec<String>>().unwrap().is_none(), "cut at {cut}");
            decoder.push(&wire[cut..]);
            assert_eq!(decoder.take::<Vec<String>>().unwrap().unwrap(), ["a", "longer"]);
        }
    }

    #[test]
    fn two_messages_in_one_read_come_out_in_order() {
        let mut decoder = Decoder::default();
        let mut wire = encode(&1).unwrap();
        wire.extend(encode(&2).unwrap());
        decoder.push(&wire);
        assert_eq!(decoder.take::<i32>().unwrap(), Some(1));
        assert_eq!(decoder.take::<i32>().unwrap(), Some(2));
        assert_eq!(decoder.take::<i32>().unwrap(), None);
    }

    #[test]
    fn an_oversized_length_is_refused_before_the_body_arrives() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        assert!(matches!(decoder.take::<i32>(), Err(FrameError::TooLarge(_))));
        assert!(matches!(encode(&"x".repeat(MAX_FRAME)), Err(FrameError::TooLarge(_))));
    }
}
