//! The wire of `-netdev stream`: each Ethernet frame behind its length as four bytes, big-endian.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// Longest frame that is taken: 64 KiB of payload with offloads, the header and some.
pub const MAX_FRAME: usize = 68 * 1024;

/// Reads the next frame into `buffer`; `false` at a clean end.
pub fn read_frame(from: &mut impl Read, buffer: &mut Vec<u8>) -> Result<bool> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(Error::new(
            ErrorKind::InvalidData,
            format!("a frame of {length} bytes; at most {MAX_FRAME} are taken"),
        ));
    }
    buffer.resize(length, 0);
    from.read_exact(buffer)?;
    Ok(true)
}

/// Writes one frame.
pub fn write_frame(to: &mut impl Write, frame: &[u8]) -> Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
    let mut whole = Vec::with_capacity(frame.len() + 4);
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(frame);
    to.write_all(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_pass_whole_and_in_order() {
        let mut wire = Vec::new();
        write_frame(&mut wire, b"one").expect("write");
        write_frame(&mut wire, b"").expect("write");
        let (mut wire, mut frame) = (wire.as_slice(), Vec::new());
        assert!(read_frame(&mut wire, &mut frame).expect("read") && frame == b"one");
        assert!(read_frame(&mut wire, &mut frame).expect("read") && frame.is_empty());
        assert!(!read_frame(&mut wire, &mut frame).expect("end"));
    }

    #[test]
    fn an_absurd_length_is_refused_before_memory_is_taken() {
        let wire = u32::MAX.to_be_bytes();
        assert!(read_frame(&mut wire.as_slice(), &mut Vec::new()).is_err());
    }
}
